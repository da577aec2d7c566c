"""Build the native core: one translation unit an instruction set, each with its own flags. Metadata: pyproject.toml."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).parent
CSRC = ROOT / "csrc"
# On Windows clang-cl compiles: the kernels use vector extensions of GCC and clang that cl.exe lacks.
MSVC = sys.platform == "win32"
MACOS = sys.platform == "darwin"

# A file named after an instruction set is compiled with the flags of its row in this table. Never -march=native: the wheel
# must run on every machine of its family, the dispatch picks at run time. No LTO: it would let an AVX-512 copy of a shared
# inline function be the one kept.
ISA_ROWS = re.findall(
    r'^MEMCORE_(\w+)\((\w+), \w+, \w+, "([^"]*)"\)$', (CSRC / "instruction_sets.def").read_text(), re.M
)
ISA_FLAGS = {name: flags.split() for _, name, flags in ISA_ROWS}
FAMILY = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
ISAS = [name for family, name, _ in ISA_ROWS if family.lower() == FAMILY]
# No fused multiply-add unless it is written out: float answers are the same on every instruction set (contract.hpp).
FLOATS = ["-ffp-contract=off"]
# A warning of a compiler that this was never tried with must not stop a build: `.ci/run` alone asks for that.
WERROR = os.environ.get("MEMCORE_WERROR") == "1"
WARNINGS = ["-Wno-psabi", "-Wall", "-Wextra", *(["-Werror"] if WERROR else [])]
# Where a hot loop lies would else be chance, which a change anywhere moves: it costs dense and knn up to 3 %.
ALIGNED = ["-falign-functions=64"]
BASE = (
    ["/std:c++20", "/O2", "/EHsc", "-Wno-psabi", *(f"/clang:{flag}" for flag in FLOATS), "-DMEMCORE_BUILD"]
    if MSVC
    else ["-std=c++20", "-O3", "-g0", "-fvisibility=hidden", "-pthread", *ALIGNED, *FLOATS, *WARNINGS]
)
SANITIZE = os.environ.get("MEMCORE_SANITIZE", "")


CUDA = os.environ.get("MEMCORE_CUDA") == "1"
# Machine code for the A100, the H100 and the B200; all others from 8.0 on compile the PTX when they load it.
CUDA_TARGETS = (
    "arch=compute_80,code=[sm_80,compute_80]",
    "arch=compute_90a,code=sm_90a",
    "arch=compute_100,code=sm_100",
)
CUDA_FLAGS = [
    *(
        "-std=c++20",
        "-O3",
        "-Xcompiler",
        f"-fPIC,-fvisibility=hidden,-Wall,-Wextra{',-Werror' if WERROR else ''}",
    ),
    *(("-Werror", "all-warnings") if WERROR else ()),
    *(f"-gencode={target}" for target in CUDA_TARGETS),
]


def find_nvcc() -> Path:
    """Return the compiler that NVCC names, the one on PATH, or that of the PyPI packages in this environment."""
    named = os.environ.get("NVCC") or shutil.which("nvcc")
    packaged = sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/cu*/bin/nvcc"))
    found = Path(named) if named else packaged[-1] if packaged else None
    if found is None or not found.is_file():
        sys.exit(
            f"MEMCORE_CUDA=1 was set but there is no nvcc {'at ' + named if named else 'on PATH'}: install CUDA 12.4 or "
            "later, or pip install 'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*' "
            "'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cccl==13.0.*', or unset MEMCORE_CUDA"
        )
    return found


def cuda_runtime(nvcc: Path) -> Path:
    """Return the static CUDA runtime of this compiler: static, so that the core loads where there is no CUDA."""
    told = subprocess.run(
        [nvcc, "--dryrun", "-c", "x.cu"], capture_output=True, text=True, check=False
    ).stderr
    top = re.search(r"^#\$ TOP=(.*)$", told, re.MULTILINE)
    root = Path(top[1] if top else nvcc.resolve().parent.parent)
    folders = [root / "lib64", root / "lib", *sorted(root.glob("targets/*/lib"))]
    for library in (folder / "libcudart_static.a" for folder in folders):
        if library.is_file():
            return library
    sys.exit(
        f"MEMCORE_CUDA=1 was set and {nvcc} found, but no libcudart_static.a under {root}: install the CUDA runtime"
    )


def sources() -> list[Path]:
    """Return all of csrc except other machines' instruction sets and, with CUDA, its stub."""
    kept = []
    for path in sorted(CSRC.rglob("*.cpp")):
        if path.stem in ISA_FLAGS and path.stem not in ISAS:
            continue
        if path.name == "no_cuda.cpp" and CUDA:
            continue
        if "tests" in path.parts:
            continue
        kept.append(path)
    return kept


