"""Seeds: for each prompt a sequence of its own, by a hash of run seed and prompt, so that no two prompts share noise."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.errors import ArgumentValueError

_DOMAIN = b"memcore.seed.1"
_LARGEST = 2**63 - 1
#: Bits of a seed, unless a sampler declares others by ``seed_bits``: as many as a float64 holds, and so JavaScript, and
#: pandas in a column with nulls.
SEED_BITS = 53
#: The most that a sampler may declare. Runs before format 3 had seeds of this many bits.
MOST_SEED_BITS = 63


def derive_seed(run_seed: int, prompt_id: int, index: int, *, bits: int = SEED_BITS) -> int:
    """Return the seed of a prompt's ``index``-th image, in [0, 2^bits).

    With one seed for all prompts, unmemorised prompts give nearly the same image and every comparison between prompts
    is wrong; a hash keeps them apart, and makes each image reproducible on its own.

    Raises ArgumentTypeError or ArgumentValueError unless all are integers, the first three in [0, 2^63).

    >>> derive_seed(0, 0, 0) == derive_seed(0, 0, 0) != derive_seed(0, 1, 0)
    True
    """
    index = arrays.check_count(index, "index", 0, _LARGEST - 1)
    return int(derive_seeds(run_seed, prompt_id, 1, index, bits=bits)[0])


def derive_seeds(
    run_seed: int, prompt_id: int, count: int, start: int = 0, *, bits: int = SEED_BITS
) -> NDArray[np.int64]:
    """Return (count,) int64: the seeds of a prompt's images ``start`` to ``start + count - 1``, in [0, 2^bits).

    They are steps of an odd number from a start, both by hash of run and prompt. So no two images of a prompt have the same
    seed, not even where a generator reads only its lower bits, as torch's on a CPU reads 32. Images of different
    prompts may share one. With 63 bits, as in runs before format 3, each seed is a hash of its own.
    Raises ArgumentValueError for more images of a prompt than there are seeds.

    >>> bool((derive_seeds(7, 3, 5)[2:] == derive_seeds(7, 3, 3, start=2)).all())
    True
    """
    for name, value in (("run_seed", run_seed), ("prompt_id", prompt_id), ("start", start)):
        arrays.check_count(value, name, 0, _LARGEST)
    count = arrays.check_count(count, "count", 0, _LARGEST - start)
    bits = arrays.check_count(bits, "bits", 1, MOST_SEED_BITS)
    if bits == MOST_SEED_BITS:
        return _hashed_seeds(run_seed, prompt_id, count, start)
    if start + count > 2**bits:
        raise ArgumentValueError(
            f"a prompt has {start + count} images, but seeds of {bits} bits are {2**bits}: ask for fewer generations, or "
            "declare more seed_bits"
        )
    packed = _DOMAIN + struct.pack("<qqq", run_seed, prompt_id, -bits)  # no image has a negative index
    first, step = struct.unpack("<QQ", hashlib.blake2b(packed, digest_size=16).digest())
    # Arrays wrap modulo 2^64, of which 2^bits is a divisor.
    steps = np.arange(start, start + count, dtype=np.uint64) * np.uint64(step | 1) + np.uint64(first)
    return (steps & np.uint64(2**bits - 1)).astype(np.int64)


def sampler_seed_bits(sampler: object) -> int:
    """Return the bits of the seeds that a sampler takes: its ``seed_bits``, or 53 if it declares none.

    Raises ArgumentTypeError or ArgumentValueError unless they are an integer in [1, 63].
    """
    return arrays.check_count(getattr(sampler, "seed_bits", SEED_BITS), "seed_bits", 1, MOST_SEED_BITS)


def _hashed_seeds(run_seed: int, prompt_id: int, count: int, start: int) -> NDArray[np.int64]:
    common = hashlib.blake2b(_DOMAIN + struct.pack("<qq", run_seed, prompt_id), digest_size=8)
    digests = bytearray()
    for index in range(start, start + count):
        one = common.copy()
        one.update(index.to_bytes(8, "little"))
        digests += one.digest()
    return (np.frombuffer(digests, "<u8") >> np.uint64(1)).astype(np.int64)
