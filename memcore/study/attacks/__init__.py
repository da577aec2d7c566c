"""Attacks on a small model: what it gives away of its training images, and whether it was trained on an image.

Each is a pure function of arrays, or of a ``Denoiser`` where it must ask the model.
"""
