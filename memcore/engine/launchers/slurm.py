"""A SLURM array: each of its jobs is a plain command that does one part of the tasks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from memcore.errors import ConfigError, RunError
from memcore.storage.open import is_url
from memcore.system.atomic_files import check_no_links, write_atomic

#: Seconds before its time limit at which SLURM interrupts a part of the array, so that it writes its checkpoint.
WARNING_SECONDS = 60
#: The folder in which the script and the logs are kept.
FOLDER = "slurm"
#: What runs a command of memcore.
MEMCORE = (sys.executable, "-m", "memcore.cli")


def script(
    place: str | Path,
    command: Sequence[str],
    tasks: int,
    options: Sequence[str],
    logs: Path,
    program: Sequence[str] = MEMCORE,
) -> str:
    """Return the array's script.

    ``command`` is given to ``program`` with ``--part K/N`` at its end; ``tasks`` is N; ``options`` are sbatch's.

    >>> lines = script("run", ["audit", "run"], 4, ["--time=1:00:00"], Path("run/slurm")).splitlines()
    >>> [line for line in lines if "array" in line or "time" in line]
    ['#SBATCH --array=1-4', '#SBATCH --time=1:00:00']
    """
    if tasks < 1:
        raise ConfigError(f"tasks must be at least 1, got {tasks}")
    for option in options:
        if not option.startswith("-") or "\n" in option:
            raise ConfigError(f"sbatch must be an option of sbatch, such as --time=1:00:00, got {option!r}")
    output, redirect = _logging(logs.absolute())
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", str(place).rstrip("/").rpartition("/")[2])
    return "\n".join(
        [
            "#!/bin/bash",
            f"#SBATCH --job-name=memcore-{name}",
            f"#SBATCH --array=1-{tasks}",
            f"#SBATCH --output={output}",
            "#SBATCH --open-mode=append",
            "#SBATCH --requeue",
            # to the program itself, which the shell becomes: it writes its checkpoint and ends with exit code 3
            f"#SBATCH --signal=B:TERM@{WARNING_SECONDS}",
            *(f"#SBATCH {option}" for option in options),
            *([] if redirect is None else [redirect]),
            f"cd {shlex.quote(os.getcwd())} || exit 1",
            f'exec {shlex.join([*program, *command])} --part "$SLURM_ARRAY_TASK_ID/{tasks}"',
            "",
        ]
    )


def _logging(logs: Path) -> tuple[str, str | None]:
    """Return the pattern of the logs' names as a line of #SBATCH holds it, and the line by which the job writes them itself.

    sbatch cuts such a line at spaces and at #, takes quotes as a shell does, and %% for a percent sign. It has no way to
    write a line end or a backslash: of a folder with one of these in its name, the job opens its log by itself.
    """
    folder = str(logs)
    if set(folder) & {"\n", "\r", "\\"}:
        return "/dev/null", (
            f'exec >>{shlex.quote(folder)}/"${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}.log" 2>&1'
        )
    pattern = f"{folder.replace('%', '%%')}/%A_%a.log"
    if re.fullmatch(r"[\w/.,:+=@%~-]*", pattern):
        return pattern, None
    escaped = pattern.replace('"', '\\"')
    return f'"{escaped}"', None


def script_path(place: str | Path) -> Path:
    """Return where the script is kept: in the job's folder or, for an object store, in one of the working directory.

    >>> script_path("s3://bucket/first").as_posix()
    'slurm-first/slurm/array.sh'
    """
    folder = Path(f"slurm-{str(place).rstrip('/').rpartition('/')[2]}") if is_url(place) else Path(place)
    return folder / FOLDER / "array.sh"


def write_script(path: Path, text: str) -> None:
    """Write a script, with names that are not UTF-8 as the bytes that they are."""
    write_atomic(path, os.fsencode(text))


def submit(
    place: str | Path,
    command: Sequence[str],
    tasks: int,
    options: Sequence[str],
    program: Sequence[str] = MEMCORE,
) -> dict[str, str]:
    """Write the script into the job's folder and give it to sbatch; return the script's path and the job's number.

    Raises RunError if there is no sbatch here, or if it refuses; the script stays to be submitted by hand.
    """
    path = script_path(place)
    check_no_links(path.parent.parent, path)
    write_script(path, script(place, command, tasks, options, path.parent, program))
    if shutil.which("sbatch") is None:
        raise RunError(
            f"sbatch is not on this machine; submit it where it is: sbatch {shlex.quote(str(path))}"
        )
    done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"sbatch refuses {path}: {done.stderr.strip()}")
    return {"script": str(path), "job": done.stdout.strip().partition(";")[0]}
