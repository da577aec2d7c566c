"""Options of samplers, and the tokens and passwords among them, which are never written or shown."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from memcore.errors import ConfigError
from memcore.system.parsing import parse_json

#: How a value says where the secret is: in an environment variable, or in a file that only its owner can read.
FROM_ENVIRONMENT, FROM_FILE = "env:", "file:"
#: Levels of lists and objects that options may have.
MAX_DEPTH = 20
_MAX_SECRET_BYTES = 1 << 16
_SHORTEST_HIDDEN = 4
_HIDDEN = "***"

_WORDS = "token|secret|passw|passphrase|credential|authorization|bearer|cookie|signature|private|session"
_NAMES = re.compile(
    rf"{_WORDS}|(^|[^a-z])(key|pwd|pass|auth|sas|pat)([^a-z]|$)|api_?key|access_?key", re.IGNORECASE
)
#: These find where something begins. Where it ends is looked for once for all that begin before: a pattern that held the
#: scheme too, or all of a password, would be tried at each letter up to the end of the text, which takes hours of 1 MB.
_SCHEME_END = re.compile(r"(?<=[a-z0-9+.-])://", re.IGNORECASE)
#: What ends a URL within a text. It may hold a single quote, unless one stands before it.
_TO_URLS_END, _TO_QUOTED_END = re.compile(r"[^\s\"<>]*"), re.compile(r"[^\s'\"<>]*")
#: A URL in a value that is recorded: all of a value that begins with one, else to the next blank, whatever it holds.
_RECORDED_WHOLE = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_RECORDED_URL = re.compile(r"(?<=[a-z0-9+.-])://\S+", re.IGNORECASE)
#: A password with a blank, which ends a URL elsewhere: after "user:" comes no port, and later an "@".
_USER = re.compile(
    r"(?<=[a-z0-9+.-])://[^\s/?#@:]*:(?!\d*(?:[\s/?#,;.)\]'\"]|$))",
    re.IGNORECASE,
)
_TO_BLANK_OR_AT, _BLANK_TO_AT = re.compile(r"[^\s@]*"), re.compile(r"\s[^@\n]{0,200}@")
#: User and password before a host without a scheme. "image:tag@sha256:" names an image by its digest.
_BARE_USER = re.compile(r"(?<![^\s'\"=,;(\[{<>/])[^\s/@:'\"=,;(\[{<>]+:")
_TO_SLASH_OR_AT = re.compile(r"[^\s/@]*")
#: The end of a password after its first "@", if it has more of them, and the host's first letter.
_BARE_END = re.compile(r"@(?!sha\d+:)(?:[^\s/@'\"=,;()\[\]{}<>]*@(?!sha\d+:))*(?=[\w\[])")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")
#: What servers escape in JSON, and quote in errors: slashes, and letters such as "&" and "@".
_ESCAPED = re.compile(r"\\(?:/|u00([2-7][0-9a-f]))", re.IGNORECASE)
_HEADER = re.compile(r"(?i:(?<=bearer )|(?<=basic )|(?<=authorization: ))[^\s'\",]+")

#: Values that this process resolved, so that they can be removed from what a sampler says: secrets wherever they are, other
#: options where they are words of their own, since "print" may be an option and is within "fingerprint".
_known: set[str] = set()
_known_words: set[str] = set()


def parse_options(text: str) -> dict[str, Any]:
    """Return the JSON object of ``sampler_options``; ConfigError if it is not one, or holds a secret in clear.

    No error shows a value, since any value may be a secret.

    >>> parse_options('{"endpoint": "http://localhost:8000", "token": "env:HOSTED_TOKEN"}')["token"]
    'env:HOSTED_TOKEN'
    """
    if not text:
        return {}
    try:
        options = parse_json(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"sampler_options must be a JSON object, but {error.msg} at character {error.pos} of {len(text)}"
        ) from None
    except ValueError:  # nested too deep, or a number with more digits than Python converts
        raise ConfigError("sampler_options must be a JSON object of ordinary numbers and depth") from None
    if not isinstance(options, dict):
        raise ConfigError(f"sampler_options must be a JSON object, got a {type(options).__name__}")
    for path, value in _leaves(options):
        if any(map(_NAMES.search, _spelled(path))) and isinstance(value, str) and not is_reference(value):
            name = ".".join(path)
            raise ConfigError(
                f"sampler_options has {name!r} in clear, which other users of this machine can see in the command: put "
                f"it into an environment variable and give '{FROM_ENVIRONMENT}NAME', or into a file of mode 600 and give "
                f"'{FROM_FILE}PATH'"
            )
    _check_names(options)
    return options


def is_reference(value: object) -> bool:
    """Return whether a value names the place of a secret instead of holding one."""
    return isinstance(value, str) and value.startswith((FROM_ENVIRONMENT, FROM_FILE))


def resolve(options: Mapping[str, Any], public: Iterable[str] = ()) -> dict[str, Any]:
    """Return the options with each ``env:NAME`` and ``file:PATH`` replaced by what is there.

    All texts but those of ``public`` options are then hidden by ``redact``. Raises ConfigError if a variable is not set,
    or a file is missing or can be read by others than its owner.
    """
    open_names = set(public)
    resolved = {name: _resolve(name, value) for name, value in options.items()}
    given = dict(_leaves(options))
    for path, value in _leaves(resolved):
        if path[0] not in open_names and isinstance(value, str) and len(value) >= _SHORTEST_HIDDEN:
            (_known if is_reference(given[path]) else _known_words).add(value)
    return resolved


def public_options(options: Mapping[str, Any], public: Iterable[str]) -> dict[str, Any]:
    """Return the options that a sampler declared public, as they are recorded: URLs without user, password and query.

    Raises ConfigError if one of them is a reference: what it stands for would be recorded.

    >>> public_options({"endpoint": "https://me:pw@host/v1?key=1", "retries": 3}, ["endpoint"])
    {'endpoint': 'https://host/v1'}
    """
    chosen = {name: options[name] for name in sorted(set(public) & set(options))}
    _check_names(chosen)
    for path, value in _leaves(chosen):
        if is_reference(value):
            name = ".".join(path)
            raise ConfigError(
                f"sampler_options: the sampler declares {path[0]!r} public, so that its value is recorded in the run's "
                f"folder, but {name!r} is a reference to a secret: give the value itself"
            )
    return {name: _without_secrets(value) for name, value in chosen.items()}


def check_written(options: Mapping[str, Any], public: Iterable[str]) -> None:
    """Raise ConfigError if a command with these options must not be written into a script: one holds a text in clear."""
    for path, value in _leaves({k: v for k, v in options.items() if k not in set(public)}):
        if isinstance(value, str) and value and not is_reference(value):
            raise ConfigError(
                f"sampler_options: {'.'.join(path)!r} would be written into the batch script, and its sampler does not "
                f"declare it public: give '{FROM_ENVIRONMENT}NAME' or '{FROM_FILE}PATH', or give the options in a "
                "--config file"
            )


def holds_hidden(text: str) -> bool:
    """Return whether a text holds a value that this process resolved and that is not public."""
    return any(pattern.search(text) for pattern in _hidden())


def redact(text: str) -> str:
    """Return the text without the secrets that this process knows, and without what looks like one.

    >>> redact("cannot reach https://me:pass@host/v1?sig=1 with Bearer abc")
    'cannot reach https://***@host/v1?*** with Bearer ***'
    """
    plain = _without_known(text)  # a secret may hold what looks escaped, and may be escaped
    text = _without_known(_ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "/", plain))
    text = _without_urls_secrets(_without_blank_passwords(text, f"{_HIDDEN}@"))
    return _HEADER.sub(_HIDDEN, _without_bare_passwords(text, f"{_HIDDEN}@"))


def _without_known(text: str) -> str:
    for pattern in _hidden():
        text = pattern.sub(_HIDDEN, text)
    return text


def _hidden() -> Iterator[re.Pattern[str]]:
    """Yield what finds each value to hide, the longest first: one may be within another."""
    for value in sorted(_known | _known_words, key=len, reverse=True):
        found = re.escape(value)
        yield re.compile(found if value in _known else rf"(?<!\w){found}(?!\w)")


def _without_urls_secrets(text: str) -> str:
    """Return a text with stars in each of its URLs."""
    parts, at = [], 0
    while found := _SCHEME_END.search(text, at):
        start = found.start()
        scheme = start
        while scheme > at and (text[scheme - 1].isalnum() or text[scheme - 1] in "+.-"):
            scheme -= 1
        quoted = scheme > 0 and text[scheme - 1] == "'"
        end = _end_of(_TO_QUOTED_END if quoted else _TO_URLS_END, text, found.end())
        parts += [text[at:start], _hidden_url(text[start:end])]
        at = end
    return "".join([*parts, text[at:]])


def _without_blank_passwords(text: str, instead: str) -> str:
    """Return a text without the users and passwords of URLs that have a blank in the password."""
    parts, at, done = [], 0, 0
    while found := _USER.search(text, at):
        at = _end_of(_TO_BLANK_OR_AT, text, found.end())
        if end := _BLANK_TO_AT.match(text, at):
            parts += [text[done : found.start()], "://", instead]
            at = done = end.end()
    return "".join([*parts, text[done:]])


def _without_bare_passwords(text: str, instead: str) -> str:
    """Return a text without users and passwords before hosts that have no scheme."""
    parts, at, done = [], 0, 0
    while found := _BARE_USER.search(text, at):
        at = _end_of(_TO_SLASH_OR_AT, text, found.end())
        if at > found.end() and (end := _BARE_END.match(text, at)):
            parts += [text[done : found.start()], instead]
            at = done = end.end()
    return "".join([*parts, text[done:]])


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Return where what begins at ``start`` ends: there, if nothing does."""
    found = pattern.match(text, start)
    return found.end() if found else start


