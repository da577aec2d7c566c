"""An output filter for a model that is in use: it withholds images that are copies of training images, exactly.

``OutputFilter`` compares images with an index of the training set, ``OutputFilter.choose_delta`` says how near is too near,
and ``GuardedSampler`` lets the guarded model be audited.
"""

from memcore.guard.decision import Counts, Decision, Verdict
from memcore.guard.delta import ChosenDelta
from memcore.guard.output_filter import OutputFilter
from memcore.guard.sampler import GuardedSampler

__all__ = ["ChosenDelta", "Counts", "Decision", "GuardedSampler", "OutputFilter", "Verdict"]
