"""What a notebook shows: one line for every public object, and tables in which every text is escaped."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memcore
from memcore.audit.run_audit import audit
from memcore.index import Index, build_index, open_source
from memcore.matching.match_run import match_run
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.runs.prompts import read_prompts
from memcore.runs.start import RunStart
from memcore.sampling import CallableSampler, DiffusersSampler, Fixed, interleave
from memcore.sampling.screen import FirstStep
from memcore.sources.by_prompt import StoredPrompts
from memcore.storage.local import LocalStorage
from memcore.types import Images, Neighbors
from tests.support import tiny_pipelines
from tests.support.synthetic import PROMPTS, SyntheticSampler, write_stored, write_training_set

ROOT = Path(__file__).parents[2]
REFERENCE = sorted(
    {
        name
        for page in (ROOT / "docs" / "reference").glob("*.md")
        for name in re.findall(r"^::: ([\w.]+)$", page.read_text("utf-8"), re.MULTILINE)
    }
)


def _modules() -> Iterator[Any]:
    for name in REFERENCE:
        try:
            yield importlib.import_module(name)
        except ModuleNotFoundError:  # a function of a module
            yield importlib.import_module(name.rpartition(".")[0])


def public_classes() -> list[type]:
    """Return the classes of the modules that the reference documents, and those that these export."""
    found = {}
    for module in _modules():
        exported = getattr(module, "__all__", ())
        for name in [*exported, *vars(module)]:
            value = getattr(module, name)
            own = inspect.isclass(value) and (value.__module__ == module.__name__ or name in exported)
            if own and not name.startswith("_"):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return [found[name] for name in sorted(found)]


def test_the_reference_was_found() -> None:
    assert len(REFERENCE) > 10
    assert {RunFolder, Index, CallableSampler, memcore.DevicePrompts, StoredPrompts} <= set(public_classes())


@pytest.mark.parametrize("kind", public_classes(), ids=lambda kind: kind.__qualname__)
def test_no_public_class_shows_its_address_or_its_arrays(kind: type) -> None:
    if issubclass(kind, BaseException | enum.Enum) or getattr(kind, "_is_protocol", False):
        return
    assert kind.__repr__ is not object.__repr__, f"{kind} needs a __repr__"
    if dataclasses.is_dataclass(kind) and "__create_fn__" in kind.__repr__.__qualname__:
        arrays = [f.name for f in dataclasses.fields(kind) if "NDArray" in str(f.type)]
        assert not arrays, f"{kind} would print {arrays}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("reprs")
    config = Config(source="custom", generations=24, batch_size=16, min_clique=10)
    made = audit(path / "a run", config, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    match_run(path / "a run", write_training_set(path))
    return made


def _noise(prompts: list[str], seeds: list[int]) -> Any:
    return np.zeros((len(seeds), 8, 8, 3), np.uint8)


def _objects(folder: RunFolder, path: Path) -> list[Any]:
    stored = write_stored(path / "stored", 4, ["a", "b"])
    np.save(path / "train.npy", np.zeros((3, 8, 8, 3), np.uint8))
    source = open_source(path / "train.npy")
    build_index(path / "index", source)
    (path / "prompts.txt").write_text("a\n")
    batches = interleave([(0, "a")], Fixed(4), 2, run_seed=0)
    images = np.zeros((2, 8, 8, 3), np.uint8)
    pipe = tiny_pipelines.make("stable diffusion 1")
    return [
        folder,
        folder.storage,
        folder.prompts,
        folder.config,
        folder.findings(),
        RunStart(folder, folder.config, PROMPTS),
        LocalStorage(path),
        SyntheticSampler,
        CallableSampler(_noise, (8, 8, 3), "f", seed_bits=32),
        CallableSampler(lambda p, s: None, (8, 8, 3), "f"),
        DiffusersSampler(pipe, steps=2, guidance_scale=3.0, batch_size=4),
        StoredPrompts(stored),
        source,
        Index.open(path / "index"),
        read_prompts(path / "prompts.txt"),
        batches,
        batches.next_batch(),
        Images(images, np.zeros(2, np.bool_)),
        FirstStep(np.zeros(3), np.zeros(3)),
        memcore.knn(images, images, 1),
        memcore.tiled_l2_graph(images, 0.1),
        memcore.DevicePrompts(1, 8, (8, 8, 3), device="cpu"),
        memcore.PromptGraph((8, 8, 3)),
    ]


def test_one_line_each(folder: RunFolder, tmp_path: Path) -> None:
    for shown in _objects(folder, tmp_path):
        text = repr(shown)
        if not isinstance(shown, list):
            assert "\n" not in text, text
            assert len(text) < 2000
        assert " at 0x" not in text, text


def test_what_they_say(folder: RunFolder) -> None:
    assert repr(folder) == f"RunFolder({str(folder.path)!r}, prompts=7, source='custom')"
    assert repr(CallableSampler(_noise, (8, 8, 3), "f")) == "CallableSampler(_noise, (8, 8, 3), 'f')"
    sampler = DiffusersSampler(
        tiny_pipelines.make("stable diffusion 1"), steps=2, guidance_scale=3.0, batch_size=4
    )
    assert repr(sampler) == (
        "DiffusersSampler(StableDiffusionPipeline, steps=2, guidance_scale=3.0, batch_size=4, device='cpu')"
    )
    assert repr(Images(np.zeros((2, 8, 8, 3), np.uint8), np.array([True, False]))) == (
        "Images(2x8x8x3, flagged=1, broken=0)"
    )


def test_a_notebook_shows_findings_as_a_table(folder: RunFolder) -> None:
    shown = folder._repr_html_()
    assert "7 of 7" in shown
    assert shown == folder._repr_html_()
    assert shown.count("<tr>") == 2 + 1 + 2
    assert "a red fox" in folder.findings()._repr_html_()
    assert "2 of 7 prompts with a finding" in folder.findings()._repr_html_()


def test_texts_of_a_table_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    config = Config(source="custom", generations=12, batch_size=12, min_clique=10)
    sampler = CallableSampler(
        lambda prompts, seeds: np.stack([np.full((8, 8, 3), 9, np.uint8) + _dot(s) for s in seeds]),
        (8, 8, 3),
        "f",
    )
    folder = audit(tmp_path / "<b>run", config, sampler=sampler, prompts=[evil], quiet=True)
    for shown in (folder._repr_html_(), folder.findings()._repr_html_()):
        assert "<script>" not in shown
        assert "<b>" not in shown
        assert "&lt;script&gt;" in shown


def _dot(seed: int) -> Any:
    dots = np.zeros((8, 8, 3), np.uint8)
    dots[seed % 8, seed // 8 % 8] = 1 + seed // 64 % 9
    return dots


def test_a_damaged_run_is_shown_as_such(folder: RunFolder, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder.path, tmp_path / "run")
    opened = RunFolder.open(tmp_path / "run")
    next((tmp_path / "run").glob("findings/*")).write_bytes(b"nothing")
    assert "<th>error</th>" in opened._repr_html_()


def test_neighbors_are_shown_as_a_table() -> None:
    near = Neighbors(np.zeros((12, 7), np.float32), np.arange(84).reshape(12, 7), None)
    shown = near._repr_html_()
    assert shown.count("<tr>") == 11
    assert "<td>4 (0)</td>" in shown
    assert "<td>5 (0)</td>" not in shown
    assert "queries: 12; k: 7" in shown
    assert "<p>" not in Neighbors(np.zeros((1, 1)), np.zeros((1, 1), np.int64), None)._repr_html_()


def test_no_docstring_says_a_sentence_twice() -> None:
    """Config's did (N-X25)."""
    for kind in public_classes():
        text = " ".join((kind.__doc__ or "").split())
        sentences = [s for s in re.split(r"(?<=[.;:]) ", text) if len(s) > 40]
        assert len(sentences) == len(set(sentences)), kind
