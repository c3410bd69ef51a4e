"""A step whose weights or cache lie partly in host memory: two memories, two ways to use the second, and their bound.

    bound    = max( device bytes / bandwidth , FLOPs / ceilings , host bytes / DRAM bandwidth , activations / link )
    streamed = max( device bytes / bandwidth , FLOPs / ceiling  , host bytes / link , host bytes / DRAM bandwidth )
    computed = max( device bytes / bandwidth , its FLOPs / ceiling , host bytes / DRAM bandwidth , activations / link )

What lies on the host is read from its DRAM once a step, whoever computes with it: that is the bound. To send it over the
link is one placement, to let the host compute with it another; there the link carries activations only. Every maximum
is a sum where the parts take turns, layer by layer. What is streamed need not pass through device memory (a kernel may
read it in place), so a step may be a few per cent below the floor without a host: two memories are read at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sol.physics.memory.capacity import resident_weight_bytes
from sol.physics.operators.forward_pass import step_operators
from sol.physics.operators.operator import ACT_BYTES, Amount
from sol.physics.time.roofline import Priced, Times
from sol.specs.model import Model
from sol.specs.quantities import Array
from sol.specs.step import Step, Storage

EVERY_TOKEN = 2.0**40
"""Tokens enough to read every row of the input table and to touch every expert."""
EXPERTS = "experts"
FIRST = ("embedding", EXPERTS)
"""What goes to the host first: parts of which a step reads only some."""
NARROWEST_SENT = 1.0
"""Bytes of an activation on the link in the bound: 8 bits."""


class Part(NamedTuple):
    """A part of weights or cache: bytes it `holds` and a step `reads` [B], its FLOPs, and the device's seconds for these [s]."""

    name: str
    holds: Amount
    reads: Amount
    flops: Amount = 0.0
    compute_s: Amount = 0.0


class Host(NamedTuple):
    """The second memory: its DRAM's bandwidth [B/s] and the fastest it may compute [FLOP/s]; None where not known."""

    bytes_per_s: float | None = None
    flops_per_s: float | None = None


@dataclass(frozen=True, eq=False)
class Hosted:
    """What lies on the host: as a `Part`; the `visits` a step pays it [1], and the bytes of one sending of all activations [B].

    Activations of all tokens go there and come back once a visit: a run of layers, or the experts of one layer.
    """

    holds: Array
    reads: Array
    flops: Array
    compute_s: Array
    visits: Array
    activations: Array


@dataclass(frozen=True, eq=False)
class Placement:
    """One way to use what lies on the host [s]: the parts, all at once, and one after the other."""

    device_s: Array
    host_s: Array | None
    link_s: Array
    link_bytes: Array
    overlapped_s: Array
    serial_s: Array


@dataclass(frozen=True, eq=False)
class TieredTimes:
    """The bound [s], the terms it is the maximum of, and the placements; `computed` None without a host that is known."""

    bound_s: Array
    terms: dict[str, Array]
    memory_s: Array
    device_reads: Array
    streamed: Placement
    computed: Placement | None


def weight_parts(model: Model, step: Step, storage: Storage, priced: Priced) -> list[Part]:
    """The parts of the weights in the order they go to the host: never read, input table, experts, the rest.

    A row holds the bytes that it would read with every token and every expert.
    """
    everything = Step(np.array([EVERY_TOKEN]), np.array([1.0]), np.array([0.0]), "all")
    held = step_operators(model, everything, storage, "max", "ideal")
    rows = [Part(h.name, h.weight_bytes, r.weight_bytes, r.flops, times.compute_s) for h, (r, times) in zip(held, priced, strict=True)]
    rows = [row for row in rows if np.any(row.holds)]
    order = [*FIRST, None]
    rows.sort(key=lambda row: order.index(row.name if row.name in FIRST else None))
    accounted: Amount = 0.0
    for row in rows:
        accounted = accounted + row.holds
    unread = np.maximum(resident_weight_bytes(model, storage) - accounted, 0.0)
    return [Part("unread", unread, 0.0), *rows]


def cache_part(holds: Amount, reads: Amount, priced: Priced) -> Part:
    """The cache: what a step computes with it and with no weights."""
    own = [(op, times) for op, times in priced if not np.any(op.weight_bytes)]
    flops, compute_s = sum(op.flops for op, _ in own), sum(times.compute_s for _, times in own)
    return Part("cache", holds, reads, flops, compute_s)


def in_order(parts: Sequence[Part], host_bytes: Array) -> list[Array]:
    """The share of each part among the first `host_bytes` of all [1]."""
    left, shares = host_bytes, []
    for part in parts:
        there = np.minimum(left, part.holds)
        shares.append(there / np.where(np.asarray(part.holds) > 0.0, part.holds, 1.0))
        left = left - there
    return shares


