"""A sampler by its name: ``module:attribute``, as on the command line, or the short name of one of memcore's own."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from memcore.errors import ConfigError, MemcoreError, SamplerError
from memcore.sampling.protocol import Sampler, asks_once
from memcore.sampling.transient import as_transient
from memcore.system.credentials import redact, resolve
from memcore.system.raised import is_raised_inside, raised_text

#: Samplers of memcore that have a short name.
SHORT_NAMES = {"http": "memcore.sampling.http:HttpSampler"}


def load_sampler(name: str, options: Mapping[str, Any]) -> Sampler:
    """Return the sampler at ``module:attribute``: an object, or a class or function that is called with ``options``.

    ``http`` is short for memcore's own sampler of hosted models. The module is searched where Python searches and then in
    the current folder. This runs code of the user's choice, so the name is only ever taken from the command line, a
    configuration file or a program, never from a run's folder.

    Raises ConfigError, naming what is missing, and SamplerError, naming the line, for what its code raises.
    """
    found = find_named(name)
    if isinstance(found, type) or not hasattr(found, "sample"):
        if not callable(found):
            raise ConfigError(
                f"sampler={name} is neither a sampler nor what makes one: {type(found).__name__}"
            )
        given = resolve(options, _declared_public(name, found))
        with errors_named(f"sampler={name} cannot be made"):
            try:
                found = found(**given)
            except TypeError as error:
                if is_raised_inside(error):
                    raise
                raise ConfigError(
                    f"sampler={name} cannot be made with sampler_options={sorted(options)}: {redact(str(error))}"
                ) from None
    elif options:
        raise ConfigError(f"sampler={name} is made already and takes no sampler_options")
    with errors_named(f"sampler={name} cannot be used"):
        missing = [n for n in ("fingerprint", "image_shape", "sample") if not hasattr(found, n)]
    if missing:
        raise ConfigError(
            f"sampler={name} is no sampler: it has no {missing[0]!r} (see memcore.sampling.Sampler)"
        )
    sampler: Sampler = found
    return sampler


@contextlib.contextmanager
def errors_named(what: str, *, other: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raise SamplerError, with ``what``, the error and its line, for whatever a sampler's own code raises.

    Errors of memcore and ``other`` ones are passed on, and so is one that says that a server does not answer.
    """
    passed: tuple[type[Exception], ...] = (MemcoreError, *other)
    try:
        yield
    except passed:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:  # a script's sys.exit() must not end a worker
        if (transient := as_transient(error)) is not None:
            raise transient from error
        raise SamplerError(f"{what}: {redact(raised_text(error))}") from error


def find_public_options(name: str) -> tuple[str, ...]:
    """Return the options that the sampler at ``module:attribute`` declares public, by its ``public_options``.

    Their values are recorded in the run's folder and enter its digest. Raises ConfigError if there is no such sampler.
    """
    return _declared_public(name, find_named(name))


def is_hosted(name: str, *, certainly: bool = False) -> bool:
    """Tell whether the sampler at ``module:attribute`` is asked for each image once.

    Of samplers of others this is known only once their module is imported, which is done if it must be known ``certainly``.
    Raises ConfigError if there is no such sampler.
    """
    if SHORT_NAMES.get(name, name) in SHORT_NAMES.values():
        return True
    return certainly and asks_once(find_named(name))


def find_named(name: str, what: str = "sampler") -> Any:
    """Import what ``module:attribute`` names; ``what`` is the argument that errors speak of."""
    module_name, separator, attribute = SHORT_NAMES.get(name, name).partition(":")
    if not separator or not module_name or not attribute:
        other = ", or be http" if what == "sampler" else ""
        raise ConfigError(f"{what} must look like package.module:attribute{other}, got {name!r}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that nothing here shadows what is installed
    try:
        with errors_named(f"{what}={name} cannot be imported", other=(ModuleNotFoundError,)):
            found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{what}={name} cannot be imported: {raised_text(error)}") from None
        raise ConfigError(f"{what}={name}: {error} (searched also in {os.getcwd()})") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"{what}={name}: {module_name} has no {attribute!r}")
        found = getattr(found, part)
    return found


def _declared_public(name: str, found: Any) -> tuple[str, ...]:
    public = getattr(found, "public_options", ())
    if isinstance(public, str) or not all(isinstance(option, str) for option in public):
        raise ConfigError(
            f"sampler={name}: public_options must be names of options, got {type(public).__name__}"
        )
    return tuple(public)
