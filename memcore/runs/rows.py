"""The rows of a run's files as types: every column is declared here, once.

``memcore.runs.schema`` derives the Parquet schemas from these classes: a field is a column, in order of declaration.
Whole numbers state their width; ``SINCE_2`` and ``SINCE_3`` mark a column that runs of earlier formats may lack, and
which is null there, and ``GIVEN`` one that only runs with given images have.
docs/formats.md says what each column means.
"""

# No "from __future__ import annotations": the classes need the annotations to separate required from optional keys.

import enum
from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypeAlias, TypedDict, cast

from memcore.sampling.screen import SCORES
from memcore.sources.coverage import Coverage
from memcore.storage.digests import FileDigest

Int32: TypeAlias = Annotated[int, "int32"]
Int64: TypeAlias = Annotated[int, "int64"]
UInt64: TypeAlias = Annotated[int, "uint64"]


class Mark(enum.Enum):
    """What a column's annotation says besides its type."""

    SINCE_2 = "format 2 always has the column, format 1 may lack it"
    SINCE_3 = "format 3 always has the column, earlier ones may lack it"
    GIVEN = "written where images are made from given ones alone"
    SCORES_FOLLOW = "the columns of the screens' scores follow this one"


SINCE_2 = Mark.SINCE_2
SINCE_3 = Mark.SINCE_3
GIVEN = Mark.GIVEN
SCORES_FOLLOW = Mark.SCORES_FOLLOW


class CliqueRow(TypedDict):
    """A clique of a finding: its members by seed, and what is known of the largest clique."""

    seeds: list[Int64]
    mean_distance: float
    medoid_seed: Int64
    proven: bool
    upper: Int32


class PairRow(TypedDict):
    """A stored pair of generations and the ssd of its largest tile."""

    i: Int32
    j: Int32
    ssd: UInt64


class ImageRow(TypedDict):
    """A stored image of a prompt: its seed, which names its file, and the digest of that file."""

    seed: Int64
    bytes: Int64
    sha256: str


class FindingRow(TypedDict):
    """A prompt in findings/: every prompt of a finished shard has one.

    The columns of the screens' scores, one a screen, follow ``stop``: read them with ``read_scores``.
    ``given_near`` and ``given_distance`` are None where no image was given; rows that are read of a run without given images
    lack them.
    ``pairs`` and ``images`` are lists where rows are read, and what ``tables.pairs_array`` and ``tables.images_array`` make
    where they are written.
    """

    prompt_id: Int64
    prompt: str
    status: str
    generated: Int32
    excluded: Int32
    edges: Int64
    size: Int32
    mean_distance: float | None
    medoid_seed: Int64 | None
    medoid_image: Annotated[str | None, SINCE_3]
    seeds: list[Int64]
    proven: bool
    upper: Int32
    largest: Annotated[Int32 | None, SINCE_3]
    cliques: list[CliqueRow]
    stop: Annotated[str | None, SINCE_2, SCORES_FOLLOW]
    tile_bytes: Annotated[Int64 | None, SINCE_2]
    pairs: Annotated[list[PairRow] | None, SINCE_2]
    reason: str | None
    images: Annotated[list[ImageRow] | None, SINCE_3]
    given_near: Annotated[Int32 | None, GIVEN]
    given_distance: Annotated[float | None, GIVEN]


class QuarantineRow(TypedDict):
    """An entry of quarantine/: what could not be read or sampled. The entry of a whole shard has no ``prompt_id``."""

    prompt_id: Int64 | None
    source: str
    reason: str
    detail: str


class NeighborRow(TypedDict):
    """A training image near a medoid, and their l2 distance."""

    index: Int64
    name: str
    l2: float


class MatchRow(TypedDict):
    """A clique in matches.parquet and the training image that it was matched with."""

    prompt_id: Int64
    clique: Int32
    size: Int32
    mean_distance: float
    medoid_seed: Int64
    training_index: Int64
    training_name: str
    l2: float
    tiled_l2: float
    extracted: bool
    copies: Int32
    eidetic: Int32
    neighbors: list[NeighborRow]
    adaptive: Annotated[float | None, SINCE_2]
    members_extracted: Annotated[Int32, SINCE_2]
    closest_seed: Annotated[Int64 | None, SINCE_2]
    closest_image: Annotated[str | None, SINCE_3]
    closest_index: Annotated[Int64 | None, SINCE_2]
    closest_name: Annotated[str | None, SINCE_2]
    closest_distance: Annotated[float | None, SINCE_2]


