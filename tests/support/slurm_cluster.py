"""A SLURM of one node on this machine, for tests; they are skipped where its daemons are not installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SLURM = ("slurmctld", "slurmd", "sbatch", "munged")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={state}/munge.socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SlurmctldPort={port}
SlurmdPort={port2}
StateSaveLocation={state}/ctld
SlurmdSpoolDir={state}/d
SlurmctldPidFile={state}/ctld.pid
SlurmdPidFile={state}/d.pid
SlurmctldLogFile={state}/ctld.log
SlurmdLogFile={state}/d.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def slurm_cluster(state: Path) -> Iterator[None]:
    """A SLURM of one node on loopback: munged, slurmctld and slurmd, with all their state in a scratch folder."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [name for name in SLURM if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"no {missing[0]}: apt-get install slurmctld slurmd slurm-client munge")
    if os.geteuid() != 0:
        pytest.skip("a SLURM of one's own needs root")
    state.chmod(0o755)
    for parent in state.parents:
        if parent.stat().st_mode & 0o005 != 0o005 and str(parent).startswith("/tmp/pytest"):
            parent.chmod(0o755)  # munged refuses a socket that others cannot reach
    for name in ("ctld", "d"):
        (state / name).mkdir()
    key = state / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    ports = _free_ports(2)
    text = CONFIGURATION.format(
        host=socket.gethostname(), state=state, port=ports[0], port2=ports[1], cpus=os.cpu_count()
    )
    (state / "slurm.conf").write_text(text)
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={state}/munge.socket"]
    munged += [
        f"--pid-file={state}/munge.pid",
        f"--log-file={state}/munge.log",
        f"--seed-file={state}/munge.seed",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        patch.setenv("SLURM_CONF", str(state / "slurm.conf"))
        started = [subprocess.Popen(munged, stderr=subprocess.DEVNULL)]
        try:
            wait_for(lambda: (state / "munge.socket").exists(), "munged")
            for daemon in ("slurmctld", "slurmd"):
                started.append(
                    subprocess.Popen([daemon, "-D"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                )
            wait_for(lambda: "idle" in output("sinfo", "-h", "-o", "%t"), "an idle node")
            yield
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                process.wait(timeout=20)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def wait_for(condition: Callable[[], object], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come")
        time.sleep(0.2)
