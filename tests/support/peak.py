"""The peak memory of a program of its own.

Of ``resource.getrusage`` a child inherits what its parent had before it began, which is more than what is measured here.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
#: Appended to a program.
_TELL = "\nfrom tests.support.peak import peak_bytes\nprint('peak', peak_bytes())\n"


def peak_bytes() -> int:
    """Return the most memory that this process ever had, in bytes."""
    found = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text())
    assert found is not None
    return 1024 * int(found[1])


def has_peak() -> bool:
    """Whether this system tells the peak memory of a process."""
    return _STATUS.exists() and "VmHWM" in _STATUS.read_text()


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
