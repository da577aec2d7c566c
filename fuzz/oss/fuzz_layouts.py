"""The target "layouts" for OSS-Fuzz and ClusterFuzzLite."""

from fuzz.libfuzzer import main

if __name__ == "__main__":
    main("layouts")
