"""A step with part of the weights or cache in host memory: two tiers, each read at its own rate. Symbols: docs/notation.

    overlapped = max( device bytes / bandwidth , flops / ceiling , host bytes / link )
    serial     = max( device bytes / bandwidth , flops / ceiling ) + host bytes / link

What lies on the host crosses the link every step it is read in; it need not pass through device memory
(a kernel may read it in place), so `overlapped` is a bound and may be a few per cent below the floor of
the same step without a host: two memories are read at once. Left out: a host that computes itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sol.physics.memory.capacity import resident_weight_bytes
from sol.physics.operators.forward_pass import step_operators
from sol.physics.operators.operator import Amount
from sol.physics.time.roofline import Times
from sol.specs.model import Model
from sol.specs.quantities import Array
from sol.specs.step import Routing, Step, Storage

EVERY_TOKEN = 2.0**40
"""A number of tokens that reads every row of the input table and touches every expert."""
FIRST = ("embedding", "experts")
"""The parts that go to the host first: a step reads only some of their bytes."""


@dataclass(frozen=True, eq=False)
class Tier:
    """One memory: bytes it `holds` [B], bytes of them a step `reads` [B], and the seconds that takes [s]."""

    holds: Array
    reads: Array
    seconds: Array


def weight_parts(model: Model, step: Step, storage: Storage, routing: Routing) -> list[tuple[Amount, Amount]]:
    """(held, read) bytes of the weights [B] in the order they go to the host: never read, input table, experts, the rest.

    A row holds the bytes that it would read with every token and every expert.
    """
    everything = Step(np.array([EVERY_TOKEN]), np.array([1.0]), np.array([0.0]), "all")
    held = step_operators(model, everything, storage, "max", "ideal")
    read = step_operators(model, step, storage, routing, "ideal")
    rows = [(h.name, h.weight_bytes, r.weight_bytes) for h, r in zip(held, read, strict=True)]
    order = [*FIRST, None]
    rows.sort(key=lambda row: order.index(row[0] if row[0] in FIRST else None))
    accounted: Amount = 0.0
    for _, bytes_held, _ in rows:
        accounted = accounted + bytes_held
    unread = np.maximum(resident_weight_bytes(model, storage) - accounted, 0.0)
    return [(unread, 0.0), *((bytes_held, bytes_read) for _, bytes_held, bytes_read in rows)]


def host_reads(parts: Sequence[tuple[Amount, Amount]], host_bytes: Array) -> Array:
    """Bytes a step reads of the first `host_bytes` of these (held, read) parts [B]; a part is read in proportion."""
    left, reads = host_bytes, 0.0 * host_bytes
    for held, read in parts:
        there = np.minimum(left, held)
        reads = reads + there * (read / np.where(np.asarray(held) > 0.0, held, 1.0))
        left = left - there
    return reads


def tiers(
    times: Times, resident_bytes: Array, host_bytes: Array, host_read_bytes: Array, memory_bytes_per_s: float, link_bytes_per_s: float
) -> tuple[Tier, Tier]:
    """The two tiers of one step: what each holds and reads, and the time of that.

    The device's time is its floor: the bytes it still reads and writes, or the FLOPs of the whole step.
    """
    moved = np.maximum(times.moved_weight_bytes + times.moved_kv_bytes - host_read_bytes, 0.0)
    memory_s = np.maximum(times.memory_s - host_read_bytes / memory_bytes_per_s, 0.0)
    return (
        Tier(resident_bytes - host_bytes, moved, np.maximum(memory_s, times.compute_s)),
        Tier(host_bytes, host_read_bytes, host_read_bytes / link_bytes_per_s),
    )