def is_fresh(built: Path, flags: list[str]) -> bool:
    """Return whether an object was made with these flags and is newer than all that it includes: setuptools never checks."""
    dependencies, recorded = built.with_suffix(".d"), built.with_suffix(".flags")
    if not (built.exists() and dependencies.exists() and recorded.exists()) or recorded.read_text() != repr(
        flags
    ):
        return False
    names = dependencies.read_text().partition(":")[2].replace("\\\n", " ").split()
    made = built.stat().st_mtime
    return all(Path(name).exists() and Path(name).stat().st_mtime < made for name in names)


def compile_cuda(nvcc: Path, source: Path, temp: Path) -> str:
    built = (temp / source.relative_to(ROOT)).with_suffix(".cu.o")
    flags = [str(nvcc), *CUDA_FLAGS, f"-I{CSRC}", "-MMD", "-MF", str(built.with_suffix(".d"))]
    if not is_fresh(built, flags):
        built.parent.mkdir(parents=True, exist_ok=True)
        built.with_suffix(".flags").unlink(missing_ok=True)
        print(f"nvcc {source.relative_to(ROOT)}: {', '.join(CUDA_TARGETS)}")
        done = subprocess.run([*flags, "-c", str(source), "-o", str(built)], check=False)
        if done.returncode != 0:
            sys.exit(f"nvcc could not compile {source}")
        built.with_suffix(".flags").write_text(repr(flags))
    return str(built)


# Wheels hold no symbolic links, so the library stands there twice: under the name that linkers look for, and under the
# one that programs look for when they start.
ABI = 1  # MEMCORE_ABI_VERSION
LIBRARY, SONAME = (
    ("memcore.dll", "memcore.dll")
    if MSVC
    else ("libmemcore.dylib", f"@rpath/libmemcore.{ABI}.dylib")
    if MACOS
    else ("libmemcore.so", f"libmemcore.so.{ABI}")
)


def library_flags() -> list[str]:
    """Return the linker flags: only memcore_* is exported, and nothing is unloaded, as threads outlive a dlclose."""
    if MACOS:
        return ["-dynamiclib", f"-Wl,-install_name,{SONAME}", "-Wl,-exported_symbol,_memcore_*"]
    script = CSRC / "package" / "memcore.map"
    # A symbol that is missing shows here, not in somebody's program.
    complete = [] if SANITIZE else ["-Wl,-z,defs"]
    named = [f"-Wl,-soname,{SONAME}", f"-Wl,--version-script={script}", "-Wl,-z,nodelete", "-Wl,-s"]
    return ["-shared", *named, *complete]


def write_configuration(package: Path, version: str) -> None:
    """Write the header and the files that pkg-config and CMake read, with paths relative to their own."""
    places = {
        "memcore.pc": package / "lib" / "pkgconfig",
        "memcoreConfig.cmake": package / "lib" / "cmake" / "memcore",
        "memcoreConfigVersion.cmake": package / "lib" / "cmake" / "memcore",
    }
    for name, folder in places.items():
        text = (CSRC / "package" / f"{name}.in").read_text()
        for word, value in (("VERSION", version), ("LIBRARY", LIBRARY), ("SONAME", SONAME)):
            text = text.replace(f"@{word}@", value)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (package / "include").mkdir(exist_ok=True)
    shutil.copyfile(CSRC / "include" / "memcore.h", package / "include" / "memcore.h")