class TruthFile(FileDigest):
    """A file of planted truth: where it was, and its digest."""

    path: str


class MadeFrom(TypedDict):
    """What a derived file was made from: each input by a digest, so that a change of it is noticed.

    ``run`` is the run's digest, ``findings`` that of all its findings files, ``matches`` and ``evaluation`` the seals of
    match.json and evaluation.json, and ``annotations`` the head of the chain of events; None where there was none.
    """

    run: str
    findings: str
    matches: NotRequired[str | None]
    evaluation: NotRequired[str | None]
    annotations: NotRequired[str | None]
    truth: NotRequired[TruthFile]
    #: Of a report, the run and the findings of those that it was compared with.
    compared: NotRequired[list[str]]


class ResizeRecord(TypedDict):
    """How images of other sizes were resized, as match.json says it."""

    height: int
    width: int
    method: str
    fit: str


class MatchRecord(TypedDict):
    """match.json: what the run was matched with.

    ``training`` is the path of a set in memory, and ``identity`` the digest of what it holds; ``index``, ``digest``,
    ``sources`` and ``reasons`` are of an index. Those of earlier formats have no ``format``, ``files``, ``made_from`` and
    ``seal``.
    """

    format: NotRequired[int]
    training: NotRequired[str]
    identity: NotRequired[str]
    index: NotRequired[str]
    digest: NotRequired[str]
    sources: NotRequired[list[str]]
    resize: NotRequired[dict[str, object] | None]
    background: NotRequired[list[int] | None]
    #: (height, width, channels) of the images that were compared.
    image_shape: NotRequired[list[int]]
    unreadable: int | list[dict[str, str]]
    reasons: NotRequired[dict[str, int]]
    #: What the training set's path holds and what became of it.
    coverage: NotRequired[Coverage | None]
    count: int
    delta: float
    distance: str
    #: Images of the training set with their duplicates, where it was said how often each stands there.
    copies: NotRequired[int | None]
    copies_sha256: NotRequired[str]
    #: Of a run with given images: matches whose training image was given, which are no extractions.
    given: NotRequired[int]
    made_from: NotRequired[MadeFrom]
    #: matches.parquet and the training images that the match names, by name.
    files: NotRequired[dict[str, FileDigest]]
    seal: NotRequired[str]


class ReceivedRecord(TypedDict):
    """What a finished shard received from a hosted model: ``memcore.sampling.received.Spent``, costs as text."""

    images: int
    unanswered: int
    cost: str | None
    unanswered_cost: str | None


class ManifestRecord(TypedDict):
    """manifest/: what a finished shard holds. Manifests of earlier formats lack keys that are not required."""

    format: NotRequired[int]
    shard: str
    first_prompt: NotRequired[int]
    prompts: NotRequired[int]
    generated: int
    findings: int
    failed: int
    given_up: NotRequired[bool]
    started: NotRequired[float]
    finished: NotRequired[float]
    writer: NotRequired[str]
    seconds: dict[str, float]
    #: Of a hosted model.
    received: NotRequired[ReceivedRecord]
    #: The shard's findings and, where something was quarantined, its quarantine, by name.
    files: NotRequired[dict[str, FileDigest]]
    #: Of the findings, in formats 1 and 2.
    sha256: NotRequired[str]
    seal: NotRequired[str]


class KeptImages(TypedDict):
    """The head of a record of partial/*.journal: images of a prompt in flight, whose pixels are the record's payload.

    ``flags`` has a digit an image: 0 for one that is in the payload, 1 for one that a safety checker replaced, 2 for one
    near the image that it was made from, 3 for one that holds no picture. ``device`` is where the sampler had the pixels,
    "" for NumPy. ``files`` are the digests of the images' files, where all generations are stored.
    """

    prompt_id: int
    seeds: list[int]
    flags: str
    shape: list[int]
    device: str
    files: NotRequired[list[FileDigest]]


class ImagesNotKept(TypedDict):
    """The head of a record without a payload: images in flight so far that had no room in the journal's budget."""

    not_kept: int
    budget: int


def read_scores(row: FindingRow) -> dict[str, float | None]:
    """Return the row's score of each screen; None where the prompt was not screened."""
    columns = cast(Mapping[str, Any], row)
    return {name: columns.get(name) for name in SCORES}


def with_scores(row: FindingRow, scores: Mapping[str, float]) -> FindingRow:
    """Return the row with its column of each screen; null where ``scores`` lacks the screen."""
    return cast(FindingRow, {**row, **{name: scores.get(name) for name in SCORES}})
