"""What was changed in a pipeline after it was made, and is neither a weight nor in a configuration.

FreeU, scales of adapters, padding modes, hooks, replaced methods and tables of a scheduler change images. Each component
is compared with one that is made from the same configuration, on torch's meta device, where weights take no memory. A
pipeline in which nothing was changed has no changes, so that its fingerprint is that of memcore 0.1.0.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from diffusers import DiffusionPipeline

from memcore.errors import ArgumentValueError
from memcore.sampling.diffusers.content import (
    NO_VALUES,
    Contents,
    NoContentError,
    library_of,
    patched_methods,
)

#: Attributes of a module that torch, diffusers or transformers keep for themselves, or that the digest of the weights and
#: of the configuration covers.
_KEPT = {"training", "config", "generation_config", "name_or_path", "gradient_checkpointing", "peft_config"}
_KEPT |= {
    "hf_device_map",
    "warnings_issued",
    "use_slicing",
    "use_tiling",
    "is_parallelizable",
    "model_parallel",
}
_KEPT |= {"is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized", "quantization_method", "hf_quantizer"}
#: Private attributes that change images: adapters in use.
_PRIVATE = {"_active_adapter", "_disable_adapters"}
#: What a run itself changes in a scheduler, where no trial run shows it.
_RUN_STATE = {"timesteps", "sigmas", "num_inference_steps", "_step_index", "_begin_index", "_internal_dict"}
_RUN_STATE |= {"is_scale_input_called", "model_outputs", "timestep_list", "lower_order_nums", "last_sample"}
_RUN_STATE |= {"ets", "cur_model_output", "counter", "cur_sample", "this_order", "sample", "_timesteps"}
#: Without a component to compare with: attributes that are set by what changes images, and their usual values.
_USUAL: dict[str, tuple[Any, ...]] = {
    "padding_mode": ("zeros",),
    **dict.fromkeys(("s1", "s2", "b1", "b2"), (None,)),
    **dict.fromkeys(("scaling", "_active_adapter", "_disable_adapters"), ()),
}
#: Names of a change that a description spells out.
_SHOWN = 3


def find_changes(pipe: Any, steps: int) -> dict[str, str]:
    """Return, by component, a digest of what was changed in it and the first names; nothing where nothing was.

    Raises ArgumentValueError for a change whose content cannot be digested, since no run with it could be resumed.
    """
    known = {
        id(module): f"{name}.{path}"
        for name, component in pipe.components.items()
        if isinstance(component, torch.nn.Module)
        for path, module in component.named_modules()
    }
    known |= {
        id(c): name for name, c in pipe.components.items() if id(c) not in known and hasattr(c, "__dict__")
    }
    known[id(pipe)] = "pipe"
    find = _Finder(Contents(known))
    for name, component in pipe.components.items():
        if isinstance(component, torch.nn.Module):
            find.in_module(name, getattr(component, "_orig_mod", component))
        elif hasattr(component, "set_timesteps"):
            find.in_scheduler(name, component, steps)
        elif hasattr(component, "__dict__"):
            find.in_object(name, component)
    find.in_pipeline(pipe)
    return find.described()


class _Finder:
    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._found: dict[str, dict[str, str]] = {}

    def described(self) -> dict[str, str]:
        """Return a digest and the first names of each component's changes."""
        described = {}
        for name, changes in sorted(self._found.items()):
            digest = hashlib.sha256(repr(sorted(changes.items())).encode()).hexdigest()[:16]
            shown = ", ".join(sorted(changes)[:_SHOWN])
            more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
            described[name] = f"{digest} ({shown}{more})"
        return described

    def in_module(self, component: str, whole: torch.nn.Module) -> None:
        """Compare each module of a model with that of a model made from the same configuration."""
        made = make_reference(whole)
        references = dict(made.named_modules()) if made is not None else None
        for path, module in whole.named_modules():
            where = f"{path}." if path else ""
            hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
            for position, hook in enumerate(hook for hook in hooks if not _is_of_transformers(hook)):
                self._add(component, f"{where}hook{position}", hook, "a hook")
            self._methods(component, where, module, "_hf_hook" in vars(module))
            registry: Any = vars(module).get("_diffusers_hook")
            for name, hook in getattr(registry, "hooks", {}).items():
                if "offload" not in name:
                    self._add(component, f"{where}{name}", hook, "a hook of diffusers")
            reference = references.get(path) if references is not None else None
            for name, value in _attributes(module).items():
                where_it_is = f"{where}{name}"
                if reference is not None and type(reference) is type(module):
                    self._compare(component, where_it_is, value, vars(reference).get(name))
                elif references is not None or (name in _USUAL and value not in _USUAL[name]):
                    self._add(component, where_it_is, value, "an attribute")

    def in_scheduler(self, component: str, scheduler: Any, steps: int) -> None:
        """Compare a scheduler's tables and settings with those of its configuration; what a run changes is left out."""
        self._methods(component, "", scheduler)
        fresh = _made_again(scheduler)
        if fresh is None:
            return
        state = _run_state(fresh, steps)
        for name, value in vars(fresh).items():
            if name not in state:
                self._compare(component, name, vars(scheduler).get(name), value)

    def in_object(self, component: str, value: Any) -> None:
        """Look for replaced methods, and for a tokenizer's sides, which are not in its vocabulary."""
        self._methods(component, "", value)
        loaded: Any = getattr(value, "init_kwargs", None)
        for side in ("padding_side", "truncation_side") if isinstance(loaded, Mapping) else ():
            usual = loaded.get(side, getattr(type(value), side, None))
            self._compare(component, side, getattr(value, side, usual), usual)

    def in_pipeline(self, pipe: Any) -> None:
        """Compare what a pipeline makes for itself, for example its image processor."""
        self._methods("pipeline", "", pipe)
        parameters = inspect.signature(type(pipe).__init__).parameters
        # copies, since some constructors correct the configuration of their components
        components = {name: copy.copy(component) for name, component in pipe.components.items()}
        given = {k: v for k, v in {**pipe.config, **components}.items() if k in parameters}
        try:
            with _as_before():
                fresh = type(pipe)(**given)
        except Exception:  # no pipeline to compare with: a class with a constructor of its own
            return
        for name, value in vars(fresh).items():
            held = vars(pipe).get(name)
            if name.startswith("_") or name in pipe.components or isinstance(value, DiffusionPipeline):
                continue
            self._compare("pipeline", name, held, value)

    def _methods(self, component: str, where: str, owner: Any, offloaded: bool = False) -> None:
        """Add methods that were replaced on an object or in its class."""
        for name, value in vars(owner).items():
            if name == "forward" and (offloaded or "_diffusers_hook" in vars(owner)):
                continue
            if callable(value) and not isinstance(value, torch.nn.Module) and _is_method(type(owner), name):
                self._add(component, f"{where}{name}", value, "a replaced method")
        for name, value in patched_methods(type(owner)).items():
            self._add(component, name, value, "a replaced method")

    def _compare(self, component: str, name: str, value: Any, usual: Any) -> None:
        if value is usual:
            return
        try:
            expected = self._contents.text(usual)
            same = NO_VALUES in expected or self._contents.text(value) == expected
        except NoContentError:
            same = type(value) is type(usual)
        if not same:
            self._add(component, name, value, "an attribute")

    def _add(self, component: str, name: str, value: Any, what: str) -> None:
        try:
            self._found.setdefault(component, {})[name] = self._contents.text(value)
        except NoContentError as error:
            raise ArgumentValueError(
                f"pipe has {what} at {component}.{name} that may change images and cannot be put into the fingerprint: "
                f"{error}. Remove it, or wrap the pipeline in a CallableSampler with a fingerprint of its own"
            ) from None


