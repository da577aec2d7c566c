"""Build the core with MEMCORE_CUDA=1 into build/cuda-lib and check the result: the architectures, registers and
spills of its kernels, and its answer where there is no driver. Run from the repository's root, with its environment."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import triton

TOOL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
MACHINE_CODE = ["sm_100", "sm_80", "sm_90a"]
MAX_REGISTERS = 64  # 128 or 256 threads a block: four blocks' worth of registers or more on a multiprocessor
#: The solver; the core by loads of 4, 2 and 1 words; the search with rows in shared memory and without.
KERNELS = 6


def main() -> None:
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", "build/cuda-lib"]
    subprocess.run(command, env=os.environ | {"MEMCORE_CUDA": "1", "MEMCORE_WERROR": "1"}, check=True)
    (library,) = Path("build/cuda-lib/memcore").glob("_core*.so")

    listed = output("--list-elf", library) + output("--list-ptx", library)
    # Once for each of the two files.
    assert sorted(re.findall(r"\.(sm_\w+)\.cubin", listed)) == sorted(2 * MACHINE_CODE), listed
    assert set(re.findall(r"\.(sm_\w+|compute_\w+)\.ptx", listed)) in ({"sm_80"}, {"compute_80"}), listed
    usage = re.findall(r"REG:(\d+) STACK:(\d+)", output("-res-usage", library))
    assert len(usage) == KERNELS * len(MACHINE_CODE), usage
    assert all(int(registers) <= MAX_REGISTERS and stack == "0" for registers, stack in usage), usage
    code = output("-sass", library)
    assert not re.search(r"\b(STL|LDL)\b", code)
    assert "REDUX" in code  # sums over a warp in one instruction

    spec = importlib.util.spec_from_file_location("memcore._core", library)
    assert spec is not None
    assert spec.loader is not None
    core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    status = core.cuda_status()
    assert status["built"]
    if not status["available"]:
        assert "no device answers" in status["reason"], status
        error = core.cuda_max_clique(0, 0, 0, 64, 1, 0, 10, 0, 0, 0)
        assert core.cuda_max_clique_workspace(0, 64, 1) == -2
        assert error in (35, 100), error  # cudaErrorInsufficientDriver, cudaErrorNoDevice
        assert core.cuda_has_clique(0, 0, 0, 0, 64, 1, 0, 10, 0, 0) == error
        assert core.cuda_error(error)
    print(f"{library}: {', '.join(MACHINE_CODE)} and PTX, registers {[int(r) for r, _ in usage]}, no spills")
    print(f"without a device it says: {status['reason']}" if status["reason"] else "a device answers")


def output(option: str, library: Path) -> str:
    done = subprocess.run([TOOL, option, library], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


main()
