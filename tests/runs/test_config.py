"""The options of a configuration: declared once, with digests that never change."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from memcore.cli import main
from memcore.errors import ConfigError
from memcore.images.resize import FITS, METHODS
from memcore.runs.config import BUDGETS, DTYPES, KEEP, SCREENS, SOURCES, Config
from memcore.runs.config_file import from_mapping
from memcore.runs.options import Option, declared

#: Configurations, their digest, and the sha256 of their names and values, as the version before this module made them.
RECORDED: list[tuple[dict[str, Any], str, str]] = [
    (
        {"model": "m", "steps": 50},
        "505965c01cea9445ed3b97d789c9c7473a773c4b3390028a9b9dd4963eed346b",
        "29c71c2b75f1818b4e70ecdebb86fcdae2c5c8f4be71445821006ae02f88263a",
    ),
    (
        {
            "source": "stored",
            "images": "stored",
            "background": "#a0b1c2",
            "grid": [2, 2],
            "threshold": 0.1,
            "min_clique": 5,
        },
        "0f808f09919e4b8d322c8f63fda5f63294cd853dec73bc0220d20e536cf41e3a",
        "b5d8960d9be12148e42b0ecc21613fb42f1ded9a3e41192872e116b8b3496d34",
    ),
    (
        {"source": "custom"},
        "202c816346aefd82febd34d7bdb490a3c52e100a9bbd066d5b5c0ddced3a039e",
        "c0808071709525b65c34e05e56fa15bbcaa9903bb0aa823d4e29c14a83ef7532",
    ),
    (
        {
            "source": "custom",
            "sampler": "a:b",
            "sampler_options": '{"token": "env:T"}',
            "prompts": "p.txt",
            "budget": "sequential",
            "copy_rate": 0.2,
            "miss_rate": 0.05,
            "generations": 64,
        },
        "0c2ee3f38c54a20ffda3529610f51ff5c1a13d54fae5761177074ebdc1a9190a",
        "747dec54326989a522c44ec3e3f34d880f7226173c310ebd8b2c25513859510e",
    ),
    (
        {
            "model": "m",
            "prompts": "p.txt",
            "steps": 10,
            "guidance_scale": 1,
            "screen": "noise_magnitude",
            "screen_threshold": 0.5,
            "screen_seeds": 2,
            "screen_guidance": 3,
            "dtype": "float16",
            "device": "cuda",
            "height": 512,
            "width": 256,
        },
        "6c266b696fcdfbb3f158d4aeb648d978080d6ebcf9eec09ad86983a99eee9da9",
        "0bb3558fafe00ff5d8d7c8110d0f5f12581484ce9d70899c1952b0ee3e0a0df2",
    ),
    (
        {
            "source": "custom",
            "edges_up_to": 0.5,
            "keep": "all",
            "shard_prompts": 7,
            "node_limit": 1000,
            "seed": 3,
            "batch_size": 4,
        },
        "042f74142575516b60a8d526bae06919f7e99bc8daf877b17279cb1550779169",
        "9752cf50d6f2f9e927fdac525a1f5d6f4d26b37e20e31f52fae697f553dd62ad",
    ),
]


@pytest.mark.parametrize(("values", "digest", "written"), RECORDED)
def test_digests_are_the_recorded_ones(values: dict[str, Any], digest: str, written: str) -> None:
    config = Config(**values)
    assert config.digest("fingerprint", "prompts") == digest
    assert hashlib.sha256(json.dumps(config.as_dict()).encode()).hexdigest() == written


def test_every_field_says_what_it_is() -> None:
    for field in declared(Config).values():
        assert field.option.help
        assert not field.option.help.endswith("."), field.name
        assert field.default is None or field.checked(field.default) == field.default


def test_choices_are_those_of_the_types_and_tables() -> None:
    found = {field.name: field.choices for field in declared(Config).values() if field.choices}
    resizes = {"resize_method": METHODS, "resize_fit": FITS}
    own = {"source": SOURCES, "budget": BUDGETS, "dtype": DTYPES, "keep": KEEP, "screen": SCREENS}
    assert found == {**own, **resizes}


def test_types_come_from_the_annotations() -> None:
    fields = declared(Config)
    assert (fields["generations"].kind, fields["generations"].size) == (int, 1)
    assert (fields["guidance_scale"].kind, fields["guidance_scale"].optional) == (float, True)
    assert (fields["grid"].kind, fields["grid"].size, fields["grid"].flag) == (int, 2, "--grid")
    assert (fields["budget"].kind, fields["edges_up_to"].flag) == (str, "--edges-up-to")
    assert fields["grid"].help == "tiles (default: 4 4)"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"generations": 5.0}, "generations must be an integer, got 5.0"),
        ({"generations": True}, "generations must be an integer, got True"),
        ({"prompts": 5}, "prompts must be a text, got 5"),
        ({"keep": 5}, "keep must be a text, got 5"),
        ({"copy_rate": "0.1"}, "copy_rate must be a number, got '0.1'"),
        ({"copy_rate": True}, "copy_rate must be a number, got True"),
        ({"copy_rate": 10**400}, "copy_rate must be a finite number, got 1000"),
        ({"copy_rate": None}, "copy_rate must be a number, got None"),
        ({"guidance_scale": float("nan")}, "guidance_scale must be a finite number, got nan"),
        ({"grid": [4]}, "grid must be two integers, got [4]"),
        ({"grid": [4, 4.0]}, "grid must be two integers, got [4, 4.0]"),
        ({"grid": [4, True]}, "grid must be two integers, got [4, True]"),
        ({"source": "disk"}, "source must be one of diffusers, stored, custom, got 'disk'"),
    ],
)
def test_a_wrong_type_or_choice_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{"source": "custom", **values})
    assert str(caught.value).startswith(text)


def test_a_field_that_neither_flags_nor_toml_can_hold_is_refused() -> None:
    @dataclasses.dataclass
    class Bare:
        steps: int = 0

    @dataclasses.dataclass
    class Odd:
        steps: Annotated[bytes, Option("bytes")] = b""

    with pytest.raises(TypeError, match="steps has no Option"):
        declared(Bare)
    with pytest.raises(TypeError, match=r"steps is a .*bytes"):
        declared(Odd)


def test_a_literal_has_its_own_choices() -> None:
    @dataclasses.dataclass
    class Coffee:
        size: Annotated[Literal["small", "large"], Option("of the cup")] = "small"

    assert declared(Coffee)["size"].choices == ("small", "large")


@pytest.mark.parametrize("name", list(declared(Config)))
def test_a_name_with_a_letter_dropped_is_answered_with_the_right_one(name: str) -> None:
    for k in range(len(name)):
        wrong = name[:k] + name[k + 1 :]
        for table in ("", "audit."):
            values: dict[str, Any] = {"audit": {wrong: 1}} if table else {wrong: 1}
            with pytest.raises(ConfigError) as caught:
                from_mapping(values)
            start = f"the configuration has an unknown name {table + wrong!r}; did you mean {name!r}"
            assert str(caught.value).startswith(start)


def test_a_name_in_a_table_is_told_where_it_belongs() -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping({"source": "custom", "budget": {"copy-rate": 0.2}})
    assert str(caught.value) == (
        "the configuration has an unknown name 'budget.copy-rate'; did you mean 'copy_rate'? "
        "All names belong at the top of the file, outside of any table."
    )
    with pytest.raises(ConfigError, match=r"unknown name .xyzzy.; known names: adapter, background, "):
        from_mapping({"xyzzy": {}})
    with pytest.raises(ConfigError, match=r"sampler_options must be a text, got {'xyzzy': 1}"):
        from_mapping({"source": "custom", "sampler": "a:b", "sampler_options": {"xyzzy": 1}})


@pytest.mark.parametrize(("text", "name"), [("treshold = 0.1", "treshold"), ("[run]\nsede = 1", "run.sede")])
def test_nothing_is_written_for_a_wrong_name(
    text: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text(f"{text}\n")
    words = ["audit", str(tmp_path / "run"), "--config", str(tmp_path / "run.toml")]
    assert main(words) == 2
    assert f"unknown name {name!r}; did you mean" in capsys.readouterr().err
    assert main(["plan", str(tmp_path / "run.toml")]) == 2
    assert f"unknown name {name!r}; did you mean" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["run.toml"]
