"""The rows of a study's tables as types: every column is declared here, once.

A model's rows are small Parquet files of its own, ``rows/MODEL.TABLE.parquet``, so that a study continues on another
machine with what is there. No row holds a time: the same protocol gives the same bytes. Seconds are in the manifests.
"""

# No "from __future__ import annotations": the schemas are derived from the annotations.

import dataclasses
from typing import Annotated, Literal, TypeAlias, TypedDict

from memcore.runs.rows import Int32, Int64

Float32: TypeAlias = Annotated[float, "float32"]
Binary: TypeAlias = Annotated[bytes, "binary"]

ROWS = "rows"


class CopiesRow(TypedDict):
    """Of a training set: ``images`` images that are there ``copies`` times each."""

    images: Int32
    copies: Int32


class ModelRow(TypedDict):
    """``model``: a model, with every factor that it was trained with. One row.

    ``groups`` are the protocol's groups that share it. ``members`` unique images were trained on, ``rows`` with their
    copies. ``half`` is -1 for a set of its own, else the number of the random half of the pool of ``n`` images: halves 2k
    and 2k + 1 are complementary. ``data_digest`` is that of the images of the data set, ``members_digest`` that of the
    training set, image for image, ``weights_sha256`` that of the weights whose samples and losses are recorded, the
    average. ``folder`` is the name of the folder of a model that was trained elsewhere. ``loss`` is the smoothed training
    loss at the end.
    """

    model: str
    groups: list[str]
    seed: Int64
    data: str
    n: Int32
    half: Int32
    folder: str
    copies: list[CopiesRow]
    deduplicated: bool
    canaries: Int32
    labels: str
    flips: bool
    width: Int32
    depth: Int32
    layers: Int32
    attention: bool
    unshuffle: Int32
    steps: Int32
    batch: Int32
    learning_rate: float
    weight_decay: float
    ema: float
    schedule: str
    prediction: str
    timesteps: Int32
    members: Int32
    rows: Int32
    parameters: Int64
    loss: float
    data_digest: str
    members_digest: str
    weights_sha256: str


class GeneratorRow(TypedDict):
    """``generator``: a model that is no diffusion model. One row; diffusion models have none.

    ``kind`` is the factor ``model``, or "loaded" for one that was trained elsewhere: ``name`` is then the last part of the
    TorchScript file's path, or its ``module:attribute``. ``augment`` says that a critic saw augmented images.
    """

    model: str
    kind: str
    name: str
    augment: bool


class MemberRow(TypedDict):
    """``members``: an image that was trained on or kept from training, by its index in the data set.

    ``role`` is "member", "held-out" (as many as there are members, of the same distribution), "shifted" (the trap: held-out
    images of another distribution) or "canary", whose index is its number among the candidates.
    """

    image: Int64
    role: str
    copies: Int32
    label: Int32


class TrainingRow(TypedDict):
    """``training``: a checkpoint, with the smoothed loss so far and the digest of its weights."""

    step: Int32
    loss: float
    weights_sha256: str


class ExtractionRow(TypedDict):
    """``extraction``: what a rule found in the samples of a checkpoint.

    ``rule`` is one of ``attacks.extraction.RULES``; ``of`` is "train" or "held-out", the same count on the control.
    ``copies`` is the level of duplication that the row counts alone, 0 for all levels together. ``planted`` unique images
    of the set are of that level, ``hits`` samples were hits on one of them, and ``unique`` of them were hit.
    ``threshold`` is null where no threshold keeps the control as low as was asked; then nothing is a hit.
    """

    step: Int32
    rule: str
    of: str
    copies: Int32
    threshold: float | None
    samples: Int64
    hits: Int64
    unique: Int32
    planted: Int32
    #: Training images that were merged as duplicates of others before the distances were taken.
    merged: Int32


class CoverageRow(TypedDict):
    """``coverage``: unique training images found by ``rule`` in the first ``samples`` samples."""

    step: Int32
    rule: str
    samples: Int64
    unique: Int32


class HitRow(TypedDict):
    """``hits``: a sample and its nearest training image (bounded: the nearest first, by ``ratio``)."""

    step: Int32
    seed: Int64
    image: Int64
    distance: float
    ratio: float
    adaptive: float
    copies: Int32


class LossRow(TypedDict):
    """``losses``: an image's losses over (timestep, draw, flip), flattened in that order.

    The file's metadata ``axes`` says which: a JSON object with ``timesteps``, ``draws`` and ``flips`` (1, or 2: plain and
    mirrored). A shifted image has the index -1 - that of the held-out image that it was made of.
    ``role`` as in ``MemberRow``; of a model on a random half, the other half is "held-out".
    """

    image: Int64
    member: bool
    role: str
    losses: list[Float32]