def _hidden_url(url: str) -> str:
    """Return a URL with stars for its user and password, for its query, and for a fragment that gives something a value."""
    scheme, user, place = _split_url(url)
    place, hash_mark, fragment = place.partition("#")
    place, mark, _ = place.partition("?")
    if not mark and fragment:
        place += hash_mark + (_HIDDEN if "=" in fragment else fragment)
    return f"{scheme}://{_HIDDEN + '@' if user else ''}{place}" + (mark + _HIDDEN if mark else "")


def _without_secrets(value: Any) -> Any:
    """Return a value with every URL in it cut down to scheme, host and path."""
    if isinstance(value, str):
        value = _without_blank_passwords(value, "")
        whole = _RECORDED_WHOLE.match(value)
        value = _bare_url(value) if whole else _RECORDED_URL.sub(lambda found: _bare_url(found[0]), value)
        return _without_bare_passwords(value, "")
    if isinstance(value, dict):
        return {name: _without_secrets(held) for name, held in value.items()}
    return [_without_secrets(held) for held in value] if isinstance(value, list) else value


def _bare_url(url: str) -> str:
    scheme, _, place = _split_url(url)
    return f"{scheme}://{re.split(r'[?#]', place, maxsplit=1)[0]}"


def _split_url(url: str) -> tuple[str, str, str]:
    """Return a URL's scheme, its user with the password, and the rest, which begins with the host.

    A password may hold what ends the host elsewhere. Where the host's port is no number, that is what it does.

    >>> _split_url("https://me:p/w@host/v1")
    ('https', 'me:p/w', 'host/v1')
    """
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, host = authority.rpartition("@")
    if not at and not _HOST.fullmatch(authority):
        user, _, place = rest.rpartition("@")
        return scheme, user, place
    return scheme, user, host + rest[len(authority) :]


