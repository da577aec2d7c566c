"""The peak memory of a program of its own.

Of ``resource.getrusage`` a child inherits what its parent had before it began, which is more than what is measured here.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

#: Appended to a program: the most memory that it ever had, in bytes.
_TELL = """
import pathlib, re
_status = pathlib.Path("/proc/self/status").read_text()
print("peak", 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", _status)[1]))
"""


def peak_of(program: str, *arguments: object, limit_files: int = 0) -> int:
    """Run a Python program; return the most memory that it had, in bytes.

    With ``limit_files`` it may have that many files open. Fails if the program does.
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit_files, limit_files))

    done = subprocess.run(
        [sys.executable, "-c", program + _TELL, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit if limit_files else None,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rpartition("peak ")[2])


def has_peak() -> bool:
    """Whether this system tells the peak memory of a process."""
    return "VmHWM" in Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else False
