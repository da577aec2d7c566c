"""What the compiler made of the instruction sets' units: no symbol leaks out of them, and the micro-kernels do not spill."""

from __future__ import annotations

import ast
import functools
import platform
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
# (family, name, flags) of the table that setup.py and csrc/tests/run.sh read: what is tested is what is built.
ROWS = re.findall(
    r'^MEMCORE_(\w+)\((\w+), \w+, \w+, "([^"]*)"\)$', (CSRC / "instruction_sets.def").read_text(), re.M
)
FAMILY = {"arm64": "AARCH64"}.get(platform.machine(), platform.machine().upper())
NATIVE = [name for family, name, _ in ROWS if family == FAMILY]
# Another machine's units are read through its cross compiler, where there is one.
CROSS = {name: "aarch64-linux-gnu-" for family, name, _ in ROWS if family == "AARCH64" and family != FAMILY}
UNITS = sorted(
    p
    for p in CSRC.rglob("*.cpp")
    if p.stem in ("scalar", *NATIVE, *CROSS) and "tests" not in p.parts and "capi" not in p.parts
)


def tool(unit: Path, name: str) -> str:
    """The compiler or reader for the unit's machine; skips where there is none."""
    prefix = "" if unit.stem in ("scalar", *NATIVE) else CROSS[unit.stem]
    found = shutil.which(prefix + name)
    if found is None:
        pytest.skip(f"needs {prefix}{name}" + (": apt-get install g++-aarch64-linux-gnu" if prefix else ""))
    return found


pytestmark = pytest.mark.skipif(
    sysconfig.get_platform().startswith(("win", "macosx")), reason="reads ELF objects"
)


def setup_constant(name: str) -> object:
    """Return a literal of setup.py without running it: the tests must use the flags that the build uses."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    for node in tree.body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return ast.literal_eval(node.value)  # type: ignore[attr-defined]
    raise AssertionError(f"setup.py has no {name}")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Compiles a unit as setup.py does, once."""
    folder = tmp_path_factory.mktemp("isa")
    isa_flags = {name: flags.split() for _, name, flags in ROWS}
    floats = setup_constant("FLOATS")
    assert isinstance(floats, list)

    @functools.cache
    def compile_unit(unit: Path) -> Path:
        target = folder / f"{unit.parent.name}_{unit.stem}.o"
        flags = ["-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-Wno-psabi", *floats]
        flags += isa_flags.get(unit.stem, [])
        subprocess.run(
            [tool(unit, "g++"), *flags, f"-I{CSRC}", "-c", str(unit), "-o", str(target)], check=True
        )
        return target

    return compile_unit


def test_the_flags_never_depend_on_the_machine_that_builds() -> None:
    assert "march=native" not in (ROOT / "setup.py").read_text().replace("Never -march=native", "")
    assert "-flto" not in (ROOT / "setup.py").read_text()


@pytest.mark.parametrize("unit", UNITS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_unit_defines_one_table_and_nothing_weak(unit: Path, compiled: Callable[[Path], Path]) -> None:
    """A weak symbol (an inline function, a template of std) compiled here for AVX-512 might be the copy that the linker
    keeps for everyone: an illegal instruction on machines without it."""
    command = [tool(unit, "nm"), "-C", str(compiled(unit))]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    defined = [m.groups() for m in re.finditer(r"^[0-9a-f]+ (\S) (.+)$", lines, re.M)]
    assert [name for kind, name in defined if kind in "WVuw"] == []
    exported = [name for kind, name in defined if kind.isupper()]
    assert len(exported) == 1, exported
    assert unit.stem in exported[0]


def functions(disassembly: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in disassembly.splitlines():
        header = re.match(r"^[0-9a-f]+ <(.+)>:$", line)
        if header:
            current = found.setdefault(header[1], [])
        elif "\t" in line:
            current.append(line.split("\t", 1)[1])
    return found


@pytest.mark.parametrize(
    ("stem", "register", "stack", "instruction", "least"),
    [
        ("avx2", "%ymm", r"\(%r[sb]p", "vpmaddwd", 8),
        ("avx512vnni", "%zmm", r"\(%r[sb]p", "vpdpbusd", 24),
        ("amxint8", "%tmm", r"\(%rsp", "tdpbuud", 4),
        ("neon_dotprod", "\tq", r"\[(sp|x29)", "udot", 16),
    ],
)
def test_micro_kernels_keep_their_sums_in_registers(
    stem: str, register: str, stack: str, instruction: str, least: int, compiled: Callable[[Path], Path]
) -> None:
    """GCC 12 spills arrays of accumulators when it is not held back: 80 instead of 209 GMAC/s."""
    unit = CSRC / "panels" / f"{stem}.cpp"
    command = [tool(unit, "objdump"), "-d", "-C", "--no-show-raw-insn", str(compiled(unit))]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kernels = {
        name: body for name, body in functions(text).items() if "micro_kernel" in name and ".cold" not in name
    }
    assert kernels
    for name, body in kernels.items():
        spills = [line for line in body if register in line and re.search(stack, line)]
        assert spills == [], f"{name}: {spills[:4]}"
    assert max(sum(instruction in line for line in body) for body in kernels.values()) >= least
