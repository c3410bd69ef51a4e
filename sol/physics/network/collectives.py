"""What a collective costs: bytes on the wire, the floor they set, and the time of each algorithm.

A collective is data: a multiple of its bytes over the rate of a link, and a count of that link's
latencies. S is the larger of the send and the receive buffer of one rank, n the ranks, β one
direction of a link (docs/notation). Across levels of links each level carries what the inner levels leave. Floors
have no latency, use the full rate, and assume no algorithm. Links are full duplex and memory traffic is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sol.specs.links import LinkType, Operation, Topology
from sol.specs.quantities import Array

ONE = np.ones(1)
FLAGGED = {"_ll": 2.0, "": 1.0}
"""Bytes on the wire per byte of data: the low-latency protocol sends a flag with every word."""
FLAGGED_PEER_BYTES = 16_384.0
"""Largest message per peer for which a library uses that protocol between pairs [B]."""


class Placed(NamedTuple):
    """Where ranks are [1], level by level: `counts`, the domains they spread over (the ranks themselves first, 1 for the whole last);
    `full`, the ranks inside one full domain (1 first, all last). Domains are filled one after the other."""

    counts: tuple[Array, ...]
    full: tuple[Array, ...]


def placed(ranks: Array, topology: Topology, stride: Array = ONE) -> Placed:
    """Where ranks are; `stride`: devices from one rank of the group to the next (8 where a box holds one rank of each group)."""
    counts, full = [ranks], [np.ones_like(ranks)]
    for link in topology.levels[:-1]:
        room = np.maximum(np.floor((link.domain or np.inf) / stride), 1.0)
        counts.append(np.minimum(np.maximum(np.ceil(ranks / room), 1.0), counts[-1]))
        full.append(np.maximum(np.minimum(room, ranks), full[-1]))
    return Placed((*counts, np.ones_like(ranks)), (*full, ranks))


def wire_bytes(op: Operation, message_bytes: Array, ranks: Array, topology: Topology, stride: Array = ONE) -> tuple[Array, ...]:
    """Bytes one rank must send at each level, innermost first [B], the larger of egress and ingress.

    With n ranks side by side at a level and m inside each of them: an all-reduce S/m where the switch
    adds, else 2(n−1)/n·S/m; an all-gather or a reduce-scatter (n−1)/n·S/m; an all-to-all what goes to
    those farther away that this level joins, (M−m)/N·S of N ranks in all with M inside the next level; a send S, at the
    outermost level in use. Of boxes filled one after the other the full ones count: their ranks share what crosses.
    """
    counts, full = placed(ranks, topology, stride)
    found = []
    for level, link in enumerate(topology.levels):
        inside, outside = full[level], counts[level + 1]
        n = np.ceil(full[level + 1] / inside)
        if op == "all_reduce":
            twice = 2.0 * (n - 1.0) / n
            share = (np.minimum(twice, 1.0) if link.reduces_in_network else twice) / inside
        elif op == "all_to_all":
            share = (full[level + 1] - inside) / ranks
        elif op == "send":
            share = np.where((n > 1.0) & (outside <= 1.0), 1.0, 0.0)
        else:
            share = (n - 1.0) / n / inside
        found.append(share * message_bytes)
    return tuple(found)


def floor_s(op: Operation, message_bytes: Array, ranks: Array, topology: Topology, stride: Array = ONE) -> Array:
    """The least time of a collective [s]: the slowest level, each at its peak rate, all at once. No latency enters."""
    full, sent = placed(ranks, topology, stride).full, wire_bytes(op, message_bytes, ranks, topology, stride)
    beside = [np.ceil(outer / inner) for inner, outer in pairwise(full)]
    times = [b / rate(op, link, n) for b, link, n in zip(sent, topology.levels, beside, strict=True)]
    return reduce(np.maximum, times)


def rate(op: Operation, link: LinkType, n: Array) -> Array | float:
    """One direction of a link for one of n ranks side by side [B/s]: in a mesh, the pairs it has among them; a send has one."""
    if not link.joins_pairs or link.pair_bytes_per_s is None:
        return link.per_direction_bytes_per_s
    pairs = ONE if op == "send" else np.maximum(n - 1.0, 1.0)
    return np.minimum(link.per_direction_bytes_per_s, pairs * link.pair_bytes_per_s)


def _reached(op: Operation, link: LinkType, n: Array, kind: str = "ring") -> Array | float:
    """The rate that a large message reaches on a link [B/s]: the sourced share of the full rate, and of a pair's rate if known."""
    known, full = link.reached_bytes_per_s, link.per_direction_bytes_per_s
    pair = known.get("ring_pair") if kind == "ring" else None
    share = known.get(kind, full) / full if pair is None else np.where(n <= 2.0, pair / full, known.get(kind, full) / full)
    if link.switched or link.pair_bytes_per_s is None:
        return share * full
    return share * np.minimum(full, (ONE if op == "send" else np.maximum(n - 1.0, 1.0)) * link.pair_bytes_per_s)