class CanaryRow(TypedDict):
    """``canaries``: the rank of a canary's loss among ``candidates`` (1: the lowest), and its exposure in bits."""

    step: Int32
    canary: Int64
    copies: Int32
    rank: Int32
    candidates: Int32
    exposure: float


class InpaintingRow(TypedDict):
    """``inpainting``: the score of an image by the inpainting attack; the higher, the more like a member."""

    image: Int64
    member: bool
    score: float


class QualityRow(TypedDict):
    """``quality``: Frechet distance of a checkpoint's samples to a set: ``of`` is "held-out" or "train".

    It compares ``samples`` samples with ``reference`` images, by the network whose weights have ``features_sha256``.
    """

    step: Int32
    of: str
    frechet: float
    samples: Int32
    reference: Int32
    features_sha256: str


class SampleRow(TypedDict):
    """``samples``: the first samples of a checkpoint as they are, to compare two models that started from the same noise.

    ``pixels`` are the bytes of a uint8 array of ``height`` x ``width`` x ``channels``.
    """

    step: Int32
    seed: Int64
    height: Int32
    width: Int32
    channels: Int32
    pixels: Binary


class PictureRow(TypedDict):
    """``pictures``: a hit beside its training image, both as PNG. ``kind`` is "strongest" or "median"."""

    step: Int32
    kind: str
    seed: Int64
    image: Int64
    copies: Int32
    ratio: float
    sample: Binary
    training: Binary


class FilteredRow(TypedDict):
    """``filtered``: what a filter leaves of the samples of a checkpoint: those beyond ``delta`` of each training image.

    ``delta`` is the largest that refuses at most a share of the calibration images; ``refused_held_out`` of ``held_out``
    other held-out images are refused at it. ``hits`` and ``control_hits`` are the left samples that the adaptive rule calls
    copies of training and of held-out images, ``unique`` training images of ``planted``. ``frechet`` is that of
    the left samples.
    """

    step: Int32
    delta: float
    samples: Int64
    refused: Int64
    held_out: Int64
    refused_held_out: Int64
    hits: Int64
    unique: Int32
    planted: Int32
    control_hits: Int64
    frechet: float | None


class DefenceRow(TypedDict):
    """``defence``: a defence in the training of a model. One row, of models that have one.

    Of ``merge``: ``removed`` rows of the training set, of which ``wrongly`` were no copies of an image that stayed. Of
    DP-SGD: ``noise`` in units of the clipping norm, the chance ``rate`` of a row, and the private steps.
    """

    merge: str
    removed: Int32
    wrongly: Int32
    u_shape: float
    ambient: Int32
    public: str
    public_steps: Int32
    trainable: str
    epsilon: float
    delta: float
    clip: float
    draws: Int32
    noise: float
    rate: float
    private_steps: Int32


class PrivacyRow(TypedDict):
    """``privacy``: the epsilon of DP-SGD, at its delta, of an image that stands ``copies`` times in the training set."""

    copies: Int32
    epsilon: float | None


Name: TypeAlias = Literal[
    "model",
    "generator",
    "members",
    "training",
    "extraction",
    "coverage",
    "hits",
    "losses",
    "canaries",
    "inpainting",
    "quality",
    "samples",
    "pictures",
    "filtered",
    "defence",
    "privacy",
]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a model: its name, which is part of its files' names, and the type of its rows."""

    name: Name
    row: type


TABLES: dict[Name, Table] = {
    table.name: table
    for table in (
        Table("model", ModelRow),
        Table("generator", GeneratorRow),
        Table("members", MemberRow),
        Table("training", TrainingRow),
        Table("extraction", ExtractionRow),
        Table("coverage", CoverageRow),
        Table("hits", HitRow),
        Table("losses", LossRow),
        Table("canaries", CanaryRow),
        Table("inpainting", InpaintingRow),
        Table("quality", QualityRow),
        Table("samples", SampleRow),
        Table("pictures", PictureRow),
        Table("filtered", FilteredRow),
        Table("defence", DefenceRow),
        Table("privacy", PrivacyRow),
    )
}


def rows_name(model: str, table: Name) -> str:
    """Return the name of a model's table.

    >>> rows_name("n64-s0-0123456789", "losses")
    'rows/n64-s0-0123456789.losses.parquet'
    """
    return f"{ROWS}/{model}.{table}.parquet"