class BuildCore(build_ext):
    """Compile each source with the flags of its instruction set, in parallel, and link the objects twice: with the
    bindings as memcore._core, and with the C ABI as a library. _core could use that library instead, but then each
    platform's way of finding one library beside another would stand between a wheel and its import.
    """

    def build_library(self, objects: list[str], package: Path) -> None:
        folder = package / "lib"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / LIBRARY
        if MSVC:
            self.compiler.link_shared_object(
                objects, str(target), extra_postargs=[f"/IMPLIB:{folder / 'memcore.lib'}"], target_lang="c++"
            )
        else:
            extra = [f"-fsanitize={SANITIZE}"] if SANITIZE else []
            compiler = self.compiler.compiler_cxx
            self.spawn([*compiler, *library_flags(), *objects, "-pthread", *extra, "-o", str(target)])
            shutil.copyfile(target, folder / SONAME.rpartition("/")[2])
        write_configuration(package, self.distribution.get_version())

    def copy_extensions_to_source(self) -> None:
        """Copy the library and its header beside the extension, for an install in place."""
        super().copy_extensions_to_source()
        built = Path(self.build_lib) / "memcore"
        source = Path(self.get_finalized_command("build_py").get_package_dir("memcore"))
        for folder in ("include", "lib"):
            shutil.copytree(built / folder, source / folder, dirs_exist_ok=True)

    def build_extension(self, ext: Pybind11Extension) -> None:
        from concurrent.futures import ThreadPoolExecutor

        extra = [f"-fsanitize={SANITIZE}", "-g", "-fno-omit-frame-pointer"] if SANITIZE else []
        # pip builds an editable install in a temporary folder and would compile everything at each install
        tag = "-".join(
            [sys.implementation.cache_tag, platform.machine().lower(), *([SANITIZE] if SANITIZE else [])]
        )
        temp = Path("build") / f"objects-{tag.replace(',', '-')}"
        if MSVC:
            self.compiler.initialize()
            self.compiler.cc = shutil.which("clang-cl") or sys.exit(
                "clang-cl is not on PATH: install LLVM, or Visual Studio's 'C++ Clang tools for Windows'"
            )

        def compile_one(source: str) -> list[str]:
            relative = os.path.relpath(source, ROOT)
            (built,) = (Path(o) for o in self.compiler.object_filenames([relative], output_dir=str(temp)))
            flags = [*BASE, *ISA_FLAGS.get(Path(source).stem, []), *extra]
            if not MSVC:
                flags += ["-MMD", "-MF", str(built.with_suffix(".d"))]
            if not self.force and is_fresh(built, flags):
                return [str(built)]
            built.with_suffix(".flags").unlink(missing_ok=True)
            started = time.time()
            objects = self.compiler.compile(
                [relative],
                output_dir=str(temp),
                include_dirs=[str(CSRC), *ext.include_dirs],
                extra_postargs=flags,
            )
            os.utime(built, (started, started))  # a source edited meanwhile is newer
            built.with_suffix(".flags").write_text(repr(flags))
            return objects

        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            objects = [o for group in pool.map(compile_one, ext.sources) for o in group]
        # Nothing but the bindings needs bind/, cuda/ and sketches/, and nothing but the library needs capi/.
        library = [o for o in objects if not {"bind", "cuda", "sketches"} & set(Path(o).parts)]
        objects = [o for o in objects if "capi" not in Path(o).parts]
        self.build_library(library, Path(self.get_ext_fullpath(ext.name)).parent)
        if CUDA:
            nvcc = find_nvcc()
            objects += [compile_cuda(nvcc, source, temp) for source in sorted(CSRC.rglob("*.cu"))]
            objects.append(str(cuda_runtime(nvcc)))
        link = [] if MSVC else ["-pthread", *([f"-fsanitize={SANITIZE}"] if SANITIZE else [])]
        self.compiler.link_shared_object(
            objects,
            self.get_ext_fullpath(ext.name),
            libraries=[*ext.libraries, *(["dl", "rt"] if CUDA else [])],  # what CUDA's runtime needs
            library_dirs=ext.library_dirs,
            runtime_library_dirs=ext.runtime_library_dirs,
            extra_postargs=[*ext.extra_link_args, *link],
            build_temp=str(temp),
            target_lang="c++",
        )


class EditableWheel(editable_wheel):
    """Install a checkout by a list of paths. By itself setuptools takes an import hook for two roots of packages, and type
    checkers, which never import, find neither memcore nor its py.typed behind one. Its mode "compat" knows one root alone.
    """

    def _select_strategy(self, name, tag, build_lib):
        try:
            from setuptools.command.editable_wheel import _StaticPth
        except ImportError:  # a setuptools of another day: the hook imports, which is what matters most
            return super()._select_strategy(name, tag, build_lib)
        if self.mode:  # pip install --config-settings editable_mode=strict
            return super()._select_strategy(name, tag, build_lib)
        return _StaticPth(self.distribution, name, [ROOT, ROOT / "kernels"])


if CUDA:
    find_nvcc()  # before anything else is compiled

setup(
    ext_modules=[
        Pybind11Extension(
            "memcore._core",
            [os.path.relpath(p, ROOT) for p in sources()],
            include_dirs=[str(CSRC)],
            cxx_std=20,
        )
    ],
    cmdclass={"build_ext": BuildCore, "editable_wheel": EditableWheel},
)
