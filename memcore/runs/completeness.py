"""What a run's verdict rests on: what of it was not decided. Commands and the report ask nobody else.

"None of N prompts ..." may be said only where every prompt reached the stop that its budget prescribes, with enough usable
generations for a finding, and where every training image was compared.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from memcore.runs.derived import read_match
from memcore.runs.freshness import stale_match
from memcore.runs.run_toml import read_left_out
from memcore.sources.base import stands_for
from memcore.storage.base import Storage
from memcore.types import PromptStatus, StopReason

if TYPE_CHECKING:
    import pyarrow as pa

    from memcore.runs.reading import ShardTables
    from memcore.sources.coverage import Coverage

#: The columns of a run's findings that ``Tally.add`` needs.
COLUMNS = ("prompt_id", "status", "generated", "excluded", "proven", "upper", "stop", "given_near")
#: Reasons of entries that are no images, so that nothing is missing without them.
NO_IMAGES = frozenset({"no-image", "empty", "system", "other", "text", "caption"})
#: Reasons of entries that stand for prompts or shards, which are counted as failed.
_FAILURES = frozenset({"sampler", "refused", "error", "crash"})
#: Those of them that stand for one prompt: the sampler failed, or a content filter refused it.
PROMPT_FAILURES = frozenset({"sampler", "refused"})
#: Reasons of notes about a prompt or its sampler. A broken image of a sampler counts as excluded.
_NOTES = frozenset(
    {
        "long-prompt",
        "same-image",
        "unrepeatable",
        "broken-image",
        "checkpoint",
        "refused-image",
        "given-image",
        "guarded",
    }
)
#: How the reasons of what a server answered begin; images that it did not give count as excluded.
_HTTP = "http-"
#: The reason of images that a resize would make comparable.
WRONG_SIZE = "wrong-size"
_WORDS = {
    "wrong-size": "other size",
    "alpha": "transparent",
    "depth": "more than 8 bits a channel",
    "dtype": "no uint8",
    "archive": "in a damaged archive",
    "format": "a format that is not read",
    "path": "not a plain file",
    "too-large": "too large",
    "colour": "colour space",
}


class GapRecord(TypedDict):
    """A gap as ``--json`` prints it."""

    code: str
    count: int
    of: int
    text: str


@dataclasses.dataclass(frozen=True)
class Gap:
    """Something that was not decided: ``count`` of ``of`` things, and both in words, ``what``.

    ``code`` is unfinished, failed, shards, few, short, unproven, unread or size (of the prompts), files (of no prompt),
    training or captions.
    """

    code: str
    count: int
    of: int
    what: str
    #: What would decide it, if something that the user can do does.
    remedy: str = ""

    @property
    def text(self) -> str:
        """Return the gap in words, with its remedy."""
        return f"{self.what} ({self.remedy})" if self.remedy else self.what

    def as_dict(self) -> GapRecord:
        """Return the gap as JSON holds it."""
        return {"code": self.code, "count": self.count, "of": self.of, "text": self.text}


@dataclasses.dataclass(frozen=True)
class Completeness:
    """The gaps of a run; ``undecided`` prompts have no answer, ``screened`` ones were left out by a screen."""

    gaps: tuple[Gap, ...] = ()
    prompts: int = 0
    undecided: int = 0
    screened: int = 0

    @property
    def complete(self) -> bool:
        """Whether a verdict may be said without reserve."""
        return not self.gaps

    @property
    def text(self) -> str:
        """All gaps in words, without a full stop."""
        return "; ".join(gap.text for gap in self.gaps)

    def as_list(self) -> list[GapRecord]:
        """Return the gaps as JSON holds them."""
        return [gap.as_dict() for gap in self.gaps]


def not_decided_lines(gaps: Sequence[GapRecord]) -> list[str]:
    """Return what a command prints of the gaps: one line, or none.

    >>> not_decided_lines([{"code": "failed", "count": 3, "of": 59, "text": "3 of 59 prompts failed"}])
    ['not decided: 3 of 59 prompts failed']
    """
    return [f"not decided: {'; '.join(gap['text'] for gap in gaps)}"] if gaps else []


def incomplete_lines(gaps: Sequence[GapRecord]) -> list[str]:
    """Return what a command that makes no verdict prints of the gaps: one line, or none."""
    return [f"incomplete: {'; '.join(gap['text'] for gap in gaps)}"] if gaps else []


class Tally:
    """Counts what a run's finished shards decided, a shard at a time."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Take what ``run.toml`` says of the graph, the budget and the prompts."""
        budget = settings.get("budget", {})
        self._prompts = int(settings["prompts"]["count"])
        self._min_clique = int(settings["graph"]["min_clique"])
        made = budget.get("generations")
        sampler = settings.get("sampler", {})
        stored = sampler.get("kind") == "stored"
        #: The size of a filter's images, and whether others could be brought to it.
        self._size = _size_of(str(sampler.get("describe", {}).get("image_shape", "")).split("x"))
        self._may_resize = stored and not settings.get("config", {}).get("resize")
        #: Images that a prompt gets unless its budget stops it; stored ones are as many as there are.
        self._generations = made if isinstance(made, int) and not stored else None
        #: Files of a filter's set that belong to no prompt, and may hold images, by reason.
        passed_over = read_left_out(sampler.get("describe", {})) if stored else {}
        self._passed_over = {r: n for r, n in passed_over.items() if n and r not in NO_IMAGES}
        self._counts: Counter[str] = Counter()

    def add(self, shard: ShardTables) -> None:
        """Count a finished shard, of whose rows the columns ``COLUMNS`` were read."""
        import pyarrow.compute as pc

        rows, quarantine, counts = shard.findings, shard.quarantine, self._counts
        status = rows["status"]
        failed = pc.equal(status, PromptStatus.FAILED.value)
        screened = pc.equal(status, PromptStatus.SCREENED.value)
        empty_handed = pc.equal(status, PromptStatus.NONE.value)
        usable = pc.subtract(rows["generated"], rows["excluded"])
        few = pc.and_(empty_handed, pc.less(usable, self._min_clique))
        open_end = pc.and_(pc.invert(rows["proven"]), pc.greater_equal(rows["upper"], self._min_clique))
        unproven = pc.and_(empty_handed, open_end)
        short = pc.and_(empty_handed, pc.less(rows["generated"], self._generations or 0))
        # the oldest runs record no reasons: they know the fixed rule alone
        ran_out = pc.fill_null(pc.equal(rows["stop"], StopReason.ALL.value), True)
        short = pc.and_(short, ran_out)
        lost = _lost_images(quarantine)
        of_failed = pc.fill_null(
            pc.is_in(lost["prompt_id"], value_set=rows.filter(failed)["prompt_id"].combine_chunks()), False
        )
        sized = pc.equal(lost["reason"], WRONG_SIZE)
        unread = lost.filter(pc.invert(pc.or_(of_failed, sized)))
        sized = lost.filter(sized)
        undecided = pc.or_(pc.or_(failed, few), pc.or_(unproven, short))
        counts["done"] += rows.num_rows
        counts["shards"] += 1
        counts["given_up"] += bool(shard.manifest.get("given_up"))
        for name, gone in (("unread", unread), ("sized", sized)):
            counts[name] += sum(stands_for({"source": source}) for source in gone["source"].to_pylist())
            counts[f"{name} prompts"] += len(pc.unique(gone["prompt_id"]))
        for name, chosen in (
            ("failed", failed),
            ("screened", screened),
            ("few", few),
            ("given", pc.and_(few, pc.fill_null(pc.greater(rows["given_near"], 0), False))),
            ("unproven", unproven),
            ("short", pc.and_(short, pc.invert(few))),
            ("undecided", undecided),
        ):
            counts[name] += pc.sum(chosen).as_py() or 0

    def finish(self, match: Mapping[str, Any] | None = None) -> Completeness:
        """Return what was not decided; ``match`` is the content of match.json, if the run was matched."""
        gaps = [*self._prompt_gaps(), *training_gaps(match or {})]
        left = self._prompts - self._counts["done"]
        undecided = left + self._counts["undecided"]
        return Completeness(tuple(gaps), self._prompts, undecided, self._counts["screened"])

    def _prompt_gaps(self) -> Iterable[Gap]:
        counts, prompts = self._counts, self._prompts
        of = f"of {_count(prompts, 'prompt')}"
        if left := prompts - counts["done"]:
            yield Gap("unfinished", left, prompts, f"{left:,} {of} {_are(left)} not done")
        if n := counts["failed"]:
            yield Gap("failed", n, prompts, f"{n:,} {of} failed")
        if n := counts["given_up"]:
            shards = counts["shards"]
            text = f"{n:,} of {_count(shards, 'shard')} {_were(n)} quarantined after repeated failures"
            yield Gap("shards", n, shards, text)
        if n := counts["few"]:
            text = f"{_count(n, 'prompt')} had fewer than {self._min_clique} usable generations"
            if given := counts["given"]:
                text += f", {given:,} of them since generations repeat the image that they were made from"
            yield Gap("few", n, prompts, text)
        if n := counts["short"]:
            text = f"{_count(n, 'prompt')} had fewer than the {self._generations} generations of the budget"
            yield Gap("short", n, prompts, text)
        if n := counts["unproven"]:
            text = f"the search for a clique reached its limit for {_count(n, 'prompt')}"
            yield Gap("unproven", n, prompts, text)
        if n := counts["unread"]:
            text = (
                f"{_count(n, 'generation')} of {_count(counts['unread prompts'], 'prompt')} could not be read"
            )
            yield Gap("unread", n, n, text)
        if n := counts["sized"]:
            why = list_reasons({WRONG_SIZE: n}, self._size)
            text = f"{_count(n, 'generation')} of {_count(counts['sized prompts'], 'prompt')} {_were(n)} left out: {why}"
            resize = f"--resize {self._size} compares {'it' if n == 1 else 'them'} too"
            yield Gap("size", n, n, text, resize if self._may_resize and self._size else "")
        if n := sum(self._passed_over.values()):
            text = f"{_count(n, 'file')} beside the prompts {_were(n)} not read: {list_reasons(self._passed_over)}"
            yield Gap("files", n, n, text)


