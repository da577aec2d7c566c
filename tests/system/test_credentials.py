"""Secrets: where they may come in, and that they are written and shown nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.errors import ConfigError
from memcore.system import credentials
from memcore.types import Images, Request

SECRET = "s3cr3t-Value/41"

#: Thirty spellings and nestings of a secret in clear.
SPELLINGS: list[dict[str, Any]] = [
    *(
        {name: SECRET}
        for name in (
            "token", "TOKEN", "accessToken", "api_key", "api-key", "apikey", "API_KEY", "access_key", "accessKey",
            "private_key", "key", "Key", "passphrase", "password", "passwd", "pwd", "auth", "authorization", "bearer",
            "client_secret", "credential", "cookie", "sas", "x-api-key", "session_id", "signature",
        )
    ),
    {"headers": {"Authorization": f"Bearer {SECRET}"}},
    {"headers": [{"name": "x", "token": SECRET}]},
    {"a": {"b": {"c": [{"pwd": SECRET}]}}},
    {"key": {"value": SECRET}},
]  # fmt: skip


class HostedSampler:
    """Says everything that it was made with, wherever a sampler can say something."""

    image_shape = (8, 8, 3)
    public_options = ("endpoint", "model")

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.fingerprint = f"hosted {options.get('model')}"

    def describe(self) -> dict[str, str]:
        return {"made with": repr(self.options)}

    def sample(self, requests: list[Request]) -> Images:
        if any(request.prompt.startswith("bad") for request in requests):
            raise RuntimeError(f"refused: {self.options!r}")
        n = len(requests)
        pixels = np.random.default_rng([request.seed for request in requests]).integers(0, 256, (n, 8, 8, 3))
        return Images(pixels.astype(np.uint8), np.zeros(n, np.bool_))


def make_with_secret_in_fingerprint(**options: Any) -> HostedSampler:
    """Make a sampler whose fingerprint has an option that nothing declares public."""
    sampler = HostedSampler(**options)
    sampler.fingerprint = f"hosted {options['weights']}"
    return sampler


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_known", set())
    monkeypatch.setattr(credentials, "_known_words", set())


def audit(run: Path, options: object, *flags: str, sampler: str = "HostedSampler", **env: str) -> Any:
    """Run ``memcore audit`` with a sampler of this module."""
    prompts = run.parent / "prompts.txt"
    prompts.write_text("a dog\nbad luck\n")
    text = options if isinstance(options, str) else json.dumps(options)
    command = [
        *(sys.executable, "-m", "memcore", "audit", str(run), "--prompts", str(prompts), "--quiet"),
        *(
            "--sampler",
            f"{__name__}:{sampler}",
            "--sampler-options",
            text,
            "--generations",
            "10",
            "--workers",
            "1",
        ),
    ]
    environment = {**os.environ, **env}
    return subprocess.run([*command, *flags], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("options", SPELLINGS, ids=json.dumps)
def test_a_secret_in_clear_is_refused_without_showing_it(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="in clear") as error:
        credentials.parse_options(json.dumps(options))
    assert SECRET not in str(error.value)
    if list(options) == ["key"]:  # the name that leads there counts, and not the last one alone
        assert "key" in str(error.value)


@pytest.mark.parametrize("text", ['{"token": "s3cr3t', '["s3cr3t"]', '"s3cr3t"', "s3cr3t", "[" * 100_000])
def test_broken_options_are_refused_without_showing_them(text: str) -> None:
    with pytest.raises(ConfigError, match="sampler_options must be a JSON object") as error:
        credentials.parse_options(text)
    assert "s3cr3t" not in str(error.value)


def test_deep_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than 20 levels"):
        credentials.parse_options(
            '{"a": ' + "[" * 50 + "]" * 50 + ', "b": ' + '{"c": ' * 50 + "1" + "}" * 50 + "}"
        )


def test_references_are_resolved_in_every_nesting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTED", SECRET)
    file = tmp_path / "token"
    file.write_text("from-file\n")
    file.chmod(0o600)
    options = {"headers": {"Authorization": "env:HOSTED"}, "keys": ["x", f"file:{file}"], "n": 3}
    resolved = credentials.resolve(options)
    assert resolved == {"headers": {"Authorization": SECRET}, "keys": ["x", "from-file"], "n": 3}
    assert credentials.redact(f"{SECRET} and from-file") == "*** and ***"
    assert options["headers"] == {"Authorization": "env:HOSTED"}


def test_an_ordinary_word_is_hidden_as_a_word_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTED", "print")
    credentials.resolve({"style": "line"})
    assert credentials.redact("a line of the pipeline: line-art") == "a *** of the pipeline: ***-art"
    credentials.resolve({"token": "env:HOSTED"})
    assert credentials.redact("its fingerprint") == "its finger***"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"which others can read .mode {mode:o}.: chmod 600"):
        credentials.resolve({"token": f"file:{file}"})


def test_what_is_no_secret_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, content in (("empty", b"\n"), ("large", b"x" * 70_000), ("latin", b"\xff\xfe")):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    expected = {"pipe": "not a plain file", "empty": "must hold", "large": "must hold", "latin": "not UTF-8"}
    for name, said in {**expected, "missing": "No such file"}.items():
        with pytest.raises(ConfigError, match=said):
            credentials.resolve({"token": f"file:{tmp_path / name}"})


@pytest.mark.parametrize(
    ("url", "bare", "shown"),
    [
        ("https://me:pw@host:80/v1?key=1#x", "https://host:80/v1", "https://***@host:80/v1?***"),
        ("http://tok@host", "http://host", "http://***@host"),
        ("https://host/a?b=c", "https://host/a", "https://host/a?***"),
        ("s3://bucket/a b", "s3://bucket/a b", "s3://bucket/a b"),
        ("https://a@b@host/", "https://host/", "https://***@host/"),
        ("https://me:p'w@host/v1?key=1", "https://host/v1", "https://***@host/v1?***"),
        ("https://host/v1?a='x'&key=1", "https://host/v1", "https://host/v1?***"),
        ("https://me:p/w@host/v1", "https://host/v1", "https://***@host/v1"),
        ("https://me:p?w@host", "https://host", "https://***@host"),
        ("https://me:p#w@host", "https://host", "https://***@host"),
        ("https://host:80/a@b?c=d@e", "https://host:80/a@b", "https://host:80/a@b?***"),
        ("https://[::1]:80/a@b", "https://[::1]:80/a@b", "https://[::1]:80/a@b"),
        ("https://me:p w@host/v1?a=b", "https://host/v1", "https://***@host/v1?***"),
        ("https://me:p/w x@host", "https://host", "https://***@host"),
        ("me:pw@host/v1", "host/v1", "***@host/v1"),
        ("//me:pw@host/v1", "//host/v1", "//***@host/v1"),
        ("me:p:w@[::1]:80", "[::1]:80", "***@[::1]:80"),
        ("https://host/v1#token=abc", "https://host/v1", "https://host/v1#***"),
        ("https://host/v1#part", "https://host/v1", "https://host/v1#part"),
        ("painter:2@sha256:ab", "painter:2@sha256:ab", "painter:2@sha256:ab"),
        ("git@host:a/b", "git@host:a/b", "git@host:a/b"),
        ("a: see b@c", "a: see b@c", "a: see b@c"),
        ("12:30 a@b", "12:30 a@b", "12:30 a@b"),
    ],
)
def test_urls_lose_user_password_and_query(url: str, bare: str, shown: str) -> None:
    assert credentials.public_options({"e": [{"u": url}]}, ["e"]) == {"e": [{"u": bare}]}
    assert credentials.redact(f"at {url}") == f"at {shown}"


@pytest.mark.parametrize(
    "said",
    [
        r"https:\/\/me:pw@host\/v1?sig=pw",
        r"{\"url\": \"https:\/\/host\/v1\u003fsig\u003dpw\"}",
        r"https:\u002F\u002Fme:pw\u0040host",
        r"the token s3\/cr3t-p\u0026w is not known",
    ],
)
def test_what_a_server_escaped_is_hidden_too(said: str) -> None:
    os.environ["MEMCORE_TEST_ESCAPED"] = "s3/cr3t-p&w"
    credentials.resolve({"token": "env:MEMCORE_TEST_ESCAPED"})
    shown = credentials.redact(said)
    assert "pw" not in shown
    assert "cr3t" not in shown
    assert "***" in shown
    assert credentials.redact(r"C:\users\new") == r"C:\users\new"


def test_a_secret_that_looks_escaped_is_hidden_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCORE_TEST_ODD", r"q7\/z9\u0041x")
    credentials.resolve({"token": "env:MEMCORE_TEST_ODD"})
    assert credentials.redact(r"refused q7\/z9\u0041x") == "refused ***"


@pytest.mark.parametrize("password", ['p"w', "p<w", "p>w"])
def test_what_is_recorded_of_a_url_has_nothing_of_its_password(password: str) -> None:
    url = f"https://me:{password}@host/v1?key=1"
    assert credentials.public_options({"e": url}, ["e"]) == {"e": "https://host/v1"}


def test_all_of_a_recorded_value_that_begins_with_a_url_is_one() -> None:
    for url in ("https://tok en@host/v1", "https://me:12 34@host/v1", " https://me:p\nw@host/v1"):
        kept = credentials.public_options({"e": url}, ["e"])["e"]
        assert kept.strip() == "https://host/v1"


@pytest.mark.parametrize("name", ["https://me:pw@host/v1", "https://host?sig=1", "me:pw@host"])
def test_a_name_that_holds_a_url_is_refused(name: str) -> None:
    for options in ({name: 1}, {"endpoints": {name: 1}}, {"endpoints": [{name: 1}]}):
        with pytest.raises(ConfigError, match="names are recorded") as error:
            credentials.parse_options(json.dumps(options))
        assert "pw" not in str(error.value)
        with pytest.raises(ConfigError, match="names are recorded"):
            credentials.public_options(options, list(options))


@pytest.mark.parametrize(
    "piece", ["a", "a.", "a:", "a:b", ",a:", ",a:b@", "http://a:", "http://a:b ", "'a://b'", "://", "bearer "]
)
def test_a_long_text_takes_no_longer_than_its_length(piece: str) -> None:
    """A sampler's error may hold a whole answer of its server."""
    text = (piece * 60_000)[:60_000]
    start = time.process_time()
    credentials.redact(text)
    credentials.public_options({"e": text, "f": f"at {text}"}, ["e", "f"])
    assert time.process_time() - start < 2


