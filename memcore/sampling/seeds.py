"""Seeds: a hash of (run seed, prompt, index), so that no two prompts share noise."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.errors import ArgumentValueError

_DOMAIN = b"memcore.seed.1"
_LARGEST = 2**63 - 1
#: Bits of a seed, unless a sampler declares fewer by ``seed_bits``.
SEED_BITS = 63


def derive_seed(run_seed: int, prompt_id: int, index: int) -> int:
    """Return the seed of a prompt's ``index``-th image, in [0, 2^63).

    With one seed for all prompts, unmemorised prompts give nearly the same image and every comparison between prompts
    is wrong; a hash keeps them apart, and makes each image reproducible on its own.

    Raises ArgumentTypeError or ArgumentValueError unless all three are integers in [0, 2^63).

    >>> derive_seed(0, 0, 0) == derive_seed(0, 0, 0) != derive_seed(0, 1, 0)
    True
    """
    for name, value in (("run_seed", run_seed), ("prompt_id", prompt_id), ("index", index)):
        arrays.check_count(value, name, 0, _LARGEST)
    packed = _DOMAIN + struct.pack("<qqq", run_seed, prompt_id, index)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


def derive_seeds(
    run_seed: int, prompt_id: int, count: int, start: int = 0, *, bits: int = SEED_BITS
) -> NDArray[np.int64]:
    """Return (count,) int64: the seeds of a prompt's images ``start`` to ``start + count - 1``, as of ``derive_seed``.

    Seeds of fewer ``bits`` lie in [0, 2^bits). They are steps of an odd number from a start, both by hash of run and
    prompt, so that no two images of a prompt have the same one; images of different prompts may.
    Raises ArgumentValueError for more images of a prompt than there are seeds.

    >>> bool((derive_seeds(7, 3, 5)[2:] == derive_seeds(7, 3, 3, start=2)).all())
    True
    """
    for name, value in (("run_seed", run_seed), ("prompt_id", prompt_id), ("start", start)):
        arrays.check_count(value, name, 0, _LARGEST)
    count = arrays.check_count(count, "count", 0, _LARGEST - start)
    if bits != SEED_BITS:
        return _narrow_seeds(run_seed, prompt_id, count, start, bits)
    common = hashlib.blake2b(_DOMAIN + struct.pack("<qq", run_seed, prompt_id), digest_size=8)
    digests = bytearray()
    for index in range(start, start + count):  # a cheap sampler waits for this loop
        one = common.copy()
        one.update(index.to_bytes(8, "little"))
        digests += one.digest()
    return (np.frombuffer(digests, "<u8") >> np.uint64(1)).astype(np.int64)


def sampler_seed_bits(sampler: object) -> int:
    """Return the bits of the seeds that a sampler takes: its ``seed_bits``, or 63 if it declares none.

    Raises ArgumentTypeError or ArgumentValueError unless they are an integer in [1, 63].
    """
    return arrays.check_count(getattr(sampler, "seed_bits", SEED_BITS), "seed_bits", 1, SEED_BITS)


def _narrow_seeds(run_seed: int, prompt_id: int, count: int, start: int, bits: int) -> NDArray[np.int64]:
    bits = arrays.check_count(bits, "bits", 1, SEED_BITS)
    if start + count > 2**bits:
        raise ArgumentValueError(
            f"a prompt has {start + count} images, but seeds of {bits} bits are {2**bits}: ask for fewer generations, or "
            "declare more seed_bits"
        )
    packed = _DOMAIN + struct.pack("<qqq", run_seed, prompt_id, -bits)  # no image has a negative index
    first, step = struct.unpack("<QQ", hashlib.blake2b(packed, digest_size=16).digest())
    with np.errstate(over="ignore"):  # modulo 2^64, of which 2^bits is a divisor
        steps = np.arange(start, start + count, dtype=np.uint64) * np.uint64(step | 1) + np.uint64(first)
    return (steps & np.uint64(2**bits - 1)).astype(np.int64)
