"""Any Python value as a text that is equal for equal content, in every process: what a fingerprint is made from.

Tensors, arrays and pictures count by their bytes, functions by their code and by what they refer to. What has no content
that could be compared (an open file, a random generator) is refused with the reason.
"""

from __future__ import annotations

import collections
import dis
import enum
import functools
import hashlib
import importlib.metadata
import io
import logging
import sys
import sysconfig
import types
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

#: Bytes hashed at a time: a copy of a whole text encoder would double the memory.
_CHUNK_BYTES = 2**28
#: Values whose ``repr`` is their content.
_PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    range,
    slice,
    type(Ellipsis),
    PurePath,
    np.generic,
    np.dtype,
    torch.dtype,
    torch.device,
    torch.Size,
)
#: What moves on with each use.
_STREAMS = (io.IOBase, torch.Generator, np.random.Generator, np.random.RandomState, types.GeneratorType)
#: Py_TPFLAGS_HEAPTYPE: an object of another type may hold more than its attributes.
_WRITTEN_IN_PYTHON = 1 << 9
#: In the text of a tensor on the meta device.
NO_VALUES = "without values"
#: Packages whose code is that of their version, wherever they were installed.
_PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "tokenizers",
    "accelerate",
    "peft",
    "numpy",
    "PIL",
    "memcore",
)


class NoContentError(Exception):
    """A value that cannot be compared with that of another process; the text says which and why."""


def hash_tensor(digest: Any, tensor: torch.Tensor) -> None:
    """Add a tensor's bytes to a hash, a part at a time."""
    flat = tensor.detach().resolve_conj().resolve_neg().flatten()
    step = max(1, _CHUNK_BYTES // max(1, flat.element_size()))
    for start in range(0, flat.numel(), step):
        raw: Any = flat[start : start + step].cpu().contiguous().view(torch.uint8).numpy()
        digest.update(raw)


class Contents:
    """Texts of values. ``known`` names the modules of a pipeline by their id: their weights are digested elsewhere."""

    def __init__(self, known: Mapping[int, str] | None = None) -> None:
        self._known = dict(known or {})
        self._open: dict[int, int] = {}

    def text(self, value: Any) -> str:
        """Return the text of a value. Raises NoContentError for one that has none."""
        if isinstance(value, enum.Enum):
            return f"{type(value).__qualname__}.{value.name}"
        if isinstance(value, _PLAIN):
            return f"{type(value).__name__} {value!r}"
        if id(value) in self._known:
            return self._known[id(value)]
        if id(value) in self._open:  # a value that holds itself
            return f"again {self._open[id(value)]}"
        self._open[id(value)] = len(self._open)
        try:
            return self._compound(value)
        except RecursionError:
            raise NoContentError(f"a {type(value).__name__} is nested too deeply to be compared") from None
        finally:
            del self._open[id(value)]

    def _compound(self, value: Any) -> str:
        kind = type(value).__name__
        if isinstance(value, torch.nn.Module):
            return f"module {type(value).__qualname__} {self.text(dict(value.state_dict()))}"
        if isinstance(value, torch.Tensor):
            return _tensor(value)
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, Mapping):
            pairs = sorted((self.text(k), self.text(v)) for k, v in value.items())
            return f"mapping {pairs}"
        if isinstance(value, list | tuple | collections.deque):
            return f"{kind} {[self.text(v) for v in value]}"
        if isinstance(value, set | frozenset):
            return f"set {sorted(self.text(v) for v in value)}"
        if isinstance(value, functools.partial):
            return f"partial {self.text((value.func, value.args, value.keywords))}"
        if isinstance(value, types.MethodType):
            return f"method {self.text((value.__self__, value.__func__))}"
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):
            owner = getattr(value, "__self__", None)
            held = "" if owner is None or isinstance(owner, types.ModuleType) else f" of {self.text(owner)}"
            return f"builtin {getattr(value, '__module__', '')}.{value.__qualname__}{held}"
        if isinstance(value, types.ModuleType | logging.Logger):
            return f"{kind} {getattr(value, '__name__', None) or value.name}"
        if isinstance(value, staticmethod | classmethod):
            return f"{kind} {self.text(value.__func__)}"
        if isinstance(value, property):
            return f"property {self.text((value.fget, value.fset))}"
        if isinstance(value, weakref.ref):
            return "weak reference"
        return self._object(value)

    def _array(self, value: Any) -> str:
        if value.dtype.hasobject:
            return f"array {value.shape} {[self.text(v) for v in value.ravel().tolist()]}"
        mask = hashlib.sha256(np.ma.getmaskarray(value).tobytes()).hexdigest() if np.ma.isMA(value) else ""
        return f"array {value.dtype.str} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()} {mask}"

    def _function(self, function: types.FunctionType) -> str:
        code = function.__code__
        held = [
            function.__defaults__,
            function.__kwdefaults__,
            [_cell(c) for c in function.__closure__ or ()],
        ]
        if (library := library_of(code.co_filename)) is not None:
            return f"function {library} {code.co_qualname} {self.text(held)}"
        used = {name: function.__globals__[name] for name in _globals(code) if name in function.__globals__}
        try:
            return f"function {_code(code)} {self.text([*held, used])}"
        except NoContentError as error:
            raise NoContentError(f"{error}, which the function {function.__qualname__} uses") from None

    def _class(self, kind: type) -> str:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if kind.__module__ == "builtins" or (library := library_of(_file(kind))) is not None:
            return f"class {name} {'' if kind.__module__ == 'builtins' else library}"
        own = {
            k: v
            for k, v in vars(kind).items()
            if k
            not in ("__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__annotations__")
            and not isinstance(v, types.GetSetDescriptorType | types.MemberDescriptorType)
            and not k.startswith("_abc_")
        }
        return f"class {kind.__qualname__} {self.text(own)} {[self.text(base) for base in kind.__bases__]}"

    def _object(self, value: Any) -> str:
        kind = type(value)
        if kind.__module__.partition(".")[0] == "PIL":
            return f"picture {value.mode} {value.size} {hashlib.sha256(value.convert('RGBA').tobytes()).hexdigest()}"
        slots = [s for c in kind.__mro__ for s in _slots(c) if hasattr(value, s)]
        native = any(c is not object and not c.__flags__ & _WRITTEN_IN_PYTHON for c in kind.__mro__)
        if native or isinstance(value, _STREAMS) or not (hasattr(value, "__dict__") or slots):
            raise NoContentError(
                f"a {kind.__module__}.{kind.__qualname__} has no content that can be compared"
            )
        held = dict(vars(value)) if hasattr(value, "__dict__") else {}
        return f"object {self.text(kind)} {self.text(held | {s: getattr(value, s) for s in slots})}"