def _resolve(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {inner: _resolve(f"{name}.{inner}", held) for inner, held in value.items()}
    if isinstance(value, list):
        return [_resolve(name, held) for held in value]
    if not isinstance(value, str):
        return value
    if value.startswith(FROM_ENVIRONMENT):
        variable = value.removeprefix(FROM_ENVIRONMENT)
        if not os.environ.get(variable):
            raise ConfigError(f"sampler_options: {name} needs the environment variable {variable!r}")
        return os.environ[variable]
    return _read_secret(name, Path(value.removeprefix(FROM_FILE))) if value.startswith(FROM_FILE) else value


def _read_secret(name: str, path: Path) -> str:
    """Return the content of a file without the line's end; the file must be its owner's alone, as ssh demands of keys."""
    try:
        with open(path.expanduser(), "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise ConfigError(f"sampler_options: {name} names {path}, which is not a plain file")
            if about.st_mode & 0o077:
                raise ConfigError(
                    f"sampler_options: {name} names {path}, which others can read (mode {about.st_mode & 0o777:o}): "
                    f"chmod 600 {path}"
                )
            text = file.read(_MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"sampler_options: {name} names {path}: {error.strerror or error}") from None
    if not text.strip() or len(text) > _MAX_SECRET_BYTES:
        raise ConfigError(
            f"sampler_options: {name} names {path}, which must hold 1 to {_MAX_SECRET_BYTES} bytes"
        )
    try:
        return text.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"sampler_options: {name} names {path}, which is not UTF-8") from None


def _check_names(options: Mapping[str, Any]) -> None:
    """Raise ConfigError if a name, which is recorded, holds a URL that would lose something: two names could become one."""
    for path, _ in _leaves(options):
        if any(_without_secrets(name) != name for name in path):
            raise ConfigError(
                "sampler_options has a name that holds a URL with a user, password or query, and names are recorded: give "
                "it as a value"
            )


def _spelled(path: Iterable[str]) -> list[str]:
    """Return names with their words apart: apiKey and API-KEY as api_key."""
    return [re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name) for name in path]


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value that is neither a list nor an object, with the names that lead to it."""
    if len(path) > MAX_DEPTH:
        raise ConfigError(f"sampler_options has more than {MAX_DEPTH} levels of lists and objects")
    if isinstance(value, Mapping):
        for name, held in value.items():
            yield from _leaves(held, (*path, str(name)))
    elif isinstance(value, list):
        for number, held in enumerate(value):
            yield from _leaves(held, (*path, str(number)))
    else:
        yield path, value
