"""Every command gives the same answer whatever its files and folders are called: commands x names."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

try:
    import fcntl
except ImportError:  # no flock on this system
    fcntl = None  # type: ignore[assignment]

from memcore.annotate.gallery import Gallery
from memcore.audit import run_audit
from memcore.cli import COMMANDS, main
from memcore.engine.launchers import slurm
from memcore.runs.annotations import Annotations
from memcore.runs.folder import RunFolder
from memcore.system import atomic_files
from tests.support import inline_pool

#: What a file or folder is called.
NAMES = {
    "space": " my  run ",
    "signs": """o'run "b" a#b 100%done %20 $HOME `x`;&| [a]*? a:b=c,d <b>&amp;{{ x }}""",
    "lines": "a\nb\rc\td",
    "backslash": "a\\b\\n",
    "hidden": ".hidden",
    "dots": "..a...",
    "dash": "--run",
    "letters": "狐 é 🦊",
    "latin-1": os.fsdecode(b"caf\xe9"),
}
if sys.platform in ("darwin", "win32"):
    NAMES = {key: name for key, name in NAMES.items() if key in ("space", "letters")}

#: Commands without a run, an index or images: of these a test would show nothing.
WITHOUT_PLACES = {"bench", "completion", "info"}
#: Commands that train, sample or serve a model for minutes. Their one place is a folder, as that of ``report``.
SLOW = {"demo", "serve-model", "study"}


class Told(NamedTuple):
    code: int
    out: str
    err: str


