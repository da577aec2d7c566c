"""A study takes over what another one has finished, and nothing that only looks like it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from memcore.errors import DamagedFileError, RunError
from memcore.study.findings.reading import Study
from memcore.study.folder import StudyFolder
from memcore.study.protocols.protocol import ModelSpec
from memcore.study.rows import Name
from memcore.study.run import run_study
from tests.support.study_runs import do
from tests.support.study_sets import write_tiny


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def whole(protocol: Path) -> Path:
    do(protocol, protocol.parent / "whole")
    return protocol.parent / "whole"


def larger(protocol: Path, place: Path) -> Path:
    """A protocol with all models of the tiny one, and more."""
    text = protocol.read_text()
    first = text.index("[[groups]]")
    group = text[first:].split("[[groups]]")[1].replace("seeds = 2", "seeds = [2]", 1)
    assert "seeds = [2]" in group
    place.mkdir(exist_ok=True)
    path = place / "larger.toml"
    path.write_text(text + "\n[[groups]]" + group.replace('name = "', 'name = "more-', 1))
    return path


def tables(study: Path, model: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (study / "rows").glob(f"{model}.*")}


def test_finished_models_are_taken_over_and_the_others_made(
    protocol: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "study"
    do(larger(protocol, tmp_path), place, finished=whole, quiet=False)
    before, after = StudyFolder.open(str(whole)), StudyFolder.open(str(place))
    assert before.specs.keys() < after.specs.keys()
    assert f"{len(before.specs)} models taken over from {whole}\n" in capsys.readouterr().err
    for model in before.specs:
        assert (place / "manifest" / f"{model}.json").read_bytes() == (
            whole / "manifest" / f"{model}.json"
        ).read_bytes()
        assert tables(place, model) == tables(whole, model) != {}
    assert after.manifests().keys() == after.specs.keys()
    assert {p.name: p.read_bytes() for p in (place / "features").iterdir()} == {
        p.name: p.read_bytes() for p in (whole / "features").iterdir()
    }


def test_only_models_that_were_asked_for_something_else_are_made_again(
    protocol: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(protocol.read_text().replace("tries = 2", "tries = 3", 1))
    place = tmp_path / "study"
    specs = do(other, place, finished=whole, quiet=False).specs
    inpainted = {model for model, spec in specs.items() if "inpainting" in spec.attacks}
    kept = specs.keys() - inpainted
    told = capsys.readouterr().err
    assert (
        f"{len(kept)} models taken over from {whole}; {len(inpainted)} are of other data, or were asked"
        in told
    )
    same = {
        p.stem
        for p in (place / "manifest").iterdir()
        if p.read_bytes() == (whole / "manifest" / p.name).read_bytes()
    }
    assert same == kept
    assert kept
    assert inpainted


def test_a_manifest_that_was_copied_by_hand_is_refused(protocol: Path, whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(protocol.read_text().replace("draws = 2", "draws = 3", 1))
    place = tmp_path / "study"
    shutil.copytree(whole, place)
    shutil.copy(other, place / "protocol.toml")
    with pytest.raises(RunError, match=r"was asked for other checkpoints, attacks or settings .* remove it"):
        StudyFolder.open(str(place)).manifests()


def test_a_damaged_table_is_not_taken_over(protocol: Path, whole: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(whole, damaged)
    table = sorted((damaged / "rows").iterdir())[0]
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 1
    table.write_bytes(data)
    with pytest.raises(DamagedFileError, match=f"{table.name} is damaged.*run that study again"):
        do(protocol, tmp_path / "study", finished=damaged)


def test_a_missing_study_is_told_before_anything_is_made(protocol: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no study"):
        run_study(protocol, tmp_path / "study", workers=1, finished=tmp_path / "none")
    assert not (tmp_path / "study").exists()


def test_a_missing_table_is_told(protocol: Path, whole: Path, tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    shutil.copytree(whole, lacking)
    table = sorted((lacking / "rows").iterdir())[0]
    table.unlink()
    with pytest.raises(RunError, match=f"{table.name} is missing: restore it"):
        do(protocol, tmp_path / "study", finished=lacking)


def test_distances_by_two_networks_are_not_compared(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study.of(StudyFolder.open(str(whole)))
    first, second = [spec for spec in study.specs if "quality" in spec.attacks][:2]
    assert study.quality(first)
    assert study.quality(second)
    read = Study.rows

    def other(self: Study, spec: ModelSpec, table: Name) -> list[dict[str, Any]]:
        rows = read(self, spec, table)
        return [row | {"features_sha256": "0"} for row in rows] if spec is second else rows

    monkeypatch.setattr(Study, "rows", other)
    with pytest.raises(RunError, match=f"{first.id} and {second.id} are by two networks"):
        study.quality(second)
