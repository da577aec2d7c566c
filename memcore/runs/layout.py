"""The names of a run's files, each written once. docs/formats.md says what they hold.

A name is relative to the run's folder and uses "/", as ``memcore.storage`` takes it. A shard's task is "shard-<id>".
"""

from __future__ import annotations

from memcore.engine.launchers.slurm import FOLDER as SLURM
from memcore.engine.task import CHECKPOINTS, MANIFESTS, manifest_name
from memcore.sampling.received import RECEIVED

RUN = "run.toml"
PROMPTS = "prompts.parquet"
MATCHES = "matches.parquet"
MATCH = "match.json"
EVALUATION = "evaluation.json"
ANNOTATIONS = "annotations.sqlite"

FINDINGS = "findings"
QUARANTINE = "quarantine"
IMAGES = "images"
CONDITIONS = "conditions"
TRAINING = "training"
REPORT = "report"
REPORT_PAGE = f"{REPORT}/index.html"
REPORT_RECORD = f"{REPORT}/report.json"

#: Folders and files of a run, each after those whose content it confirms. Checkpoints are not part of it.
FOLDERS = (CONDITIONS, FINDINGS, QUARANTINE, IMAGES, RECEIVED, TRAINING, MANIFESTS)
FILES = (PROMPTS, MATCHES, MATCH, EVALUATION, RUN)

#: The digest of a run that is being fetched, in a folder that does not hold all of it yet.
FETCHING = ".fetching"

#: What a folder without a run may hold: a kill may come after these were written and before run.toml.
BEFORE_THE_START = frozenset({PROMPTS, CONDITIONS, SLURM})

__all__ = ["CHECKPOINTS", "MANIFESTS", "RECEIVED", "SLURM", "manifest_name"]

_TASK = "shard-"


def task_name(shard_id: str) -> str:
    """Return the task of a shard.

    >>> manifest_name(task_name("0000000-282d03ebc18e"))
    'manifest/shard-0000000-282d03ebc18e.json'
    """
    return f"{_TASK}{shard_id}"


def shard_id(task: str) -> str:
    """Return the id of a task's shard.

    >>> shard_id("shard-0000000-282d03ebc18e")
    '0000000-282d03ebc18e'
    """
    return task.removeprefix(_TASK)


def is_shard(task: str) -> bool:
    """Tell whether a task is a shard."""
    return task.startswith(_TASK)


def findings_name(task: str) -> str:
    """Return the name of a shard's rows."""
    return f"{FINDINGS}/{task}.parquet"


def quarantine_name(task: str) -> str:
    """Return the name of what was quarantined in a shard."""
    return f"{QUARANTINE}/{task}.parquet"


def checkpoint_name(task: str) -> str:
    """Return the name of an unfinished shard's checkpoint."""
    return f"{CHECKPOINTS}/{task}.checkpoint"


def image_name(prompt_id: int, seed: int) -> str:
    """Return the name of a generated image.

    >>> image_name(7, 123)
    'images/000007/123.png'
    """
    return f"{IMAGES}/{prompt_id:06d}/{seed}.png"


def condition_name(sha256: str) -> str:
    """Return the name of a given image or mask, by the sha256 of its pixels.

    >>> condition_name("9f86d0")
    'conditions/9f86d0.png'
    """
    return f"{CONDITIONS}/{sha256}.png"


def training_image_name(index: int) -> str:
    """Return the name of a matched training image.

    >>> training_image_name(7)
    'training/00000007.png'
    """
    return f"{TRAINING}/{index:08d}.png"
