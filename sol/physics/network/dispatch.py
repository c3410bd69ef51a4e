"""What it takes to send tokens to their experts and back.

A token crosses to another box once, however many of its experts are there, and is forwarded inside over the box's own
links; what its experts made is added up inside the box and crosses back once. DeepEP does so. Each level of links
carries what its inner ones have left.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from sol.physics.network.collectives import exchange_s, placed, rate
from sol.physics.operators.operator import Amount
from sol.physics.operators.spread import Spread
from sol.specs.links import Topology
from sol.specs.quantities import Array


def level_bytes(token_bytes: Array, spread: Spread, topology: Topology) -> tuple[Array, ...]:
    """Bytes one device sends at each level, innermost first [B]; `token_bytes` is all tokens of its copy, each once [B]."""
    counts = placed(np.array(spread.devices, dtype=np.float64, ndmin=1), topology).counts
    reached = [spread.reached(u) for u in counts[:-1]] + [np.zeros(1)]
    return tuple(np.maximum(here - across, 0.0) * token_bytes for here, across in pairwise(reached))


def floor_and_estimate_s(token_bytes: Array, spread: Spread, topology: Topology) -> tuple[Array, Array, Amount]:
    """The least time of a dispatch or a combine [s], its estimate [s] and the bytes one device sends [B]."""
    ranks = np.array(spread.devices, dtype=np.float64, ndmin=1)
    at, sent = placed(ranks, topology), level_bytes(token_bytes, spread, topology)
    least = np.zeros(1)
    for link, one, (inner, outer) in zip(topology.levels, sent, pairwise(at.full), strict=True):
        least = np.maximum(least, one / rate("all_to_all", link, np.ceil(outer / inner)))
    total = sum(sent, np.zeros(1))
    return least, exchange_s("all_to_all", sent, total / np.maximum(ranks - 1.0, 1.0), at, topology), total
