"""Fixtures and generators that many tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from tests.support.slurm_cluster import slurm_cluster

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tiny tensors: a second OpenMP thread only waits, and on a busy machine it waits long. Tests of threads set their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what runs in its background with Ctrl-C ignored, which the tests' own processes would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("memcore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("memcore")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20230130)


@pytest.fixture
def near_duplicates(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(24, 32, 32, 3): images 3..14 are copies of one with a little noise, the rest are random."""
    images = rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    noise = rng.integers(-6, 7, (12, 32, 32, 3))
    images[3:15] = np.clip(images[3].astype(int) + noise, 0, 255).astype(np.uint8)
    return images


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of an S3 server on this machine. There is one a process, since an s3fs instance keeps its address."""
    server_module = pytest.importorskip("moto.server", reason="moto[server] is not installed (extra dev)")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A SLURM of one node on loopback."""
    yield from slurm_cluster(tmp_path_factory.mktemp("slurm"))
