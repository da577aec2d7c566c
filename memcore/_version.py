"""The version of memcore. pyproject.toml and ``memcore.__version__`` read it here; RELEASING.md names the copies."""

__version__ = "0.1.0"
