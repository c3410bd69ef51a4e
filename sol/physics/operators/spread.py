"""How far the experts of a token are: the devices and the boxes its activations must reach, each of them once."""

from __future__ import annotations

from functools import lru_cache
from math import comb, exp, lgamma
from typing import NamedTuple

import numpy as np

from sol.specs.parts import Count
from sol.specs.quantities import Array


class Spread(NamedTuple):
    """Where the experts are that a token may choose, and how it chooses them.

    `experts` in `groups` of which a token chooses `groups_per_token`, and `experts_per_token` inside those; laid in order over
    `ep` parts of tp·dp devices. `nearest`: a token's experts are as near to it as they can be, else chosen uniformly.
    """

    experts: int
    experts_per_token: int
    groups: int
    groups_per_token: int
    tp: Count
    ep: Count
    dp: Count
    nearest: bool

    @property
    def devices(self) -> Count:
        """Devices that exchange tokens [1]."""
        return self.tp * self.dp

    def reached(self, places: Array) -> Array:
        """Of `places` with equal parts of the devices, those outside its own that a token must reach: by each of the tp that share it [1].

            uniform:  (u − own)·P(some expert of the token in one place) / tp
            nearest:  max( ⌈places its experts need⌉ − own , 0 ) / tp

        256 experts, 8 a token, one device an expert part: 4.633 of 8 devices; 3.175 where a token chooses 4 of 8 groups.

        >>> round(Spread(256, 8, 1, 1, 1, 8, 8, False).reached(np.array([8.0])).item(), 3)
        4.633
        >>> round(Spread(256, 8, 8, 4, 1, 8, 8, False).reached(np.array([8.0])).item(), 3)
        3.175
        """
        own = np.maximum(places / self.dp, 1.0)
        if self.nearest:
            parts = -(-self.experts_per_token * self.ep // self.experts)
            needed = np.where(places >= self.ep, parts * places / self.ep, np.ceil(parts * places / self.ep))
            least: Array = np.maximum(needed - own, 0.0) / self.tp
            return least
        held = self.experts * np.maximum(1.0 / places, 1.0 / np.asarray(self.ep, dtype=np.float64))
        choice = self.experts, self.experts_per_token, self.groups, self.groups_per_token
        chance = np.array([chosen(*choice, m) for m in held.reshape(-1).tolist()])
        found: Array = (places - own) * chance.reshape(held.shape) / self.tp
        return found


@lru_cache(maxsize=4096)
def chosen(experts: int, experts_per_token: int, groups: int, groups_per_token: int, held: float) -> float:
    """The chance that a token chooses at least one of `held` experts that lie side by side [1].

        1 − C(E − m, k) / C(E, k) ,   inside the groups chosen:  Σⱼ P(j of the groups here are chosen)·(1 − C(K − j·s, k) / C(K, k))

    with s experts a group and K = s·(groups a token). Four boxes of two groups each, 8 experts in 4 of 8 groups: 0.732.
    """
    if groups == groups_per_token:
        return 1.0 - _missed(experts, experts_per_token, held)
    size = experts / groups
    among = size * groups_per_token
    if held <= size:
        return groups_per_token / groups * (1.0 - _missed(among, experts_per_token, held))
    here = int(held // size)  # whole groups: a part of another one would only add to the chance
    return sum(
        _choose(here, j) * _choose(groups - here, groups_per_token - j) / _choose(groups, groups_per_token)
        * (1.0 - _missed(among, experts_per_token, j * size))
        for j in range(max(0, groups_per_token - (groups - here)), min(here, groups_per_token) + 1)
    )  # fmt: skip


def _missed(experts: float, chosen: int, held: float) -> float:
    """C(E − m, k) / C(E, k): the chance that none of m experts is among the k chosen."""
    return _choose(experts - held, chosen) / _choose(experts, chosen)


def _choose(n: float, k: int) -> float:
    """n over k, of parts of experts too."""
    if n < k:
        return 0.0
    if float(n).is_integer():
        return float(comb(int(n), k))
    return exp(lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0))
