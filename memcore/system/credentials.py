"""Tokens and passwords, which environment variables hold and which are never written or shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from memcore.errors import ConfigError
from memcore.system.parsing import parse_json

PREFIX = "env:"
_NAMES = re.compile(r"token|secret|passw|api_?key|credential|authorization", re.IGNORECASE)
_IN_TEXT = re.compile(r"(?<=://)[^/\s@]+@|(?i:(?<=bearer )|(?<=authorization: ))[^\s'\",]+")
_HIDDEN = "***"

#: Values that this process resolved, so that they can be removed from what a sampler says.
_known: set[str] = set()


def parse_options(text: str) -> dict[str, Any]:
    """Return the JSON object of ``sampler_options``; ConfigError if it is not one, or holds a secret in clear.

    >>> parse_options('{"endpoint": "http://localhost:8000", "token": "env:HOSTED_TOKEN"}')["token"]
    'env:HOSTED_TOKEN'
    """
    if not text:
        return {}
    try:
        options = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"sampler_options must be a JSON object, got {text!r}: {error}") from None
    if not isinstance(options, dict):
        raise ConfigError(f"sampler_options must be a JSON object, got {text!r}")
    for name, value in options.items():
        if _NAMES.search(name) and isinstance(value, str) and not value.startswith(PREFIX):
            raise ConfigError(
                f"sampler_options has {name!r} in clear, which would be written into the run's folder: put it into an "
                f'environment variable and give "{name}": "{PREFIX}NAME"'
            )
    return options


def resolve(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with each ``env:NAME`` replaced by that variable; ConfigError if it is not set."""
    resolved = dict(options)
    for name, value in options.items():
        if isinstance(value, str) and value.startswith(PREFIX):
            variable = value.removeprefix(PREFIX)
            if not os.environ.get(variable):
                raise ConfigError(f"sampler_options: {name} needs the environment variable {variable!r}")
            resolved[name] = os.environ[variable]
            _known.add(resolved[name])
    return resolved


def redact(text: str) -> str:
    """Return the text without the secrets that this process knows, and without what looks like one.

    >>> redact("cannot reach https://me:pass@host/v1 with Bearer abc")
    'cannot reach https://***host/v1 with Bearer ***'
    """
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, _HIDDEN)
    return _IN_TEXT.sub(_HIDDEN, text)