class Place:
    """A folder of an odd name with everything in it of that name, and what each command said there."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root / name
        self.told: dict[str, Told] = {}
        if name:
            make_sets(self.root, name)

    def path(self, *parts: str) -> str:
        return str(self.root.joinpath(*parts))


def make_sets(root: Path, name: str) -> None:
    """Write generations, a training set as a folder and as a tar, and texts, all called ``name``."""
    rng = np.random.default_rng(7)
    copied, other = (rng.integers(40, 200, (16, 16, 3), dtype=np.uint8) for _ in range(2))
    generations, train, files = root / "gens" / name, root / "train" / name, root / "files"
    for folder in (generations, train, files):
        folder.mkdir(parents=True)
    for i in range(12):
        noisy = np.clip(copied.astype(int) + rng.integers(-3, 4, copied.shape), 0, 255)
        (generations / f"{i}.png").write_bytes(png(noisy.astype(np.uint8)))
    rows = {"image": [png(copied), png(other)], "prompt": [shown(name)] * 2}
    pq.write_table(pa.table(rows), sink := io.BytesIO())
    (root / f"{name}.parquet").write_bytes(sink.getvalue())
    for folder, stem, image in (("1", name, copied), ("2", "twin", copied), ("3", "other", other)):
        (train / folder).mkdir()
        (train / folder / f"{stem}.png").write_bytes(png(image))
    (train / "1" / f"{name}.txt").write_text("a fox")
    with tarfile.open(root / f"{name}.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for stem, image in ((name, copied), ("other", other)):
            member, data = tarfile.TarInfo(f"{stem}.png"), png(image)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (files / f"{name}.txt").write_text("memorised fox\nplain hill\n")
    np.save(files / f"{name}.npy", np.stack([copied, other]))
    pq.write_table(pa.table({"copies": [1, 5, 1]}), sink := io.BytesIO())
    (files / f"{name}.copies.parquet").write_bytes(sink.getvalue())
    np.save(files / f"{name}.embeddings.npy", np.eye(2, 4, dtype=np.float32))
    truth = {"prompt": shown(name), "kind": "x", "copies": 9, "expected": True, "training_images": [0]}
    (files / f"{name}.json").write_text(json.dumps({"format": 1, "prompts": [truth]}))
    settings = "sampler = 'memcore.study.synthetic:SyntheticSampler'\nsource = 'custom'\ngenerations = 12\n"
    (files / f"{name}.toml").write_text(settings)
    (files / "prompts.txt").write_text("memorised fox\n")
    (files / f"{name}.plan.toml").write_text(f"{settings}prompts = 'prompts.txt'\n")


def png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "png", compress_level=1)
    return data.getvalue()


def shown(name: str) -> str:
    """What memcore stores and shows of a name: bytes that are not UTF-8 become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def words(place: Place) -> Iterator[tuple[str, list[str]]]:
    """Every command with its places, in an order in which each finds what it needs. The first word is a label."""
    path, name = place.path, place.name
    run, index = path("runs", name), path("indexes", name)
    quiet = ["--quiet", "--threads", "1"]
    text, toml = path("files", f"{name}.txt"), path("files", f"{name}.toml")
    yield "filter", ["filter", run, "--images", path("gens"), "--workers", "1", *quiet]
    yield "filter again", ["filter", run, "--images", path("gens"), "--workers", "1", *quiet]
    yield "filter tar", ["filter", path("t", name), "--images", path(f"{name}.tar"), "--workers", "1", *quiet]
    table = path(f"{name}.parquet")
    yield "filter table", ["filter", path("p", name), "--images", table, "--workers", "1", *quiet]
    yield "index table", ["index", path("tables", name), "--source", table, *quiet]
    yield "index", ["index", index, "--source", path("train", name), *quiet]
    yield "index again", ["index", index, "--source", path("train", name), *quiet]
    yield "index tar", ["index", path("tars", name), "--source", path(f"{name}.tar"), *quiet]
    captions = ["--captions", text]
    yield (
        "index npy",
        ["index", path("npys", name), "--source", path("files", f"{name}.npy"), *captions, *quiet],
    )
    yield "index verify", ["index", index, "--verify"]
    yield "match tar index", ["match", run, "--index", path("tars", name), "--source", path(f"{name}.tar")]
    yield "match table index", ["match", run, "--index", path("tables", name), "--trust-paths"]
    yield "match table", ["match", run, "--training", table]
    yield "match tar", ["match", run, "--training", path(f"{name}.tar")]
    yield "match index", ["match", run, "--index", index, "--source", path("train", name)]
    copies = ["--copies", path("files", f"{name}.copies.parquet")]
    yield "match", ["match", run, "--training", path("train", name), *copies]
    yield "evaluate", ["evaluate", run, "--truth", path("files", f"{name}.json")]
    yield "evaluate matches", ["evaluate", run, "--against", "matches"]
    yield "annotate", ["annotate", run, "--agreement"]
    yield "report", ["report", run, "--compare", run]
    yield "status", ["status", run]
    yield "prompts", ["prompts", path("files", f"{name}.parquet"), "--index", index, "--trust-paths"]
    yield "show", ["show", run]
    yield "show matches", ["show", run, "matches"]
    yield "show list", ["show", path("files", f"{name}.parquet")]
    embeddings = ["--embeddings", path("files", f"{name}.embeddings.npy"), "--min-count", "1"]
    source = ["--source", path("files", f"{name}.npy"), *captions]
    yield "prompts embeddings", ["prompts", path("files", f"{name}.2.parquet"), *embeddings, *source]
    audit = ["--config", toml, "--prompts", text, "--workers", "1", *quiet]
    yield "audit", ["audit", path("audits", name), *audit]
    listed = ["--config", toml, "--prompts", path("files", f"{name}.parquet"), "--workers", "1", *quiet]
    yield "audit parquet", ["audit", path("audits", f"2{name}"), *listed]
    yield "plan", ["plan", path("files", f"{name}.plan.toml"), "--seconds", "0.01"]
    yield "fetch", ["fetch", f"file://{run}", path("copies", name)]


def do_all(place: Place, *more: str, **console: Any) -> Place:
    """Do every command there, in order, with ``more`` flags."""
    for label, line in words(place):
        if label == "annotate":
            judge(Path(line[1]))
        place.told[label] = call(line, place, *more, **console)
    return place


