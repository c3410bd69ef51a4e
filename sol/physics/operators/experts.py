"""The number of distinct experts that a step touches, and the imbalance of the devices. Symbols: docs/notation.

All experts count for capacity; FLOPs follow the tokens. Skewed traffic touches fewer experts than the expectation,
never fewer than the minimum.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from statistics import NormalDist
from typing import Any

import numpy as np

from sol.specs.quantities import Array
from sol.specs.step import Routing, Shares

Amount = Array | float
ROUNDING = 1e-9
"""So near to a whole number of experts a part of them counts as whole."""


def distinct_experts(experts: int, experts_per_token: int, tokens: Array, routing: Routing, held: Amount | None = None) -> Array:
    """Distinct experts of one layer that `tokens` tokens are routed to, of the `held` ones a device has (all by default) [1].

    An even part of the experts need be no whole number of them: some are then held twice, and the tokens of one divided.

    `min`: all tokens choose the same k experts, spread evenly over the devices (the only bound). `max`:
    none shares until all are used. `expected`: held·(1 − (1 − k/E)ᵀ), tokens routed uniformly and
    independently. A number: as measured, the same part of it on every device. `Shares`: Σ 1 − (1 − πₑ)ᵀ
    over the device that touches most, of devices that hold consecutive experts. No fewer than the minimum:
    of several devices the fullest counts. For fewer than one token (an average), k·T of each.

    >>> distinct_experts(256, 8, np.array([32.0, 64.0]), "expected").round(1)
    array([163.3, 222.4])
    """
    here = experts if held is None else held
    least = np.minimum(tokens, 1.0) * (experts_per_token if held is None else -((ROUNDING - experts_per_token * held) // experts))
    if routing == "min":
        return least
    most = np.minimum(tokens * experts_per_token, here)
    if routing == "max" or experts == experts_per_token:
        return most
    if isinstance(routing, Shares):
        likely = _fullest(chances(routing, experts_per_token), tokens, here)
    elif isinstance(routing, str):
        likely = touched(experts_per_token / experts, tokens) * here
    else:
        likely = routing * (here / experts) + 0.0 * tokens
    clipped: Array = np.minimum(np.maximum(likely, least), most)
    return clipped


def fullest(devices: Amount, held: Amount, chance: float, tokens: Array) -> Array:
    """Distinct experts that the device touches which touches most, of `devices` with `held` experts each [1], expected.

    All devices wait for it. `chance`: that a token chooses an expert. The experts that a device touches are near a binomial of
    p = 1 − (1 − chance)ᵀ, of mean h·p and variance h·p·(1 − p); the largest of n such is expected z standard deviations above the mean,
    z = Φ⁻¹((n − 3/8)/(n + 1/4)) (Blom 1958), and no more than are held.

    >>> fullest(8.0, 16, 8 / 128, np.array([8.0, 256.0])).round(2)
    array([ 9.27, 16.  ])
    """
    p = touched(chance, tokens)
    found: Array = np.minimum(held * p + largest_of(devices) * np.sqrt(held * p * (1.0 - p)), held)
    return found


def largest_of(n: Amount) -> Amount:
    """The largest of n standard normal numbers, expected [1]."""
    if isinstance(n, np.ndarray):
        found = np.zeros(n.shape)
        for one in np.unique(n).tolist():
            found = np.where(n == one, largest_of(one), found)
        return found
    return NormalDist().inv_cdf((n - 0.375) / (n + 0.25)) if n > 1.0 else 0.0


def touched(chance: float, tokens: Array) -> Array:
    """1 − (1 − chance)ᵀ: the probability that an expert is chosen at all."""
    if chance >= 1.0:
        return np.where(tokens > 0.0, 1.0, 0.0)
    likely: Array = -np.expm1(tokens * np.log1p(-chance))
    return likely


@lru_cache(maxsize=64)
def chances(shares: Shares, experts_per_token: int) -> Array:
    """The chance of each expert to be among a token's k, Σ = k: k times its share, one at most [1].

        No expert can have more than 1/k of the choices, because the k experts of a token are distinct. The excess goes to the others,
    in proportion.
    """
    found = experts_per_token * shares.of_experts
    while (found > 1.0).any():
        full = found >= 1.0
        rest = shares.of_experts[~full].sum()
        found = np.where(full, 1.0, shares.of_experts * ((experts_per_token - full.sum()) / rest if rest else 0.0))
    return found


def _fullest(chance: Array, tokens: Array, held: Any) -> Array:
    """Distinct experts on the device that touches most [1]; devices hold `held` consecutive experts each."""
    if isinstance(held, np.ndarray):
        found = np.zeros(np.broadcast_shapes(tokens.shape, held.shape))
        for one in np.unique(held).tolist():
            found = np.where(held == one, _fullest(chance, tokens, one), found)
        return found
    return reduce(np.maximum, (_sum(chance[i : i + held], tokens) for i in range(0, chance.size, held)))


def _sum(chance: Array, tokens: Array) -> Array:
    total = 0.0 * tokens
    for one, times in zip(*(a.tolist() for a in np.unique(chance, return_counts=True)), strict=True):
        total = total + times * touched(one, tokens)
    return total


def imbalance(experts: int, experts_per_token: int, held: Amount, routing: Routing, given: float) -> Array:
    """How many times an even share of the tokens the experts of the fullest device get [1]: as `given`, or as the shares make it.

    1 if every device holds all experts, or a part of each.
    """
    if not isinstance(routing, Shares):
        return np.where(held == experts, 1.0, given)
    chance = chances(routing, experts_per_token)
    found = np.ones(np.shape(held))
    for one in np.unique(held).tolist():
        skew = max(chance[i : i + one].sum() for i in range(0, experts, one)) * (experts / one) / experts_per_token
        found = np.where(held == one, 1.0 if one == experts else skew, found)
    return found
