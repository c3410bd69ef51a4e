"""The time of a collective as one engine runs it: its own kernels where it uses them, its library's algorithms elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from sol.physics.network.collectives import Placed, estimates, kernel_s, placed
from sol.specs.libraries import Library
from sol.specs.links import Operation, Topology
from sol.specs.quantities import Array

OF_A_LIBRARY = ("ring", "tree", "nvls", "pairwise", "send", "hierarchical")
"""What NCCL and RCCL run, each with the low-latency protocol too; the other algorithms are kernels of engines."""


def engine_s(op: Operation, message_bytes: Array, ranks: Array, topology: Topology, stride: Array, library: Library) -> Array:
    """The time of a collective with an engine's library [s]; infinite where no latency is sourced."""
    found = estimates(op, message_bytes, ranks, topology, stride)
    general = reduce(np.minimum, (took for name, took in found.items() if name.partition("_")[0] in OF_A_LIBRARY))
    if op != "all_reduce" or not library.exchange:
        return general
    at = placed(ranks, topology, stride)
    inner = topology.levels[0]
    alone = (at.counts[1] <= 1.0) & (ranks > 1.0) & np.isin(ranks, library.ranks)
    if not (inner.switched or inner.is_full_mesh or (inner.kind == "bridge" and inner.domain == 2)):
        alone = alone & library.pairs_over_host & (ranks <= 2.0) & (inner.peer_access is not False)
    own = alone & (message_bytes < _by_ranks(library.max_bytes, ranks))
    kernels = _kernels(message_bytes, ranks, at, topology, library)
    own = own & np.isfinite(kernels)  # where no source has their latency, NCCL's stands in
    took = np.where(own, np.minimum(kernels, general) if library.fastest else kernels, general)
    return _in_switch(took, message_bytes, ranks, alone, at, topology, library)


def _kernels(message_bytes: Array, ranks: Array, at: Placed, topology: Topology, library: Library) -> Array:
    """The engine's own kernels: one-shot, and two-shot from its size on where it does not leave that to NCCL."""
    one = kernel_s("one_shot", message_bytes, at, topology, library.exchange)
    if library.fastest:
        return one
    two = kernel_s("two_shot", message_bytes, at, topology, library.exchange)
    return np.where((ranks > 2.0) & (message_bytes >= _by_ranks(library.one_shot_bytes, ranks)), two, one)


def _in_switch(
    took: Array, message_bytes: Array, ranks: Array, alone: NDArray[np.bool_], at: Placed, topology: Topology, library: Library
) -> Array:  # fmt: skip
    """The time with the switch adding, between the sizes at which the engine asks it to."""
    for key, least in library.in_switch_bytes.items():
        link, _, n = key.partition("/")
        if link == topology.levels[0].id:
            most = library.in_switch_max_bytes.get(key, np.inf)
            used = alone & (ranks == float(n)) & (message_bytes >= least) & (message_bytes < most)
            added = kernel_s("in_switch", message_bytes, at, topology, library.exchange)
            took = np.where(used & np.isfinite(added), added, took)
    return took


def _by_ranks(table: Mapping[str, float], ranks: Array) -> Array:
    """The entry of the fewest ranks that are at least these [B]; infinite without one."""
    found: Array = np.full(np.shape(ranks), np.inf)
    for most, size in sorted(((float(k), v) for k, v in table.items()), reverse=True):
        found = np.where(ranks <= most, size, found)
    return found
