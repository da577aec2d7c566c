"""Stored images, whatever they are for: folders, NumPy arrays, tar archives, Parquet files."""