@pytest.mark.parametrize("before", [".", "1", "-", "'1", "failed..."])
def test_a_url_begins_wherever_it_is_written(before: str) -> None:
    said = f"{before}https://me:pw@host/v1?key=1"
    assert credentials.redact(said) == f"{before}https://***@host/v1?***"


def test_a_password_without_a_scheme_may_hold_an_at_sign() -> None:
    assert credentials.redact("at me:p@ss@word@host/v1") == "at ***@host/v1"
    assert credentials.public_options({"e": "me:p@ss@host/v1"}, ["e"]) == {"e": "host/v1"}
    assert credentials.redact("to a:b@c,d@e") == "to ***@c,d@e", "the second is another"


def test_a_port_is_no_password() -> None:
    said = "cannot reach http://host:80, ask a@b; http://host: no answer, ask a@b; http://host:80/v1 of a@b"
    assert credentials.redact(said) == said


def test_a_quoted_url_ends_at_its_quote() -> None:
    assert credentials.redact("at 'https://me:pw@host?a=b', again") == "at 'https://***@host?***', again"
    assert credentials.redact(repr("https://me:p'w@host?a=b")) == '"https://***@host?***"'


def test_a_public_option_is_no_reference() -> None:
    with pytest.raises(ConfigError, match="'endpoint' public, so that its value is recorded"):
        credentials.public_options({"endpoint": "env:HOSTED"}, ["endpoint"])