def estimates(op: Operation, message_bytes: Array, ranks: Array, topology: Topology, stride: Array = ONE) -> dict[str, Array]:
    """Time by algorithm [s]; infinite if the links do not support it or have no sourced latency.

    `ring` and `tree` cross all levels in one chain, `_ll` by the low-latency protocol; `pairwise` and `send` alike.
    `one_shot` (n−1)·S/β + α, `two_shot` 2(n−1)/n·S/β + 2α and `in_switch` (n+1)/n·S/β + 2α are one kernel, α its
    exchange (in place of 2α what was measured, where it was); `nvls` is a library's in-switch all-reduce.
    `hierarchical` is a reduce-scatter inside, an all-reduce across, an all-gather inside, each the fastest there is.
    """
    algorithms: dict[str, Callable[..., Array]] = {}
    for suffix in FLAGGED:
        if op == "send":
            algorithms[f"send{suffix}"] = _send
        elif op == "all_to_all":
            algorithms[f"pairwise{suffix}"] = _pairwise
        else:
            algorithms[f"ring{suffix}"] = _ring
        if op == "all_reduce":
            algorithms[f"tree{suffix}"] = _tree
    if op == "all_reduce":
        algorithms |= dict.fromkeys(KERNELS, _kernel)
    if len(topology.levels) > 1 and op in ("all_reduce", "all_gather", "reduce_scatter"):
        algorithms["hierarchical"] = _hierarchical
    at = placed(ranks, topology, stride)
    return {
        name: np.where(ranks > 1.0, run(op, name, message_bytes, at, topology), 0.0 * message_bytes)
        for name, run in algorithms.items()
    }  # fmt: skip


def estimate_s(op: Operation, message_bytes: Array, ranks: Array, topology: Topology, stride: Array = ONE) -> Array:
    """The time of the fastest algorithm [s]; infinite without a sourced latency."""
    return reduce(np.minimum, estimates(op, message_bytes, ranks, topology, stride).values())


def _levels(at: Placed, topology: Topology) -> list[tuple[LinkType, Array, Array, Array]]:
    """Each level's link, ranks side by side, ranks inside each of them, and units outside; full boxes count."""
    inside = zip(topology.levels, pairwise(at.full), at.counts[1:], strict=True)
    return [(link, np.ceil(outer / inner), inner, outside) for link, (inner, outer), outside in inside]


def _latency(link: LinkType, key: str, times: Array, used: NDArray[np.bool_]) -> Array:
    """`times` of one latency where the level is used, nothing elsewhere; infinite where no source has it."""
    return np.where(used, np.where(used, times, 1.0) * link.alpha_s.get(key, np.inf), 0.0)


def _chain(op: Operation, name: str, at: Placed, topology: Topology, turns: float) -> Array:
    """The latency of a ring through all ranks: once the constant of the outermost link in use, then each step at its own link's."""
    total: Array = np.zeros(1)
    for k, (link, n, _, outside) in enumerate(_levels(at, topology)):
        used = n > 1.0
        total = total + _latency(link, name, ONE, used & (outside <= 1.0))
        total = total + _latency(link, f"{name}_step", turns * (at.counts[k] - at.counts[k + 1]), used)
    return total


def _narrowest(op: Operation, suffix: str, at: Placed, topology: Topology) -> Array:
    """The rate of a ring through all ranks [B/s of data]: as many rings as a box has ranks cross between boxes."""
    rate: Array = np.full(1, np.inf)
    for link, n, inside, _ in _levels(at, topology):
        reached = inside * _reached(op, link, n) / FLAGGED[suffix]
        if suffix and link.low_latency_bytes_per_s is not None:
            reached = np.minimum(reached, link.low_latency_bytes_per_s)
        rate = np.minimum(rate, np.where(n > 1.0, reached, np.inf))
    return rate


