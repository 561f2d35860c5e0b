"""Random numbers by address: every draw is a pure function of (key, purpose), never of what was drawn before.

In: 64-bit keys, one per thing that needs numbers (a queue's quarter hour, a contact). Out: uniforms, normals and
Poisson counts of the same shape. So any part of the simulated past can be made again, alone and in any order, and an
incident or a new queue changes nothing elsewhere. Keeps no state. The mixer is SplitMix64's finaliser (Steele, Lea
and Flood, 2014).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF
_TO_UNIT = 2.0**-53
#: Above this mean a Poisson count is drawn from its normal form with a skewness term: the error is below what 10⁶
#: draws could show.
_POISSON_NORMAL_FROM = 30.0


def key_of(*parts: object) -> int:
    """A 64-bit key for a name; equal on every machine and in every process."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def mix(values: Keys) -> Keys:
    """Scramble each value; a bijection on 64 bits."""
    mixed = values ^ (values >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def derive(keys: Keys, counters: NDArray[np.int64]) -> Keys:
    """Keys of children: the `counters`-th child of each key."""
    return mix(keys + counters.astype(np.uint64) * np.uint64(_GOLDEN))


def _bits(keys: Keys, purpose: int) -> Keys:
    return mix(keys + np.uint64((purpose * 0xD1342543DE82EF95 + _GOLDEN) & _MASK))


def uniforms(keys: Keys, purpose: int) -> Floats:
    """One uniform in (0, 1) per key; never 0, so that its logarithm exists."""
    return ((_bits(keys, purpose) >> np.uint64(11)).astype(np.float64) + 0.5) * _TO_UNIT


def normals(keys: Keys, purpose: int) -> Floats:
    """One standard normal per key (Box–Muller on the two halves of one draw)."""
    bits = _bits(keys, purpose)
    radius = ((bits >> np.uint64(32)).astype(np.float64) + 0.5) * 2.0**-32
    angle = (bits & np.uint64(0xFFFFFFFF)).astype(np.float64) * (2.0**-32 * 2.0 * np.pi)
    return np.asarray(np.sqrt(-2.0 * np.log(radius)) * np.cos(angle))


def exponentials(keys: Keys, purpose: int) -> Floats:
    """One exponential of mean 1 per key."""
    return np.asarray(-np.log(uniforms(keys, purpose)))


def poisson(means: Floats, keys: Keys, purpose: int) -> NDArray[np.int64]:
    """One Poisson count per key, of the mean beside it."""
    counts = np.zeros(means.shape, dtype=np.int64)
    large = means > _POISSON_NORMAL_FROM
    if large.any():
        mean, z = means[large], normals(keys[large], purpose)
        counts[large] = np.maximum(0, np.rint(mean + np.sqrt(mean) * z + (z * z - 1.0) / 6.0)).astype(np.int64)
    small = np.flatnonzero(~large & (means > 0.0))
    counts[small] = _poisson_by_inversion(means[small], uniforms(keys[small], purpose))
    return counts


def _poisson_by_inversion(means: Floats, draws: Floats) -> NDArray[np.int64]:
    counts = np.zeros(means.shape, dtype=np.int64)
    probability = np.exp(-means)
    cumulated = probability.copy()
    active = np.flatnonzero(draws > cumulated)
    step = 0
    while active.size and step < 200:  # a mean of 30 cannot reach 200 within 53 bits of uniform
        step += 1
        counts[active] = step
        probability[active] *= means[active] / step
        cumulated[active] += probability[active]
        active = active[draws[active] > cumulated[active]]
    return counts
