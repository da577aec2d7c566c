"""What a study may say of its figures: curves, intervals that respect what figures share, and tests.

NumPy and scipy; scipy is imported when it is needed and is part of the extra ``study``.
"""

from memcore.study.statistics.comparisons import (
    PairedDifference,
    SignFlip,
    holm,
    paired_difference,
    ppv,
    sign_flip,
)
from memcore.study.statistics.intervals import Interval, bootstrap, clopper_pearson, t_interval
from memcore.study.statistics.roc import NOT_RESOLVED, RocCurve, auc, non_members_needed, roc, tpr_at

__all__ = [
    "NOT_RESOLVED",
    "Interval",
    "PairedDifference",
    "RocCurve",
    "SignFlip",
    "auc",
    "bootstrap",
    "clopper_pearson",
    "holm",
    "non_members_needed",
    "paired_difference",
    "ppv",
    "roc",
    "sign_flip",
    "t_interval",
    "tpr_at",
]