def _ring(op: Operation, name: str, message_bytes: Array, at: Placed, topology: Topology) -> Array:
    turns, n, suffix = (2.0 if op == "all_reduce" else 1.0), at.counts[0], name.removeprefix("ring")
    sent = turns * (n - 1.0) / n * message_bytes
    return _chain(op, name, at, topology, turns) + _piped(sent / _narrowest(op, suffix, at, topology), suffix, at, topology)


def _piped(seconds: Array, suffix: str, at: Placed, topology: Topology) -> Array:
    """The bytes of a ring in pieces, whose own time is that of the outermost link in use; the low-latency protocol has none."""
    total = seconds
    for link, n, _, outside in _levels(at, topology):
        if not suffix and "ring_piece" in link.alpha_s:
            total = np.where((n > 1.0) & (outside <= 1.0), _in_pieces(seconds, link, "ring_piece"), total)
    return total


def _tree(op: Operation, name: str, message_bytes: Array, at: Placed, topology: Topology) -> Array:
    """Chains inside, a binary tree at the outermost level, up and down: 2·S/β."""
    suffix = name.removeprefix("tree")
    total: Array = np.zeros(1)
    for link, n, _, outside in _levels(at, topology):
        used, last = n > 1.0, outside <= 1.0
        total = total + _latency(link, name, ONE, used & last)
        total = total + _latency(link, f"{name}_step", 2.0 * np.ceil(np.log2(n)), used & last)
        total = total + _latency(link, f"ring{suffix}_step", 2.0 * (n - 1.0), used & ~last)
    return total + 2.0 * message_bytes / _narrowest(op, suffix, at, topology)


def _pairwise(op: Operation, name: str, message_bytes: Array, at: Placed, topology: Topology) -> Array:
    """Every pair exchanges its share, one peer after another; all levels carry theirs at once."""
    sent = tuple((outer - inner) / at.counts[0] * message_bytes for inner, outer in pairwise(at.full))
    return _exchange(op, name.removeprefix("pairwise"), sent, message_bytes / at.counts[0], at, topology)


def exchange_s(op: Operation, sent: tuple[Array, ...], peer_bytes: Array, at: Placed, topology: Topology) -> Array:
    """The time of an exchange between all pairs of which each level carries so much [s]; infinite where no latency is sourced."""
    return reduce(np.minimum, (_exchange(op, suffix, sent, peer_bytes, at, topology) for suffix in FLAGGED))


def _exchange(
    op: Operation, suffix: str, sent: tuple[Array, ...], peer_bytes: Array, at: Placed, topology: Topology
) -> Array:  # fmt: skip
    busy: Array = np.zeros(1)
    for (link, n, _, _), one in zip(_levels(at, topology), sent, strict=True):
        busy = np.maximum(busy, FLAGGED[suffix] * one / _reached(op, link, n))
    return _short_messages(suffix, peer_bytes, _chain(op, f"ring{suffix}", at, topology, 1.0) + busy)


def _send(op: Operation, name: str, message_bytes: Array, at: Placed, topology: Topology) -> Array:
    """One hop, at the outermost level in use: the slowest pair of neighbours counts."""
    suffix = name.removeprefix("send")
    total: Array = np.zeros(1)
    for link, n, _, outside in _levels(at, topology):
        used = (n > 1.0) & (outside <= 1.0)
        total = total + _latency(link, f"ring{suffix}", ONE, used) + _latency(link, f"ring{suffix}_step", ONE, used)
        total = total + np.where(used, FLAGGED[suffix] * message_bytes / _reached(op, link, n), 0.0)
    return _short_messages(suffix, message_bytes, total)


def _short_messages(suffix: str, peer_bytes: Array, took: Array) -> Array:
    """The low-latency protocol between pairs serves short messages only."""
    return np.where(peer_bytes <= FLAGGED_PEER_BYTES, took, np.inf) if suffix else took