def _is_of_transformers(hook: Any) -> bool:
    """Tell whether a hook is one that transformers adds at the first call, to collect hidden states."""
    code = getattr(hook, "__code__", None)
    return code is not None and library_of(code.co_filename) == "transformers"


def _is_method(kind: type, name: str) -> bool:
    return callable(getattr(kind, name, None)) and not isinstance(
        inspect.getattr_static(kind, name), property
    )


def _attributes(module: torch.nn.Module) -> dict[str, Any]:
    """Return the attributes of a module that may change images."""
    if isinstance(module, torch.nn.modules.dropout._DropoutNd):  # without effect in evaluation mode
        return {}
    return {
        name: value
        for name, value in vars(module).items()
        if (not name.startswith("_") or name in _PRIVATE)
        and name not in _KEPT
        and not (callable(value) and _is_method(type(module), name))
    }


def make_reference(module: torch.nn.Module) -> torch.nn.Module | None:
    """Return a model of the same class and configuration without weights; None if its class makes none."""
    config: Any = getattr(module, "config", None)
    make: Callable[[], Any]
    if hasattr(type(module), "from_config") and isinstance(config, Mapping):
        make = lambda: type(module).from_config(config)  # type: ignore[attr-defined]  # noqa: E731
    elif config is not None:
        make = lambda: type(module)(copy.deepcopy(config))  # noqa: E731
    else:
        return None
    try:
        with _as_before(), torch.device("meta"):
            made = make()
    except Exception:  # whatever a constructor does that needs values
        return None
    return made if isinstance(made, torch.nn.Module) else None


def _made_again(scheduler: Any) -> Any:
    try:
        return type(scheduler).from_config(scheduler.config)
    except Exception:  # a scheduler with a constructor of its own
        return None


def _run_state(fresh: Any, steps: int) -> set[str]:
    """Return the attributes that a run changes: found by a run of a scheduler on two numbers."""
    trial = copy.deepcopy(fresh)
    contents = Contents()
    before = {name: _text_or_kind(contents, value) for name, value in vars(trial).items()}
    for number in {steps, 10}:  # some schedulers cannot make few steps
        with contextlib.suppress(Exception), _as_before():
            trial.set_timesteps(number)
            sample = torch.zeros(1, 1, 1, 2)
            for timestep in trial.timesteps[:3]:
                if hasattr(trial, "scale_model_input"):
                    trial.scale_model_input(sample, timestep)
                sample = trial.step(torch.zeros_like(sample), timestep, sample).prev_sample
    after = {name: _text_or_kind(contents, value) for name, value in vars(trial).items()}
    return _RUN_STATE | {name for name in before if before[name] != after.get(name)}


def _text_or_kind(contents: Contents, value: Any) -> str:
    try:
        return contents.text(value)
    except NoContentError:
        return type(value).__name__


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """Leave torch's random numbers as they were, and say nothing: whoever made the pipeline was warned then."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