def _tensor(value: torch.Tensor) -> str:
    about = f"tensor {value.dtype} {tuple(value.shape)}"
    if value.device.type == "meta":
        return f"{about} {NO_VALUES}"
    if value.layout is not torch.strided or value.is_quantized:
        raise NoContentError(f"a tensor of layout {value.layout} is not compared: make it dense first")
    digest = hashlib.sha256()
    hash_tensor(digest, value)
    return f"{about} {digest.hexdigest()}"


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return "empty"


def _globals(code: types.CodeType) -> set[str]:
    """Return the names of the globals that a function and those defined within it read."""
    names = {str(i.argval) for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return names.union(*(_globals(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def _code(code: types.CodeType) -> str:
    constants = [_code(c) if isinstance(c, types.CodeType) else _constant(c) for c in code.co_consts]
    text = repr((code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _constant(value: Any) -> str:
    return str(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _file(kind: type) -> str:
    module = sys.modules.get(kind.__module__)
    # a class made in a script has the module __main__
    return str(getattr(module, "__file__", None) or ("<built in>" if module else ""))


@functools.cache
def library_of(file: str) -> str | None:
    """Return the package and version that a file of code belongs to; None for code that the user wrote.

    The code of a library is that of its version, so that it counts by its name.
    """
    if file.startswith("<frozen") or file == "<built in>":
        return "python"
    for name, folder in _package_folders():
        if file.startswith(folder):
            return name
    if (top := _installed_package(file)) is not None:
        try:
            return f"{top} {importlib.metadata.version(top)}"
        except importlib.metadata.PackageNotFoundError:
            return top
    return "python" if file.startswith(sysconfig.get_path("stdlib") + "/") else None


def _installed_package(file: str) -> str | None:
    """Return the package or module that a file was installed with: here, for the user, by the system or beside a parent.

    An environment that sees another one's packages (``--system-site-packages``) has several folders of them.
    """
    for key in ("purelib", "platlib"):
        folder = sysconfig.get_path(key)
        if file.startswith(folder + "/"):
            return Path(file[len(folder) + 1 :]).parts[0].removesuffix(".py")
    parts = Path(file).parts
    folders = [i for i, part in enumerate(parts[:-1]) if part in ("site-packages", "dist-packages")]
    return parts[folders[-1] + 1].removesuffix(".py") if folders else None


@functools.cache
def _package_folders() -> tuple[tuple[str, str], ...]:
    found = [(name, getattr(sys.modules.get(name), "__file__", None)) for name in _PACKAGES]
    return tuple((name, f"{Path(file).parent}/") for name, file in found if file)


def patched_methods(kind: type) -> dict[str, Callable[..., Any]]:
    """Return the methods of a library's class that are not the library's own: somebody replaced them."""
    found: dict[str, Callable[..., Any]] = {}
    for cls in kind.__mro__:
        if library_of(_file(cls)) is None:
            continue
        for name, value in vars(cls).items():
            function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
            file = getattr(getattr(function, "__code__", None), "co_filename", "<")
            if not file.startswith("<") and library_of(file) is None:
                found[f"{cls.__name__}.{name}"] = function
    return found