KERNELS: dict[str, Callable[[Array], Array]] = {
    "one_shot": lambda n: n - 1.0,
    "two_shot": lambda n: 2.0 * (n - 1.0) / n,
    "in_switch": lambda n: (n + 1.0) / n,
    "nvls": lambda n: (n + 1.0) / n,
}
"""Bytes sent per byte of the message by n ranks, of all-reduces in one kernel."""


def kernel_s(name: str, message_bytes: Array, at: Placed, topology: Topology, exchange: str = "one_kernel") -> Array:
    """An all-reduce in one kernel [s]: all ranks side by side at one level; in the switch where it adds, from its least ranks on.

    `exchange`: how the kernel waits for its peers, which is a latency of the link.
    """
    best: Array = np.full(1, np.inf)
    for link, n, inside, outside in _levels(at, topology):
        in_switch = name in ("in_switch", "nvls")
        latency = _exchanged(name, link, n, exchange)
        if latency is None or (in_switch and not link.reduces_in_network):
            continue
        alone = (inside <= 1.0) & (outside <= 1.0) & (n >= ((link.reduction_min_ranks or 2.0) if name == "nvls" else 2.0))
        if link.kind == "host":  # measured between two devices; engines ask no more of it
            alone = alone & (n <= 2.0)
        took = latency + _moved(name, message_bytes, link, n, exchange)
        best = np.minimum(best, np.where(alone, took, np.inf))
    return best


def _exchanged(name: str, link: LinkType, n: Array, exchange: str) -> Array | float | None:
    """The latency of a kernel [s]: one exchange, a second one that grows with the ranks, or that of the switch; None without a source."""
    own = "multimem" if name == "in_switch" and "multimem" in link.alpha_s else "nvls" if name == "nvls" else exchange
    alpha = link.alpha_s.get(own)
    if alpha is None or name in ("one_shot", "nvls") or own == "multimem":
        return alpha
    if name == "two_shot" and "barrier_step" in link.alpha_s:
        return alpha + n * link.alpha_s["barrier_step"]
    return 2.0 * alpha


def _moved(name: str, message_bytes: Array, link: LinkType, n: Array, exchange: str) -> Array:
    """The time of a kernel's bytes [s], at what it reaches of the link; at barriers it reads each peer no faster than a pair does."""
    if name == "nvls":
        return _in_pieces(KERNELS[name](n) * message_bytes / _reached("all_reduce", link, n, "nvls"), link, "nvls_piece")
    kind = ("multimem" if "multimem" in link.reached_bytes_per_s else "nvls") if name == "in_switch" else "kernel"
    kind = kind if kind in link.reached_bytes_per_s else "ring"
    took: Array = KERNELS[name](n) * message_bytes / _reached("all_reduce", link, n, kind)
    if name == "one_shot" and exchange == "barrier_kernel" and "pair" in link.reached_bytes_per_s:
        took = np.maximum(took, message_bytes / link.reached_bytes_per_s["pair"])
    return took


def _in_pieces(seconds: Array, link: LinkType, piece: str) -> Array:
    """Bytes that take `seconds` pass a chain of steps in pieces with a time of their own: with the best ones 2·√(piece · seconds) more."""
    return seconds + 2.0 * np.sqrt(link.alpha_s.get(piece, 0.0) * seconds)


def _kernel(op: Operation, name: str, message_bytes: Array, at: Placed, topology: Topology) -> Array:
    """The faster of the two ways in which a kernel can wait for its peers."""
    return np.minimum(*(kernel_s(name, message_bytes, at, topology, exchange) for exchange in ("one_kernel", "barrier_kernel")))


def _hierarchical(op: Operation, name: str, message_bytes: Array, at: Placed, topology: Topology) -> Array:
    total, part, crossed = np.zeros(1), message_bytes, np.zeros(1)
    for link, n, _, outside in _levels(at, topology):
        alone = Topology((link,))
        gathered = estimate_s("all_gather", part, n, alone)
        if op == "all_reduce":
            inner = estimate_s("reduce_scatter", part, n, alone) + gathered
            gathered = np.where(outside <= 1.0, estimate_s("all_reduce", part, n, alone), inner)
        total = total + np.where(n > 1.0, gathered, 0.0)
        crossed = crossed + np.where(n > 1.0, 1.0, 0.0)
        part = part / n
    return np.where(crossed > 1.0, total, np.inf)