def judge(run: Path) -> None:
    """Answer every item as both annotators, without the page."""
    gallery = Gallery(run, top=10)
    order = [(item.prompt_id, item.clique) for item in gallery.items]
    with Annotations.create(run, gallery.digest, order) as annotations:
        for item in annotations.items():
            for annotator in (1, 2):
                annotations.append(f"{annotator}-{item.item}", annotator, item.item, "copy")


def call(line: list[str], place: Place, *more: str, encoding: str = "utf-8", locks: bool = True) -> Told:
    """Run a command in this process, in the folder of the files, on a console of that encoding."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_audit, "make_pool", inline_pool.make_pool)
        for name in ("sync", "sync_folder"):  # a power cut is another test's
            patch.setattr(atomic_files.disk, name, lambda *_: None)
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        if not locks and fcntl is not None:
            patch.setattr(fcntl, "flock", refuse)
        patch.chdir(place.root / "files")
        code = main([*line, *more])
    out.flush(), err.flush()
    said = [stream.buffer.getvalue().decode(encoding) for stream in (out, err)]  # type: ignore[attr-defined]
    return Told(code, *said)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """What the commands say where every name is a plain word."""
    return do_all(Place("plain", tmp_path_factory.mktemp("plain")), "--json")


@pytest.fixture(scope="module", params=NAMES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return do_all(Place(NAMES[request.param], tmp_path_factory.mktemp("odd")), "--json")


@pytest.fixture(scope="module", params=["ascii", "cp1252"])
def foreign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The commands on a console that lacks the letters of the names, whose lines are for people."""
    return do_all(Place("狐 é", tmp_path_factory.mktemp("console")), encoding=request.param)


