"""A protocol: which data, which models, which attacks, read from one TOML file.

A protocol has named data sets, settings of the attacks, and groups. A group is a grid of factors times seeds; groups that
ask for the same model share it (``expand.py``). Every name of the file is a field of a dataclass of this module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

DataKind: TypeAlias = Literal["bundled", "fashion", "cifar10", "clip-art", "stored"]
LabelKind: TypeAlias = Literal["none", "class", "unique"]
Schedule: TypeAlias = Literal["linear", "cosine"]
Prediction: TypeAlias = Literal["epsilon", "v_prediction", "sample"]
ModelKind: TypeAlias = Literal["diffusion", "dcgan", "wgan-gp", "stylegan", "flow", "autoregressive"]
Merge: TypeAlias = Literal["none", "graph", "embeddings"]
Trainable: TypeAlias = Literal["all", "small"]
Attack: TypeAlias = Literal[
    "extraction", "membership", "inpainting", "quality", "canaries", "samples", "filter"
]


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """A data set, made square and of one size.

    ``path`` says where it is, for the kinds that need it. Its images are put into one random order, by ``seed``, and cut
    into blocks of ``block``: the models of seed s draw their training and held-out images from block s, so that the sets
    of two seeds are disjoint. 0 makes the whole set one block. ``grey`` makes one channel of three.
    """

    kind: DataKind = "fashion"
    path: str = ""
    side: int = 16
    grey: bool = False
    block: int = 4000
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Factors:
    """Everything that decides what a model is, besides its seed: the grid of a group is made of these names.

    ``n`` unique images are drawn. With ``half`` >= 0 they are a pool, of which the model gets the random half of that
    number. ``copies`` plants duplicates: pairs (images, copies), given to the first images of the set in turn;
    ``deduplicated`` trains on the same images once each. ``canaries`` images of noise are planted besides. ``folder`` names
    an unconditional model of diffusers that was trained elsewhere, on the images of the set: it is attacked as it is.

    ``model`` is the kind that is trained. ``generator`` names one of another kind that was trained elsewhere: a TorchScript
    file, or ``module:attribute`` (``models/loaded.py``). ``augment`` shows a GAN's critic augmented images.
    Defences: ``merge`` looks for duplicates in the training set and keeps one of each group. ``u_shape`` draws fewer
    timesteps in the middle (training/draws.py), ``ambient`` uses above that timestep only images to which noise was added
    once and for all. The first ``public_steps`` of the ``steps`` train on the images of the data set ``public``, the others
    on the private images; then only ``trainable`` parameters move. ``dp_epsilon`` > 0 makes the private steps those of
    DP-SGD, for that epsilon at ``dp_delta``, with gradients clipped to ``dp_clip``, each the mean over ``dp_draws`` noises
    of its image.
    """

    data: str = "images"
    n: int = 64
    half: int = -1
    folder: str = ""
    copies: tuple[tuple[int, int], ...] = ()
    deduplicated: bool = False
    canaries: int = 0
    canary_copies: int = 1
    labels: LabelKind = "none"
    flips: bool = False
    width: int = 32
    depth: int = 2
    layers: int = 1
    attention: bool = False
    unshuffle: int = 2
    steps: int = 1000
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    warmup: float = 0.05
    ema: float = 0.995
    schedule: Schedule = "linear"
    prediction: Prediction = "epsilon"
    timesteps: int = 1000
    model: ModelKind = "diffusion"
    generator: str = ""
    augment: bool = True
    merge: Merge = "none"
    u_shape: float = 0.0
    ambient: int = 0
    public: str = ""
    public_steps: int = 0
    trainable: Trainable = "all"
    dp_epsilon: float = 0.0
    dp_delta: float = 1e-4
    dp_clip: float = 1.0
    dp_draws: int = 1


#: Factors that say what kind of model it is.
KINDS = ("model", "generator", "augment")
#: Factors that are defences.
DEFENCES = (
    "merge",
    "u_shape",
    "ambient",
    "public",
    "public_steps",
    "trainable",
    "dp_epsilon",
    "dp_delta",
    "dp_clip",
    "dp_draws",
)
#: Factors that are no part of what a model is while they have their default: models from before they existed keep their ids.
LATER = (*KINDS, *DEFENCES)


def describe_factors(factors: Factors) -> dict[str, Any]:
    """Return all factors but later ones that have their default: what a model's id and its saved states are made of.

    >>> "merge" in describe_factors(Factors()), "merge" in describe_factors(Factors(merge="graph"))
    (False, True)
    """
    plain = Factors()
    told = dataclasses.asdict(factors)
    return {name: value for name, value in told.items() if name not in LATER or value != getattr(plain, name)}


@dataclasses.dataclass(frozen=True)
class FilterSpec:
    """The output filter: its distance is the largest that refuses at most ``refused`` of the calibration images."""

    refused: float = 0.01


@dataclasses.dataclass(frozen=True)
class ExtractionSpec:
    """``samples`` images at each checkpoint in ``steps`` DDIM steps; ``keep`` of them and of the nearest hits are stored."""

    samples: int = 512
    steps: int = 20
    keep: int = 64
    neighbours: int = 50
    held_out_rate: float = 0.001


@dataclasses.dataclass(frozen=True)
class MembershipSpec:
    """Losses at each of ``timesteps``, over ``draws`` noises of ``seed``; with ``flips`` of mirrored images too."""

    timesteps: tuple[int, ...] = (50,)
    draws: int = 4
    flips: bool = False
    seed: int = 7


@dataclasses.dataclass(frozen=True)
class InpaintingSpec:
    """Up to ``images`` members and as many others, each inpainted ``tries`` times in ``steps`` steps."""

    images: int = 64
    tries: int = 16
    steps: int = 20
    seed: int = 11


@dataclasses.dataclass(frozen=True)
class QualitySpec:
    """The Frechet distance: of the first ``samples``, by a network trained ``steps`` steps on images that no model sees."""

    steps: int = 600
    batch: int = 64
    features: int = 64
    samples: int = 512
    seed: int = 3


@dataclasses.dataclass(frozen=True)
class CanarySpec:
    """Candidates that a canary's loss is ranked among, and where the loss is taken."""

    candidates: int = 1024
    timestep: int = 50
    draws: int = 4


