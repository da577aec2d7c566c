"""The parts of one visit to a machine with a GPU, in their order, each a process with a limit of its own."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


@dataclasses.dataclass(frozen=True)
class Part:
    """``seconds``: what it may take at most. ``shared``: it may run beside others, since it times nothing."""

    name: str
    what: str
    seconds: int
    command: tuple[str, ...]
    shared: bool = True
    #: The tool that it needs, where that is no part of the project.
    tool: str = ""

    @property
    def missing(self) -> str:
        """Return what keeps it from running here, or ""."""
        return f"{self.tool} is not on PATH" if self.tool and not shutil.which(self.tool) else ""


def _script(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(FOLDER / f"{name}.py"), *arguments)


def _tests(*more: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", "tests/gpu", *more)


def parts() -> list[Part]:
    """Return all of them: right or wrong first, side by side; then times, alone."""
    checks = {
        "dense": "distances of 14 shapes, random, 0 and 255, copies, repeated",
        "large": "offsets past 2^32 bytes",
        "graphs": "graphs of slots filled at once and in mixed batches",
        "knn": "nearest rows, k = 1 to 128",
        "cliques": "880 graphs of five kinds, solved and decided twice, against the CPU",
    }
    found = [Part(f"check-{name}", what, 70, _script("checks", name)) for name, what in checks.items()]
    found.append(Part("tests", "pytest -m gpu tests/gpu", 110, _tests()))
    sanitizer = "compute-sanitizer"
    for tool in ("memcheck", "racecheck", "synccheck"):
        command = (sanitizer, "--tool", tool, "--error-exitcode", "9", *_script("checks", "cliques"))
        found.append(Part(tool, f"{sanitizer} --tool {tool} on the cliques", 100, command, tool=sanitizer))
    found.append(
        Part("timing", "ceilings of the device, then each kernel", 90, _script("timing"), shared=False)
    )
    found.append(
        Part(
            "path",
            "prompts a second of an audit at batches of 500, 64 and 2,000",
            60,
            _script("whole_path"),
            shared=False,
        )
    )
    command = (
        "ncu",
        "--csv",
        "--section",
        "SpeedOfLight",
        "--section",
        "Occupancy",
        "--section",
        "WarpStateStats",
    )
    names = ("--kernel-name", "regex:intake|candidates|verify|tiled_l2|knn|core_kernel|search_kernel")
    profile = (*command, *names, "--launch-count", "40", *_script("timing", "dense", "extend"))
    found.append(Part("ncu", "occupancy and waits of the kernels", 80, profile, shared=False, tool="ncu"))
    return found