def judge(storage: Storage, settings: Mapping[str, Any]) -> Completeness:
    """Return what the run in a storage did not decide; ``settings`` is the content of its run.toml."""
    from memcore.runs import reading

    shards = ((s, reading.read_shard(storage, s, COLUMNS)) for s in reading.finished(storage))
    return judge_shards(storage, settings, shards)


def judge_shards(
    storage: Storage, settings: Mapping[str, Any], shards: Iterable[tuple[str, ShardTables]]
) -> Completeness:
    """Return what ``judge`` does, of all finished shards by name, of whose rows the columns ``COLUMNS`` were read."""
    from memcore.runs import reading

    tally = Tally(settings)
    manifests = {}
    for shard, tables in shards:
        tally.add(tables)
        manifests[shard] = tables.manifest
    match = read_match(storage)
    if match is not None and stale_match(match, reading.findings_digest(storage, manifests)):
        match = None
    return tally.finish(match)


def training_gaps(match: Mapping[str, Any]) -> list[Gap]:
    """Return what the content of a match.json says of training images that were not compared.

    >>> match = {"count": 1, "unreadable": [{"source": f"{i}.png", "reason": "wrong-size"} for i in range(4)]}
    >>> [gap.text for gap in training_gaps(match)]
    ['4 of 5 training images were not compared: other size']
    """
    reasons = _left_out(match)
    missing = sum(reasons.values())
    if not missing:
        return []
    of = missing + int(match.get("count", 0))
    size = _size_of(match.get("image_shape") or ())
    text = f"{missing:,} of {_count(of, 'training image')} {_were(missing)} not compared: {list_reasons(reasons, size)}"
    at = "memcore index " if "index" in match else ""
    resize = f"{at}--resize {size} compares {_those(reasons)} too"
    helps = WRONG_SIZE in reasons and not match.get("resize") and size
    return [Gap("training", missing, of, text, resize if helps else "")]


