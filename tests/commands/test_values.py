"""What is given to flags and configurations: one form everywhere, messages that name the flag and say where a path led."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from memcore.cli import main
from memcore.commands._checks import read_colour
from memcore.errors import ConfigError
from memcore.runs.config import Config
from tests.support.synthetic import MEMORISED, write_stored, write_training_set


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("values")
    write_training_set(folder)
    write_stored(folder / "stored", 20, MEMORISED)
    words = ["filter", str(folder / "run"), "--images", str(folder / "stored"), "--workers", "1", "--quiet"]
    assert main(words) == 0
    return folder


@pytest.mark.parametrize("delta", ["15", "-0.1", "nan"])
def test_delta_is_called_delta(finished: Path, delta: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["match", str(finished / "run"), "--training", str(finished / "train.npy"), f"--delta={delta}"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"delta must be a number in [0, 1], got {float(delta)}" in said
    assert "threshold" not in said


def test_the_adaptive_distance_says_that_it_decides_nothing(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["match", str(finished / "run"), "--training", str(finished / "train.npy")]
    assert main(words) == 0
    without = capsys.readouterr().out.splitlines()
    assert main([*words, "--adaptive"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line not in without)
    assert line == (
        "adaptive distance at most 1, the paper's limit: 2 of 2 findings (column adaptive; the verdict is by l2 alone)"
    )


@pytest.mark.parametrize("text", ["#ff8000", "#FF8000", "255,128,0", " 255, 128 ,0 "])
def test_a_colour_has_the_same_forms_everywhere(text: str) -> None:
    assert read_colour(text) == (255, 128, 0)
    config = Config(source="stored", images="x", background=text)
    assert config.background_colour() == (255, 128, 0)
    assert config.background.lower() == "#ff8000"


@pytest.mark.parametrize("text", ["#fff", "256,0,0", "1,2", "1,2,3,4", "white", "#12345g", "-1,0,0", "٣,٣,٣"])
def test_another_colour_is_refused_in_the_same_words(text: str) -> None:
    for read in (read_colour, lambda value: Config(source="stored", images="x", background=value)):
        with pytest.raises(ConfigError, match="background must look like #ffffff or 255,255,255, got "):
            read(text)


SETTINGS = "sampler = 'memcore.study.synthetic:SyntheticSampler'\nsource = 'custom'\n"


@pytest.mark.parametrize(
    ("name", "toml", "words"),
    [
        ("gens", "images = 'gens'\n", ["filter", "run"]),
        ("p.txt", SETTINGS + "prompts = 'p.txt'\n", ["audit", "run"]),
        ("p.parquet", SETTINGS + "prompts = 'p.parquet'\n", ["audit", "run"]),
        ("none.toml", None, ["audit", "run"]),
        ("train", None, ["index", "index", "--source", "train"]),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_led(
    name: str,
    toml: str | None,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A path in a TOML file is relative to the working folder, not to the file."""
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / name).mkdir()  # where it would be beside the file
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if toml is not None:
        (tmp_path / "settings" / "a.toml").write_text(toml)
        words = [*words, "--config", "../settings/a.toml"]
    elif name.endswith(".toml"):
        words = [*words, "--config", name]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"(looked for at {tmp_path / 'here' / name}: paths are relative to the working folder)" in said
    assert main([*words[:2], *(str(tmp_path / w) if w == name else w for w in words[2:])]) == 2
    if toml is None:
        assert "looked for at" not in capsys.readouterr().err  # of an absolute path nothing need be said


def test_a_plan_of_no_prompts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.txt").write_text("\n")
    (tmp_path / "a.toml").write_text(SETTINGS + f"prompts = '{tmp_path}/p.txt'\n")
    assert main(["plan", str(tmp_path / "a.toml"), "--seconds", "0.01"]) == 2
    assert "not a single prompt" in capsys.readouterr().err


def test_a_data_set_of_hugging_face_is_taken_by_its_root(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tables are in data/, beside a README and other files: the answer is that of data/, and all is accounted for."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    from memcore.runs.pictures import png_bytes

    root = tmp_path / "hf"
    (root / "data").mkdir(parents=True)
    (root / "README.md").write_text("# a data set\n")
    (root / ".gitattributes").write_text("*.parquet filter=lfs\n")
    for part, prompt in enumerate(MEMORISED):
        images = np.load(finished / "stored" / f"{part:03d}.npy")
        table = {
            "image": [{"bytes": png_bytes(i), "path": None} for i in images],
            "prompt": [prompt] * len(images),
        }
        pq.write_table(pa.table(table), root / "data" / f"train-{part:05d}-of-00002.parquet")
    told = []
    for name, images_at in (("root", root), ("data", root / "data")):
        words = [
            "filter",
            str(tmp_path / name),
            "--images",
            str(images_at),
            "--workers",
            "1",
            "--quiet",
            "--json",
        ]
        assert main(words) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0]["candidates"] == told[1]["candidates"] == 2
    assert told[0]["coverage"]["images"] == told[1]["coverage"]["images"] == 40
    assert told[0]["coverage"]["left_out"] == {"other": 2}
    assert told[0]["coverage"]["pointed_at"] == 42
