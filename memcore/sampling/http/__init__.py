"""Models behind HTTP as samplers: the images API of hosted services, and memcore's own; docs/hosted.md shows both."""

from memcore.sampling.http.sampler import HttpSampler

__all__ = ["HttpSampler"]