def test_a_run_holds_public_options_and_nothing_of_others(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = {
        "endpoint": "https://me:pa55word@host/v1?sig=zig9zag",
        "model": "painter-2",
        "token": "env:HOSTED",
        "team": "hush-hush-team",
        "headers": {"X-Auth": "env:HOSTED"},
    }
    done = audit(run, options, HOSTED=SECRET)
    assert done.returncode == 5, done.stderr  # one prompt fails, and says all options
    hidden = (SECRET, "hush-hush", "pa55word", "zig9zag")
    from memcore.runs.folder import RunFolder

    said = done.stdout + done.stderr + json.dumps(list(RunFolder.open(run).quarantine()))
    assert "***" in said
    for value in hidden:
        assert value not in said
        for path in run.rglob("*"):
            assert not path.is_file() or value.encode() not in path.read_bytes(), (path, value)
    meta = (run / "run.toml").read_text()
    assert "https://host/v1" in meta
    assert "painter-2" in meta
    assert '"option team" = "not recorded"' in meta

    # another secret resumes the run, another public option does not
    again = audit(run, {**options, "team": "other-team"}, HOSTED="another-secret")
    assert again.returncode == 5, again.stderr
    other = audit(run, {**options, "model": "painter-3"}, HOSTED=SECRET)
    assert other.returncode == 2
    assert 'option model: "painter-2" -> "painter-3"' in other.stderr


def test_a_fingerprint_with_an_option_that_is_not_public_is_refused(tmp_path: Path) -> None:
    """Struck out, two models would have one fingerprint; recorded, it might be a secret."""
    done = audit(tmp_path / "run", {"weights": "painter-2"}, sampler="make_with_secret_in_fingerprint")
    assert done.returncode != 0
    assert "does not declare public" in done.stderr
    assert "painter-2" not in done.stderr


def test_options_are_not_taken_from_a_run_folder(tmp_path: Path) -> None:
    """A stranger's folder could name a variable of the environment and the endpoint that is to receive it."""
    run = tmp_path / "run"
    assert audit(run, {"model": "m"}).returncode == 5
    meta = run / "run.toml"
    meta.write_text(meta.read_text().replace("[config]", '[config]\nsampler_options = \'{"x": "env:HOME"}\''))
    prompts = str(tmp_path / "prompts.txt")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "memcore",
            "audit",
            str(run),
            "--sampler",
            f"{__name__}:HostedSampler",
            "--prompts",
            prompts,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert os.environ["HOME"] not in "".join(p.read_text() for p in run.glob("*.toml"))


def test_a_batch_script_gets_no_secret_in_clear(tmp_path: Path) -> None:
    done = audit(tmp_path / "run", {"team": "hush-hush"}, "--launcher", "slurm", "--tasks", "2")
    assert done.returncode == 2
    assert "'team' would be written into the batch script" in done.stderr
    assert "hush-hush" not in done.stderr
    credentials.check_written({"model": "m", "token": "env:T", "n": 3}, ["model"])