@pytest.fixture(scope="module")
def lockless(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The commands on a file system without flock."""
    return do_all(Place("plain", tmp_path_factory.mktemp("locks")), "--json", locks=False)


LABELS = [label for label, _ in words(Place("", Path()))]


def counts(value: Any) -> Any:
    """Return a command's answer without its texts, times and sizes: what must not depend on a name."""
    if isinstance(value, dict):
        kept = {
            key: counts(held)
            for key, held in value.items()
            if key not in ("seconds", "sources", "measured", "made_from")
        }
        return {key: held for key, held in kept.items() if held is not None}
    if isinstance(value, list):
        return [counts(held) for held in value]
    return None if isinstance(value, str | float) else value


@pytest.mark.parametrize("label", LABELS)
def test_a_command_takes_the_name(label: str, place: Place, plain: Place) -> None:
    told, expected = place.told[label], plain.told[label]
    assert told.code == expected.code, told.err
    assert expected.code in (0, 5), expected.err
    if label != "plan":  # which measures
        assert counts(json.loads(told.out)) == counts(json.loads(expected.out))


@pytest.mark.parametrize("label", LABELS)
def test_a_command_speaks_to_a_console_that_lacks_letters(label: str, foreign: Place, plain: Place) -> None:
    told = foreign.told[label]
    assert told.code == plain.told[label].code, told.err
    assert told.out or label == "fetch"
    assert "Traceback" not in told.err


@pytest.mark.parametrize("label", LABELS)
def test_a_command_works_without_locks(label: str, lockless: Place, plain: Place) -> None:
    assert lockless.told[label].code == plain.told[label].code, lockless.told[label].err


def test_a_finding_and_its_match_are_the_same(place: Place, plain: Place) -> None:
    def rows(there: Place) -> list[Any]:
        run = RunFolder.open(there.path("runs", there.name))
        found = [(r["status"], r["size"], r["seeds"], r["mean_distance"]) for r in run.findings()]
        return [found, [(m["extracted"], m["training_index"], m["eidetic"]) for m in run.matches() or []]]

    assert rows(place) == rows(plain)
    run = RunFolder.open(place.path("runs", place.name))
    assert [row["prompt"] for row in run.findings()] == [shown(place.name)]
    (match,) = run.matches() or []
    named = {f"1/{shown(place.name)}.png", "2/twin.png", "3/other.png"}
    assert {neighbor["name"] for neighbor in match["neighbors"]} == named


def test_every_command_with_a_place_is_tried() -> None:
    tried = {line[0] for _, line in words(Place("", Path()))}
    assert tried | WITHOUT_PLACES | SLOW == {command.NAME for command in COMMANDS}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_the_script_of_a_slurm_array_has_the_name(name: str, tmp_path: Path) -> None:
    """Its last line is run by a shell, as SLURM does, with a program that writes down what it is given."""
    run = tmp_path / name / "run"
    run.mkdir(parents=True)
    line = ["filter", str(run), "--images", str(tmp_path / name)]
    text = slurm.script(run, line, 2, [], slurm.script_path(run).parent, ("printf", r"%s\0"))
    slurm.write_script(slurm.script_path(run), text)
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_JOB_ID": "7"}
    done = subprocess.run(["bash", slurm.script_path(run)], capture_output=True, env=environment, check=True)
    logs = list(slurm.script_path(run).parent.glob("7_2.log"))
    said = logs[0].read_bytes() if logs else done.stdout
    assert [os.fsdecode(word) for word in said.split(b"\0")] == [*line, "--part", "2/2", ""]
    (output,) = (x for x in os.fsencode(text).splitlines() if x.startswith(b"#SBATCH --output="))
    if output != b"#SBATCH --output=/dev/null":
        (written,) = shlex.split(os.fsdecode(output.removeprefix(b"#SBATCH --output=")))
        assert written == f"{tmp_path / name}/run/slurm/%A_%a.log".replace(name, name.replace("%", "%%"))


@pytest.mark.parametrize("form", [".", "..", "./", "link", "link/.", "relative"])
@pytest.mark.parametrize("command", ["filter", "index", "match", "status", "report", "prompts"])
def test_a_folder_by_another_way_is_the_same_folder(
    command: str,
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A dot, two, or a link: the answer is that of the folder's own path."""
    place = Place("here", tmp_path)
    monkeypatch.setattr(run_audit, "make_pool", inline_pool.make_pool)
    run, index, images = place.path("runs", "here"), place.path("indexes", "here"), place.path("gens")
    train = place.path("train", "here")
    assert main(["filter", run, "--images", images, "--workers", "1", "--quiet"]) == 0
    assert main(["index", index, "--source", train, "--quiet"]) == 0
    assert main(["match", run, "--training", train]) == 0
    line: dict[str, tuple[str, Callable[[str], list[str]]]] = {
        "filter": (images, lambda p: ["filter", run, "--images", p, "--quiet", "--workers", "1"]),
        "index": (train, lambda p: ["index", index, "--source", p, "--quiet"]),
        "match": (train, lambda p: ["match", run, "--training", p]),
        "status": (run, lambda p: ["status", p]),
        "report": (run, lambda p: ["report", p]),
        "prompts": (
            index,
            lambda p: ["prompts", str(tmp_path / "out.parquet"), "--index", p, "--trust-paths"],
        ),
    }
    folder, words_of = line[command]
    (tmp_path / "link").symlink_to(folder)
    below = next(str(path) for path in sorted(Path(folder).iterdir()) if path.is_dir())
    start = {".": folder, "./": folder, "..": below}.get(form, str(tmp_path))
    monkeypatch.chdir(start)
    given = os.path.relpath(folder) if form == "relative" else form
    capsys.readouterr()
    code = main([*words_of(given), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    monkeypatch.chdir(tmp_path)
    assert main([*words_of(folder), "--json"]) == 0
    assert counts(json.loads(said.out)) == counts(json.loads(capsys.readouterr().out))
