"""Seeds: a hash of (run seed, prompt, index), so that no two prompts share noise."""

from __future__ import annotations

import hashlib
import struct

from memcore.errors import ArgumentValueError

_DOMAIN = b"memcore.seed.1"


def derive_seed(run_seed: int, prompt_id: int, index: int) -> int:
    """The seed of a prompt's ``index``-th image, in [0, 2^63).

    With one seed for all prompts, unmemorised prompts give nearly the same image and every comparison between prompts
    is wrong; a hash keeps them apart, and makes each image reproducible on its own.

    >>> derive_seed(0, 0, 0) == derive_seed(0, 0, 0) != derive_seed(0, 1, 0)
    True
    """
    for name, value in (("run_seed", run_seed), ("prompt_id", prompt_id), ("index", index)):
        if not 0 <= value < 2**63:
            raise ArgumentValueError(f"{name} must lie in [0, 2^63), got {value}")
    packed = _DOMAIN + struct.pack("<qqq", run_seed, prompt_id, index)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1