def chosen(parts: Sequence[Part], shares: Sequence[Array], most: bool) -> list[Array]:
    """These shares of what a step reads, with the experts that tokens choose being the host's as often as can be (`most`), or as seldom.

    Of experts the device holds a share of, every layer may have enough there: max(0, reads − held there) is all the host must read.
    """

    def of(part: Part, share: Array) -> Array:
        if part.name != EXPERTS:
            return share
        reads = np.where(np.asarray(part.reads) > 0.0, part.reads, 1.0)
        held = (share if most else 1.0 - share) * part.holds
        part_chosen = np.minimum(held / reads, 1.0)
        return part_chosen if most else 1.0 - part_chosen

    return [of(part, share) for part, share in zip(parts, shares, strict=True)]


def hosted(parts: Sequence[Part], shares: Sequence[Array], host_bytes: Array, expert_layers: int, activations: Array) -> Hosted:
    """These shares of the parts; a part is read, and computed with, in proportion.

    Visits are the fewest: one run of layers, and the experts of as many other layers as their share is.
    """

    def there(name: str) -> Any:
        return sum((share * getattr(part, name) for part, share in zip(parts, shares, strict=True)), 0.0 * host_bytes)

    def share_of(names: Sequence[str], inside: bool) -> Any:
        chosen = [(p.holds, s * p.holds) for p, s in zip(parts, shares, strict=True) if (p.name in names) is inside]
        held, away = (sum(np.asarray(pair[i]) for pair in chosen) if chosen else np.zeros(1) for i in (0, 1))
        return away / np.where(held > 0.0, held, 1.0)

    reads = there("reads")
    alone = share_of((EXPERTS,), True) * (1.0 - share_of((*FIRST, "unread", "cache"), False)) * expert_layers
    visits = np.where(reads > 0.0, np.maximum(np.ceil(alone - 1e-9), 1.0), 0.0)
    return Hosted(host_bytes, reads, there("flops"), there("compute_s"), visits, activations + 0.0 * host_bytes)


def activations(model: Model, tokens: Array) -> Array:
    """Bytes of all tokens' activations between two layers, in 16 bits [B]."""
    return tokens * (model.hidden * ACT_BYTES)


def tiered(
    times: Times, away: Hosted, memory_bytes_per_s: float, link_bytes_per_s: float, host: Host, least: Hosted, most: Hosted
) -> TieredTimes:
    """The bound of a step with `away` on the host, and the times of its placements.

    Where it is not settled which memory a byte is read from, the host reads between `least` and `most`; else both are `away`.
    """
    moved = times.moved_weight_bytes + times.moved_kv_bytes

    def device(there: Hosted) -> Any:
        return np.maximum(times.memory_s - there.reads / memory_bytes_per_s, 0.0), np.maximum(times.compute_s - there.compute_s, 0.0)

    memory_s, own_s = device(away)
    over_link = away.reads / link_bytes_per_s
    dram_s = None if host.bytes_per_s is None else away.reads / host.bytes_per_s
    fetched = over_link if dram_s is None else np.maximum(over_link, dram_s)
    streamed = _placement(np.maximum(memory_s, times.compute_s), dram_s, over_link, away.reads, fetched, fetched)
    left = np.maximum(moved - away.reads, 0.0)
    least_memory_s, compute_s = device(most)
    computed, terms = None, {}
    if dram_s is not None and host.bytes_per_s is not None:
        host_s = dram_s
        if host.flops_per_s is not None:  # in the bound device and host may both compute what lies there, at once
            host_s, own_flops_s = np.maximum(dram_s, away.flops / host.flops_per_s), most.flops / host.flops_per_s
            both = own_flops_s + most.compute_s
            compute_s = np.maximum(compute_s, times.compute_s * own_flops_s / np.where(both > 0.0, both, 1.0))
        each_way = away.visits * away.activations / link_bytes_per_s
        computed = _placement(
            np.maximum(memory_s, own_s), host_s, 2.0 * each_way, 2.0 * away.visits * away.activations,
            np.maximum(host_s, each_way), host_s + 2.0 * each_way,
        )  # fmt: skip
        sent = np.minimum(np.minimum(away.activations * (NARROWEST_SENT / ACT_BYTES), least.reads), np.maximum(moved - most.reads, 0.0))
        terms = {"host": least.reads / host.bytes_per_s, "link": sent / link_bytes_per_s}
        if most is not least:  # neither memory need be the fuller one: all bytes at both rates
            terms["host"] = np.maximum(terms["host"], moved / (memory_bytes_per_s + host.bytes_per_s))
    terms = {"memory": least_memory_s, "compute": compute_s, **terms}
    bound_s = np.maximum(least_memory_s, compute_s)
    for term in terms.values():
        bound_s = np.maximum(bound_s, term)
    return TieredTimes(bound_s, terms, memory_s, left, streamed, computed)


def _placement(device_s: Array, host_s: Array | None, link_s: Array, link_bytes: Array, beside: Array, after: Array) -> Placement:
    """`beside` and `after`: what the host's part takes while the device works, and when the device waits for it."""
    return Placement(device_s, host_s, link_s, link_bytes, np.maximum(device_s, beside), device_s + after)
