"""A prompt's graph while its generations arrive, on the host or on a device, and its findings."""
