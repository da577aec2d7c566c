"""The C library as another program uses it: header, library, pkg-config, CMake, and the example, compiled and run."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import memcore
from memcore import errors
from memcore.embedding import _existing

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "embed.c"
LIBRARY = Path(memcore.get_library())
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads ELF files")


def need(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install {package}")
    return found


def run(*command: object, cwd: Path | None = None, **env: str) -> str:
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, compiled without any tool but a C compiler."""
    folder = tmp_path_factory.mktemp("embed")
    link = ["-L", LIBRARY.parent, f"-Wl,-rpath,{LIBRARY.parent}", "-lmemcore"]
    target = folder / "embed"
    run(need("cc", "gcc"), *STRICT, "-I", memcore.get_include(), EXAMPLE, *link, "-o", target)
    return target


def expected(images: np.ndarray, threshold: float) -> str:
    """What the example must print, by Python's functions."""
    graph = memcore.tiled_l2_graph(images, threshold)
    lines = [f"{len(images)} images, {len(graph)} edges"]
    lines += [
        f"{i} {j} {float(d):.9g}" for (i, j), d in zip(graph.edges.tolist(), graph.distances, strict=True)
    ]
    lines += [f"clique of {len(c)}: {' '.join(map(str, c.members))}" for c in memcore.find_cliques(graph, 3)]
    return "\n".join(lines) + "\n"


def images_of_the_example() -> np.ndarray:
    """make_images of examples/embed.c."""
    state, values = 1, []
    for _ in range(12 * 32 * 32 * 3):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state >> 24)
    images = np.array(values, np.uint8).reshape(12, 32, 32, 3)
    for i in (4, 5, 8, 11):
        images[i] = np.clip(images[3].astype(int) + images[i] % 7 - 3, 0, 255)
    return images


