"""Builds the native core: one translation unit an instruction set, each with its own flags. Metadata: pyproject.toml."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
CSRC = ROOT / "csrc"
X86 = platform.machine().lower() in {"x86_64", "amd64"}
MSVC = sys.platform == "win32"

# The suffix of a file is its instruction set. Never -march=native: the wheel must run on every machine of its family,
# the dispatch picks at run time. No LTO: it would let an AVX-512 copy of a shared inline function be the one kept.
ISA_FLAGS: dict[str, list[str]] = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512vnni": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mavx2", "-mfma"],
    "neon_dotprod": ["-march=armv8.2-a+dotprod"],
}
ISAS = ["avx2", "avx512vnni"] if X86 else ["neon_dotprod"] if platform.machine() in {"aarch64", "arm64"} else []
# No fused multiply-add unless it is written out: float answers are the same on every instruction set (contract.hpp).
FLOATS = ["-ffp-contract=off"]
WARNINGS = ["-Wno-psabi", "-Wall", "-Wextra", "-Werror"]
BASE = ["/std:c++20", "/O2"] if MSVC else ["-std=c++20", "-O3", "-fvisibility=hidden", "-pthread", *FLOATS, *WARNINGS]
SANITIZE = os.environ.get("MEMCORE_SANITIZE", "")


def sources() -> list[Path]:
    """All of csrc except other machines' instruction sets and the CUDA part that is not being built."""
    cuda = os.environ.get("MEMCORE_CUDA") == "1"
    if cuda and shutil.which("nvcc") is None:
        sys.exit("MEMCORE_CUDA=1 was set but nvcc is not on PATH: install CUDA 12.4 or later, or unset MEMCORE_CUDA")
    kept = []
    for path in sorted(CSRC.rglob("*.cpp")):
        if path.stem in ISA_FLAGS and path.stem not in ISAS:
            continue
        if path.name == "no_cuda.cpp" and cuda:
            continue
        if "tests" in path.parts:
            continue
        if "clique" in path.parts and not (CSRC / "bind" / "clique.cpp").exists():
            continue
        kept.append(path)
    return kept


class BuildCore(build_ext):
    """Compiles each source with the flags of its instruction set, in parallel."""

    def build_extension(self, ext: Pybind11Extension) -> None:
        from concurrent.futures import ThreadPoolExecutor

        defines = [f"-DMEMCORE_HAVE_{isa.upper()}=1" for isa in ISAS]
        extra = [f"-fsanitize={SANITIZE}", "-g", "-fno-omit-frame-pointer"] if SANITIZE else []
        temp = Path(self.build_temp)

        # Objects newer than their source and all headers are kept, unless the flags changed: setuptools rebuilds everything.
        headers = [p for pattern in ("*.hpp", "*.inl", "*.h") for p in CSRC.rglob(pattern)]
        newest = max(p.stat().st_mtime for p in [*headers, ROOT / "setup.py"])
        stamp = temp / "flags.txt"
        wanted = repr((BASE, ISA_FLAGS, defines, extra))
        same_flags = stamp.exists() and stamp.read_text() == wanted

        def compile_one(source: str) -> list[str]:
            flags = [*BASE, *ISA_FLAGS.get(Path(source).stem, []), *defines, *extra]
            relative = os.path.relpath(source, ROOT)
            built = [Path(o) for o in self.compiler.object_filenames([relative], output_dir=str(temp))]
            since = max(newest, Path(source).stat().st_mtime)
            if same_flags and not self.force and all(o.exists() and o.stat().st_mtime > since for o in built):
                return [str(o) for o in built]
            return self.compiler.compile(
                [relative],
                output_dir=str(temp),
                include_dirs=[str(CSRC), *ext.include_dirs],
                extra_postargs=flags,
            )

        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            objects = [o for group in pool.map(compile_one, ext.sources) for o in group]
        stamp.write_text(wanted)
        link = [] if MSVC else ["-pthread", *([f"-fsanitize={SANITIZE}"] if SANITIZE else [])]
        self.compiler.link_shared_object(
            objects,
            self.get_ext_fullpath(ext.name),
            libraries=ext.libraries,
            library_dirs=ext.library_dirs,
            runtime_library_dirs=ext.runtime_library_dirs,
            extra_postargs=[*ext.extra_link_args, *link],
            build_temp=str(temp),
            target_lang="c++",
        )


if os.environ.get("MEMCORE_CUDA") == "1":
    subprocess.run([sys.executable, str(CSRC / "cuda" / "build.py")], check=True)

setup(
    ext_modules=[
        Pybind11Extension(
            "memcore._core", [os.path.relpath(p, ROOT) for p in sources()], include_dirs=[str(CSRC)], cxx_std=20
        )
    ],
    cmdclass={"build_ext": BuildCore},
)