@dataclasses.dataclass(frozen=True)
class Group:
    """Models that belong together: ``fixed`` factors, a ``grid`` of others, times ``seeds``, and what is asked of them.

    ``checkpoints`` are the steps at which samples are drawn; the last step always is one. ``findings`` are the letters that
    read the group. ``defence`` is what a trade's table and plot call its models, "undefended" those it is compared with.
    """

    name: str
    findings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    checkpoints: tuple[int, ...] = ()
    attacks: tuple[Attack, ...] = ("extraction",)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    grid: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    defence: str = ""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A study: its data sets by name, its groups, and the settings of its attacks."""

    name: str
    about: str
    data: Mapping[str, DataSpec]
    groups: tuple[Group, ...]
    extraction: ExtractionSpec = ExtractionSpec()
    membership: MembershipSpec = MembershipSpec()
    inpainting: InpaintingSpec = InpaintingSpec()
    quality: QualitySpec = QualitySpec()
    canaries: CanarySpec = CanarySpec()
    filter: FilterSpec = FilterSpec()
    #: Where models are trained: "cpu", or "cuda".
    device: str = "cpu"
    #: Steps between two checkpoints of a training: what a kill costs at most.
    interval: int = 250


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """One model of a protocol. ``id`` names its files; it depends on the factors, the data and the seed alone.

    ``checkpoints`` and ``attacks`` are the union of what the ``groups`` that share the model ask for.
    """

    id: str
    groups: tuple[str, ...]
    seed: int
    factors: Factors
    checkpoints: tuple[int, ...]
    attacks: tuple[Attack, ...]