def test_the_example_says_what_python_says(program: Path) -> None:
    said = run(program)
    assert said == expected(images_of_the_example(), 0.15)
    assert "clique of 5: 3 4 5 8 11\n" in said


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.35])
def test_the_example_reads_images(program: Path, tmp_path: Path, threshold: float) -> None:
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (30, 48, 20, 1), dtype=np.uint8)
    images[9:20] = images[9]
    images[9:20] ^= rng.integers(0, 64, images[9:20].shape, dtype=np.uint8) * (np.arange(11) % 2)[
        :, None, None, None
    ].astype(np.uint8)
    images.tofile(tmp_path / "raw")
    assert run(program, tmp_path / "raw", 30, 48, 20, 1, threshold) == expected(images, threshold)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x",), "usage"),
        (("missing", 1, 4, 4, 1), "cannot read 16 bytes of missing"),
        (("short", 1, 4, 4, 3), "cannot read 48 bytes of short"),
        (("short", 1, 5, 4, 1), "cannot be cut into 4 x 4 tiles"),
        (("short", 1, 4, 4, 1, 2.0), "threshold must be a number in [0, 1], got 2"),
        (("short", 0, 4, 4, 1), "sizes must be positive"),
        (("short", 2**62, 4, 4, 1), "fit an address"),
        (("short", 4, 4, 1, 1), "cannot be cut"),
        (("short", 1, 4, 4, 1, "nan"), "threshold"),
    ],
)
def test_the_example_refuses_what_it_cannot_do(
    program: Path, tmp_path: Path, arguments: tuple[object, ...], words: str
) -> None:
    (tmp_path / "short").write_bytes(bytes(20))
    done = subprocess.run(
        [program, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 2)
    assert words in done.stderr


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """Header and library in another place, whose name has a space: nothing may depend on where they were built."""
    place = tmp_path / "a place"
    for folder in ("include", "lib"):
        shutil.copytree(Path(memcore.get_include()).parent / folder, place / folder)
    return place


def test_pkg_config(tmp_path: Path) -> None:
    tool, cc = need("pkg-config", "pkg-config"), need("cc", "gcc")
    place = tmp_path / "elsewhere"
    shutil.copytree(Path(memcore.get_include()), place / "include")
    shutil.copytree(LIBRARY.parent, place / "lib")
    path = {"PKG_CONFIG_PATH": str(place / "lib" / "pkgconfig")}
    assert run(tool, "--modversion", "memcore", **path).strip() == memcore.__version__
    flags = run(tool, "--cflags", "--libs", "memcore", **path).split()
    assert any(str(place) in flag for flag in flags)
    run(cc, *STRICT, EXAMPLE, *flags, "-o", tmp_path / "embed")
    assert run(tmp_path / "embed") == expected(images_of_the_example(), 0.15)


CMAKE = """
cmake_minimum_required(VERSION 3.15)
project(embed C)
find_package(memcore {version} CONFIG REQUIRED)
add_executable(embed "{example}")
set_property(TARGET embed PROPERTY C_STANDARD 99)
target_link_libraries(embed PRIVATE memcore::memcore)
message(STATUS "found memcore ${{memcore_VERSION}}")
"""


def test_cmake(tmp_path: Path, moved: Path) -> None:
    tool = need("cmake", "cmake")
    need("cc", "gcc")
    version = ".".join(memcore.__version__.split(".")[:2])
    (tmp_path / "CMakeLists.txt").write_text(CMAKE.format(version=version, example=EXAMPLE))
    said = run(tool, "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={moved}")
    assert f"found memcore {memcore.__version__}" in said
    run(tool, "--build", tmp_path / "build")
    assert run(tmp_path / "build" / "embed") == expected(images_of_the_example(), 0.15)


@pytest.mark.parametrize("version", ["99.0", "1.0"])
def test_cmake_refuses_another_version(tmp_path: Path, moved: Path, version: str) -> None:
    tool = need("cmake", "cmake")
    need("cc", "gcc")
    (tmp_path / "CMakeLists.txt").write_text(CMAKE.format(version=version, example=EXAMPLE))
    done = subprocess.run(
        [tool, "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={moved}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert memcore.__version__ in done.stderr


@LINUX
def test_only_the_c_abi_is_exported() -> None:
    nm, readelf = need("nm", "binutils"), need("readelf", "binutils")
    header = (Path(memcore.get_include()) / "memcore.h").read_text()
    declared = set(re.findall(r"\b(memcore_\w+)\(", re.sub(r"/\*.*?\*/", "", header, flags=re.S)))
    symbols = re.findall(r"^[0-9a-f]+ (\S) (\S+)$", run(nm, "-D", "--defined-only", LIBRARY), re.M)
    number = re.search(r"MEMCORE_ABI_VERSION (\d+)", header)[1]  # type: ignore[index]
    abi = f"MEMCORE_{number}"
    assert {name for kind, name in symbols if kind != "A"} == {f"{name}@@{abi}" for name in declared}
    assert {kind for kind, name in symbols if kind != "A"} == {"T"}
    dynamic = run(readelf, "-d", LIBRARY)
    assert f"[libmemcore.so.{number}]" in dynamic
    assert "python" not in dynamic
    assert LIBRARY.read_bytes() == LIBRARY.with_name(f"libmemcore.so.{number}").read_bytes()


@LINUX
def test_the_library_may_be_closed_while_its_threads_sleep(tmp_path: Path) -> None:
    """dlclose would take the code from under the pool's threads, if the library let it."""
    source = tmp_path / "close.c"
    source.write_text(
        """
#include <dlfcn.h>
#include <memcore.h>
#include <stdio.h>
#include <unistd.h>
typedef memcore_status (*init_t)(memcore_images *, const uint8_t *, size_t, size_t, size_t, size_t, int32_t);
typedef memcore_status (*ssd_t)(const memcore_images *, const memcore_images *, size_t, size_t, uint64_t *, size_t,
                                int32_t);
static uint8_t pixels[64 * 256];
static uint64_t ssd[64 * 64];
int main(int argc, char **argv) {
    memcore_images images;
    int repeat;
    for (repeat = 0; repeat < 3; ++repeat) {
        void *library = dlopen(argv[argc - 1], RTLD_NOW);
        if (((init_t)dlsym(library, "memcore_images_init"))(&images, pixels, 64, 16, 16, 1, 0)) return 1;
        if (((ssd_t)dlsym(library, "memcore_tiled_l2_ssd"))(&images, 0, 4, 4, ssd, 64 * 64, 4)) return 1;
        dlclose(library);
        usleep(20000);
    }
    puts("alive");
    return 0;
}
"""
    )
    run(need("cc", "gcc"), "-Wall", "-I", memcore.get_include(), source, "-ldl", "-o", tmp_path / "close")
    assert run(tmp_path / "close", LIBRARY) == "alive\n"


def test_core_and_library_live_in_one_process() -> None:
    """Each has its own threads and its own choice of instruction set."""
    library = ctypes.CDLL(str(LIBRARY))
    with memcore.isa.using("scalar"):
        name = ctypes.c_char_p()
        assert library.memcore_isa_active(ctypes.byref(name)) == 0
        wanted = os.environ.get("MEMCORE_ISA", memcore.isa.available()[-1])
        assert name.value == wanted.encode()


def test_what_was_not_built_is_an_error_that_says_how(tmp_path: Path) -> None:
    with pytest.raises(errors.LibraryNotBuiltError, match="build_ext --inplace"):
        _existing(tmp_path / "libmemcore.so")


def test_info_shows_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    from memcore.cli import main

    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert str(LIBRARY) in said
    assert f"{memcore.get_include()}/memcore.h" in said


def test_one_version_everywhere(tmp_path: Path) -> None:
    from memcore._version import __version__ as version

    header = (ROOT / "csrc" / "include" / "memcore.h").read_text()
    assert memcore.__version__ == version
    assert f'#define MEMCORE_VERSION "{version}"' in header
    abi = re.search(r"#define MEMCORE_ABI_VERSION (\d+)", header)[1]  # type: ignore[index]
    assert f"\nABI = {abi} " in (ROOT / "setup.py").read_text()
    assert f"MEMCORE_{abi} {{" in (ROOT / "csrc" / "package" / "memcore.map").read_text()
    assert (Path(memcore.get_include()) / "memcore.h").read_text() == header