def index_gaps(coverage: Coverage | None, reasons: Mapping[str, int], shape: Sequence[int]) -> list[Gap]:
    """Return what of a training set an index lacks; ``reasons`` are those of its quarantine, if it has no account.

    >>> [gap.text for gap in index_gaps(None, {"alpha": 1, "system": 3}, (64, 64, 3))]
    ['1 training image was not indexed: transparent']
    """
    left_out = reasons if coverage is None else coverage["left_out"]
    lost = {reason: count for reason, count in left_out.items() if count and reason not in NO_IMAGES}
    missing = sum(lost.values())
    if not missing:
        return []
    size = _size_of(shape)
    of = missing if coverage is None else missing + coverage["images"]
    what = f"{missing:,} of {_count(of, 'training image')}" if coverage else _count(missing, "training image")
    text = f"{what} {_were(missing)} not indexed: {list_reasons(lost, size)}"
    resize = f"--resize {size}, into another index, takes {_those(lost)} too"
    return [Gap("training", missing, of, text, resize if WRONG_SIZE in lost else "")]


def caption_gaps(coverage: Coverage | None, reasons: Mapping[str, int]) -> list[Gap]:
    """Return the captions that could not be read, so that no prompt was made of them; arguments as of ``index_gaps``.

    >>> [gap.text for gap in caption_gaps(None, {"caption": 2})]
    ['2 captions could not be read']
    """
    missing = (reasons if coverage is None else coverage["left_out"]).get("caption", 0)
    return (
        [Gap("captions", missing, missing, f"{_count(missing, 'caption')} could not be read")]
        if missing
        else []
    )


