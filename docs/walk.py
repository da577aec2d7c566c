"""Follow one image through a checkout: which functions are entered, in which files, and how often a file is entered again.

    python docs/walk.py [CHECKOUT] [--steps] [--folders]

Two walks are run with the commands of CHECKOUT (default: this one; its core must be built): a generated image from
``memcore audit`` to the report, and a training image from a tar archive to its verdict.

What is counted: a function of memcore is a *step* if an image, or what was made of it (pixels, encoded bytes, a graph, a
clique, a finding, a row), goes into it or comes out of it. Each function is counted once, where it is first called, in
whatever process. A *return* is a step into a file that was left before. Leaf modules that any room may call (``TOOLS``: the
public mathematics at the top of the package, files, storage and the system) are tools and no rooms: a step into one is not
counted, on any commit.

``--steps`` prints each step, ``--folders`` the order in which each command enters the folders for the first time.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: Leaf modules that any room may call, by their paths before and after the restructuring: no rooms, left out on both sides.
#: ``interop`` holds what ``arrays`` did about the kinds of arrays.
TOOLS = (
    *(
        f"memcore/{name}.py"
        for name in ("types", "arrays", "interop", "distance", "graph", "clique", "knn", "isa", "errors")
    ),
    "memcore/backends/",
    *(f"memcore/jobs/{name}.py" for name in ("files", "storage", "object_storage", "secrets", "progress")),
    "memcore/index/parquet.py",  # since then system/columns
    "memcore/system/",
    "memcore/storage/",
)

#: Runs in every process before anything else: writes down each step, when it is first called.
TRACER = """
import os, sys, threading, time
_root = os.environ["WALK_ROOT"] + os.sep
_out = open(os.path.join(os.environ["WALK_LOG"], f"{os.getpid()}.log"), "a", buffering=1)
_steps, _pending = set(), {}
_KINDS = {"Images", "Graph", "Clique", "Cliques", "Finding", "Match", "Table", "RecordBatch"}

def _carries(value, depth=2):
    kind = type(value)
    if kind.__name__ == "ndarray":
        return value.dtype.name == "uint8" and value.ndim >= 3
    if kind is bytes:
        return value[:4] in (b"\\x89PNG", b"PAR1")
    if kind.__name__ in _KINDS:
        return True
    if kind is dict:
        return "prompt_id" in value or "training_index" in value
    if kind in (list, tuple) and depth:
        return any(_carries(item, depth - 1) for item in value[:4])
    return False

def _profile(frame, event, answer):
    code = frame.f_code
    if event == "call":
        if code in _steps or not code.co_filename.startswith(_root) or code.co_name.startswith("<"):
            return
        names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
        now = time.time_ns()
        if any(_carries(frame.f_locals.get(name)) for name in names):
            _note(now, code)
        else:
            _pending[id(frame)] = now
    elif event == "return" and (now := _pending.pop(id(frame), None)) and code not in _steps and _carries(answer):
        _note(now, code)

def _note(now, code):
    _steps.add(code)
    _out.write(f"{now} {code.co_filename[len(_root):]} {code.co_qualname}\\n")

sys.setprofile(_profile)
threading.setprofile(_profile)
"""

SAMPLER = """
import numpy as np
from memcore.types import Images
class Copies:
    fingerprint = "copies"
    image_shape = (16, 16, 3)
    def sample(self, requests):
        rng = np.random.default_rng(1)
        one = rng.integers(20, 236, self.image_shape)
        noise = [np.random.default_rng(r.seed).integers(-3, 4, self.image_shape) for r in requests]
        return Images((one + np.stack(noise)).astype(np.uint8), np.zeros(len(requests), bool))
"""


def _commands() -> Iterator[tuple[str, list[list[str]]]]:
    """The walks, each with the commands that it takes, in order."""
    audit = [
        "audit",
        "run",
        "--sampler",
        "walk_sampler:Copies",
        "--prompts",
        "prompts.txt",
        "--generations",
        "12",
    ]
    yield "a generated image", [[*audit, "--workers", "1", "--quiet"], ["report", "run"]]
    index = ["index", "index", "--source", "train.tar", "--quiet", "--threads", "1"]
    yield (
        "a training image",
        [index, ["match", "run", "--index", "index", "--source", "train.tar", "--threads", "1"]],
    )


def _prepare(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    (folder / "walk_sampler.py").write_text(SAMPLER)
    (folder / "prompts.txt").write_text("a picture\n")
    (folder / "trace").mkdir()
    (folder / "trace" / "sitecustomize.py").write_text(TRACER)
    with tarfile.open(folder / "train.tar", "w") as tar:
        for seed in range(3):
            pixels = np.random.default_rng(seed).integers(20, 236, (16, 16, 3)).astype(np.uint8)
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "png")
            member = tarfile.TarInfo(f"{seed}.png")
            member.size = len(data.getvalue())
            tar.addfile(member, io.BytesIO(data.getvalue()))


def walk(checkout: Path, folder: Path, command: Sequence[str]) -> list[tuple[str, str]]:
    """(file, function) of each step of a command, in the order in which they were first entered, over all processes."""
    log = folder / "log"
    log.mkdir()
    environment = {
        **os.environ,
        "WALK_ROOT": str(checkout),
        "WALK_LOG": str(log),
        "PYTHONPATH": os.pathsep.join([str(folder / "trace"), str(checkout), str(checkout / "kernels")]),
    }
    program = [sys.executable, "-m", "memcore.cli", *command]
    subprocess.run(program, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = sorted(line.split(" ", 2) for file in log.glob("*.log") for line in file.read_text().splitlines())
    steps = dict.fromkeys(
        (name, function) for _, name, function in lines if name.startswith("memcore" + os.sep)
    )
    shutil.rmtree(log)
    return [step for step in steps if not step[0].startswith(TOOLS)]


def count_returns(steps: Sequence[tuple[str, str]]) -> tuple[list[str], int]:
    """The files in the order in which they are entered, and how many of these steps are returns."""
    order: list[str] = []
    returns = 0
    for name, _ in steps:
        if not order or order[-1] != name:
            returns += name in order
            order.append(name)
    return order, returns


def walk_all(checkout: Path) -> Iterator[dict[str, Any]]:
    """Each walk: its title, the number of files and of returns, the order of files, the folders by command, the steps."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _prepare(folder)
        for title, commands in _commands():
            by_command = {command[0]: walk(checkout, folder, command) for command in commands}
            steps = list(dict.fromkeys(step for some in by_command.values() for step in some))
            order, returns = count_returns(steps)
            folders = {
                name: list(dict.fromkeys(Path(file).parts[1] for file, _ in some))
                for name, some in by_command.items()
            }
            yield {
                "walk": title,
                "files": len(set(order)),
                "returns": returns,
                "order": order,
                "folders": folders,
                "steps": steps,
            }


def main() -> None:
    """Print both walks as JSON: files, returns, the order of files; folders and steps where asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--folders", action="store_true")
    arguments = parser.parse_args()
    for found in walk_all(arguments.checkout.resolve()):
        steps, folders = found.pop("steps"), found.pop("folders")
        print(json.dumps(found, indent=1))
        if arguments.folders:
            for command, names in folders.items():
                print(f"memcore {command}: {' > '.join(names)}")
        if arguments.steps:
            for file, function in steps:
                print(f"  {file} {function}")


if __name__ == "__main__":
    main()
