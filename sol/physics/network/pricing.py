"""One collective of a step, priced on the links between its devices."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sol.physics.network import collectives
from sol.physics.network.dispatch import floor_and_estimate_s
from sol.physics.network.libraries import engine_s
from sol.physics.operators.operator import Amount, Wire
from sol.physics.operators.spread import Spread
from sol.specs.libraries import Library
from sol.specs.links import Operation, Topology
from sol.specs.parts import Count
from sol.specs.quantities import Array


class Sent(NamedTuple):
    """One collective priced: its floor and its estimate [s], and the bytes one device sends [B]."""

    floor_s: Amount
    estimate_s: Amount
    wire_bytes: Amount


def priced(wire: Wire, links: Topology, library: Library | None = None) -> Sent:
    """The price of one collective on these links, of an engine's library or of the fastest algorithm there is.

    Without a sourced latency the estimate equals the floor.
    """
    size = np.asarray(wire.message_bytes, dtype=np.float64)
    if size.size > FEW or isinstance(wire.ranks, np.ndarray) or isinstance(wire.stride, np.ndarray) or _varies(wire.spread):
        return _price_now(wire.op, size, wire.ranks, wire.stride, wire.spread, links, library)
    return _remembered(wire.op, size.tobytes(), size.shape, wire.ranks, wire.stride, wire.spread, links, library)


def _varies(spread: Spread | None) -> bool:
    return spread is not None and any(isinstance(n, np.ndarray) for n in (spread.tp, spread.ep, spread.dp))


def nothing_sent(wire: Wire, library: Library | None = None) -> Sent:
    """The price of a collective of one device."""
    del wire, library
    return Sent(0.0, 0.0, 0.0)


FEW = 256
"""Largest number of points of a message whose price is kept: the splits of one plan send the same messages many times."""


@lru_cache(maxsize=4096)
def _remembered(
    op: Operation, size: bytes, shape: tuple[int, ...], ranks: int, stride: int, spread: Spread | None, links: Topology,
    library: Library | None,
) -> Sent:  # fmt: skip
    return _price_now(op, np.frombuffer(size).reshape(shape), ranks, stride, spread, links, library)


def _price_now(
    op: Operation, size: Array, ranks: Count, stride: Count, spread: Spread | None, links: Topology, library: Library | None
) -> Sent:  # fmt: skip
    if spread is not None:
        least, likely, total = floor_and_estimate_s(size, spread, links)
        return Sent(least, np.where(np.isfinite(likely), np.maximum(likely, least), least), total)
    n, apart = (np.array(n, dtype=np.float64, ndmin=1) for n in (ranks, stride))
    least, likely = (f(op, size, n, links, apart) for f in (collectives.floor_s, collectives.estimate_s))
    if library is not None:
        own = engine_s(op, size, n, links, apart, library)
        likely = np.where(np.isfinite(own), own, likely)
    sent = sum(collectives.wire_bytes(op, size, n, links, apart), np.zeros(1))
    return Sent(least, np.where(np.isfinite(likely), np.maximum(likely, least), least), sent)