def list_reasons(reasons: Mapping[str, int], size: str = "") -> str:
    """Return reason codes in words, each with its count if there are several; ``size`` is the size that counts.

    >>> list_reasons({"wrong-size": 4}, "64x64"), list_reasons({"alpha": 1, "depth": 2})
    ('other size than 64x64', '1 transparent, 2 more than 8 bits a channel')
    """
    than = f" than {size}" if size else ""
    words = {**_WORDS, WRONG_SIZE: f"{_WORDS[WRONG_SIZE]}{than}"}
    why = [(words.get(reason, reason), count) for reason, count in sorted(reasons.items())]
    return why[0][0] if len(why) == 1 else ", ".join(f"{count:,} {word}" for word, count in why)


def _size_of(shape: Sequence[Any]) -> str:
    """Return height and width as people write them; "" if they are not known."""
    return f"{shape[0]}x{shape[1]}" if len(shape) == 3 else ""


def _left_out(match: Mapping[str, Any]) -> dict[str, int]:
    """Return how many training images were left out for each reason."""
    coverage, reasons, told = match.get("coverage"), match.get("reasons"), match.get("unreadable", 0)
    if isinstance(coverage, Mapping):
        found = {str(reason): int(count) for reason, count in coverage.get("left_out", {}).items()}
    elif isinstance(reasons, Mapping):
        found = {str(reason): int(count) for reason, count in reasons.items()}
    elif isinstance(told, list):
        found = dict(Counter(str(entry.get("reason", "unreadable")) for entry in told))
    else:
        found = {"unreadable": int(told)}  # an index of an earlier version says no more
    return {reason: count for reason, count in found.items() if count and reason not in NO_IMAGES}


def _lost_images(quarantine: pa.Table) -> pa.Table:
    """Return the entries that stand for images of a prompt which could not be used."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # a filter leaves out an image whose caption cannot be read, since the caption is its prompt
    none = pa.array(sorted((NO_IMAGES - {"caption"}) | _FAILURES | _NOTES), pa.string())
    no_image = pc.or_(
        pc.is_in(quarantine["reason"], value_set=none), pc.starts_with(quarantine["reason"], _HTTP)
    )
    return quarantine.filter(pc.invert(no_image))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _those(reasons: Mapping[str, int]) -> str:
    """Return the pronoun of the images of another size, among those that were left out."""
    if reasons.get(WRONG_SIZE) == 1:
        return "it"
    return "them" if len(reasons) == 1 else "these"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
