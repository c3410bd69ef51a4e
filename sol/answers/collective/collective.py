"""The floor of a collective, its estimated time, and the algorithm that takes it.

The floor has no latency and uses the full rate of each link. The estimate is the fastest algorithm with sourced
latencies, at the rate that its library assumes. No rank waits, and no other traffic is on the links.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Generic, get_args, overload

import numpy as np

from sol.answers.question.inputs import numbers
from sol.answers.question.links import as_wired, networks, resolve_link, resolve_network, topology
from sol.answers.question.records import resolve_gpu
from sol.answers.report.citations import COLUMNS, Bibliography, cite_row
from sol.answers.report.shown import Shown
from sol.errors import InvalidInput
from sol.frozen import Frozen
from sol.physics.network import collectives
from sol.sources.database.libraries import libraries
from sol.specs.assumption import Assumption, assumed
from sol.specs.hardware import GPU
from sol.specs.links import LinkType, Operation, Topology
from sol.specs.quantities import Amount, Array, Label, Labels, Number, Numbers
from sol.tabular import Table, joined
from sol.units import GIB, KIB, MIB, show_count, show_seconds, significant

LARGEST_SHOWN = 2.0**40
"""Largest message for which the fastest algorithm is searched [B]."""


@dataclass(frozen=True, eq=False, repr=False)
class Collective(Shown, Frozen, Generic[Amount, Label]):
    """One collective over some ranks. Scalars in, plain numbers out; arrays in, read-only arrays out.

    Fields [unit]: `floor_s` the bound [s]; `estimate_s` the fastest algorithm [s] and `algorithm` its name, where
    the latencies of the links have a source (else None, in a sweep NaN and ""); `wire_bytes` what one rank must send
    [B], `wire_bytes_by_link` how much of it over which link, innermost first.
    """

    op: Operation
    gpu: GPU
    link: LinkType | None
    network: LinkType | None
    topology: Topology
    message_bytes: Array
    ranks: Array
    floor_s: Amount
    estimate_s: Amount | None
    algorithm: Label | None
    wire_bytes: Amount
    wire_bytes_by_link: dict[str, Amount]
    assumptions: tuple[Assumption, ...]
    shown_by: ClassVar[str] = "sol.answers.collective.show"

    @property
    def is_point(self) -> bool:
        """Whether this is one point rather than a sweep."""
        return not isinstance(self.floor_s, np.ndarray)

    @property
    def algorithms(self) -> Table:
        """Every algorithm that the links allow, at every point: floor, latency, estimate, and for one point its fastest sizes."""
        made: Table = self.drawn("algorithms")
        return made

    @property
    def fastest(self) -> Table:
        """The fastest algorithm at each size, for each number of ranks."""
        made: Table = self.drawn("fastest")
        return made

    @property
    def libraries(self) -> Table:
        """An all-reduce as each engine runs it, at every point: its own kernels where it uses them, NCCL or RCCL elsewhere."""
        made: Table = self.drawn("libraries")
        return made

    def heading(self) -> str:
        """What was asked, on one line."""
        sizes, counts = self.message_bytes, self.ranks
        size = show_size(sizes.min()) + ("" if sizes.min() == sizes.max() else f" … {show_size(sizes.max())}")
        count = show_count(counts.min()) + ("" if counts.min() == counts.max() else f"…{show_count(counts.max())}")
        return joined((f"{self.op} of {size}", f"{count} × {self.gpu.id}", " + ".join(self.wire_bytes_by_link)))

    def table(self) -> Table:
        """One line per algorithm for a point, one line per point for a sweep."""
        made: Table = self.drawn("algorithms" if self.is_point else "points")
        return made

    def sources(self) -> Bibliography:
        """The bibliography: every number of the links in use, and the device's own rates of them."""
        rows = [cite_row(f"{self.gpu.id} {field}", cite) for field, cite in self.gpu.cites.items() if field.startswith(("link.", "pcie."))]
        for link in self.topology.levels:
            rows += [cite_row(f"{link.id} {field}", cite) for field, cite in link.cites.items()]
        if self.op == "all_reduce":
            rows += [cite_row(f"{one.id} {field}", cite) for one in libraries().values() for field, cite in one.cites.items()]
        return Bibliography(columns=COLUMNS, rows=tuple(rows), title=self.heading())

    def __repr__(self) -> str:
        if not self.is_point:
            return f"<Collective {self.heading()}: {np.size(self.floor_s)} points>"
        took = "no estimate" if self.estimate_s is None else f"{show_seconds(float(self.estimate_s))} by {self.algorithm or 'nothing'}"
        return f"<Collective {self.heading()}: {took}, floor {show_seconds(float(self.floor_s))}>"


@overload
def collective(  # type: ignore[overload-overlap]  # a point is a sweep's narrowest case, and has floats
    op: Operation, gpu: str | GPU, *, message_bytes: Number, ranks: Number, link: str | LinkType | None = None,
    network: str | LinkType | None = None,
) -> Collective[float, str]: ...  # fmt: skip
@overload
def collective(
    op: Operation, gpu: str | GPU, *, message_bytes: Numbers, ranks: Numbers, link: str | LinkType | None = None,
    network: str | LinkType | None = None,
) -> Collective[Array, Labels]: ...  # fmt: skip
def collective(
    op: Operation, gpu: str | GPU, *, message_bytes: Numbers, ranks: Numbers, link: str | LinkType | None = None,
    network: str | LinkType | None = None,
) -> Collective:  # fmt: skip
    """Floor and estimate of one collective over `ranks` devices of one kind.

    Parameters
    ----------
    op : all_reduce, all_gather, reduce_scatter, all_to_all or send.
    gpu : id, alias or `GPU`.
    message_bytes : the larger of the send and the receive buffer of one rank [B]; scalar or array.
    ranks : how many devices take part [1]; scalar or array. One is nothing to do.
    link : id of the link inside a box where the devices are wired otherwise than the database says ("pcie4-x8"), or of the bridge
        that joins them.
    network : id of the link between boxes, one port for each device; read only beyond what the device's own links join.

    Raises `UnknownName`, `InvalidInput` or `MissingSpec`, one line each.

    >>> collective("all_reduce", "h100", message_bytes=9e9, ranks=8).floor_s  # 9 GB over 450 GB/s: the switch adds
    0.02
    """
    if op not in get_args(Operation):
        raise InvalidInput(f"op={op!r}", f"is not one of {', '.join(get_args(Operation))}")
    the_gpu, the_network, the_link = resolve_gpu(gpu), resolve_network(network), resolve_link(link)
    links = topology(the_gpu, the_network, the_link)
    size, count = numbers("message_bytes", message_bytes, at_least=0.0), _whole_number(ranks)
    try:
        shape = np.broadcast_shapes(size.shape, count.shape)
    except ValueError:
        raise InvalidInput("shapes do not broadcast:", f"message_bytes {size.shape}, ranks {count.shape}", "use [:, None]") from None
    if count.max() > links.joins:
        last = links.levels[-1]
        raise InvalidInput(
            f"ranks={show_count(count.max())}",
            f"are more than the {links.joins:.0f} that {last.id} joins around {the_gpu.id}",
            f"name the network between boxes, one of {networks()}",
        )
    scalar = np.ndim(message_bytes) == 0 and np.ndim(ranks) == 0
    floor = collectives.floor_s(op, size, count, links)
    times = collectives.estimates(op, size, count, links)
    names, took = _best(times, count)

    def out(value: Any) -> Any:
        return np.broadcast_to(value, shape).reshape(-1)[0].item() if scalar else np.broadcast_to(value, shape)

    known = np.isfinite(took).any()
    sent = collectives.wire_bytes(op, size, count, links)
    return Collective(
        op=op, gpu=the_gpu, link=the_link, network=the_network, topology=links, message_bytes=size, ranks=count, floor_s=out(floor),
        estimate_s=out(np.where(np.isfinite(took), took, np.nan)) if known else None, algorithm=out(names) if known else None,
        wire_bytes=out(reduce(np.add, sent)),
        wire_bytes_by_link={link.id: out(b) for link, b in zip(links.levels, sent, strict=True)},
        assumptions=assumed("links", (*_assumptions(op, the_gpu, links, the_network, count), *as_wired(the_gpu, the_link, links))),
    )  # fmt: skip


def show_size(value: float) -> str:
    """A message size as people write it: whole KiB, MiB or GiB, else three digits of the largest unit that fits."""
    for scale, unit in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if value >= scale:
            return f"{value / scale:.0f} {unit}" if (value / scale).is_integer() else f"{significant(value / scale)} {unit}"
    return f"{value:.0f} B"


def _whole_number(ranks: Any) -> Array:
    count = numbers("ranks", ranks, above=0.0)
    odd = count != np.round(count)
    if odd.any():
        raise InvalidInput(f"ranks={count[odd][0]:g}", "has no meaning", "it must be a whole number of one or more")
    return count


def _best(times: dict[str, Array], ranks: Array) -> tuple[Any, Array]:
    """Name and time of the fastest algorithm; no name without work or without a latency."""
    stacked = np.stack(np.broadcast_arrays(*times.values()))
    took = stacked.min(axis=0)
    names = np.array([*times, ""])[np.where(np.isfinite(took) & (ranks > 1.0), stacked.argmin(axis=0), len(times))]
    return names, took


def fastest_by_size(op: Operation, ranks: float, links: Topology) -> list[tuple[str, float, float]]:
    """The fastest algorithms of `ranks` ranks, from the smallest message up: name, from [B], to [B].

    Found on a grid of sizes, with bisection between neighbours that differ.
    """
    count = np.array([ranks])

    def winners(sizes: Array) -> Any:
        return _best(collectives.estimates(op, sizes, count, links), count)[0]

    grid = np.concatenate(([0.0], np.geomspace(1.0, LARGEST_SHOWN, 40 * 16 + 1)))
    names = winners(grid)
    turns = np.flatnonzero(names[1:] != names[:-1])
    low, high = grid[turns], grid[turns + 1]
    for _ in range(60):
        middle = 0.5 * (low + high)
        stays = winners(middle) == names[turns] if turns.size else np.zeros(0, bool)
        low, high = np.where(stays, middle, low), np.where(stays, high, middle)
    edges = [0.0, *high.tolist(), np.inf]
    order = [str(names[0]), *(str(names[t + 1]) for t in turns)]
    return [(name, edges[i], edges[i + 1]) for i, name in enumerate(order) if name]


def _assumptions(op: Operation, gpu: GPU, links: Topology, network: LinkType | None, ranks: Array) -> Iterator[str]:
    yield "full duplex, no other traffic on the links; a pair of ranks uses the innermost link that joins both"
    counts = collectives.placed(np.array([ranks.max()]), links).counts
    used = [link for k, link in enumerate(links.levels) if counts[k].item() > counts[k + 1].item()]
    for link in used:
        if link.domain is None and link.kind != "network":
            yield f"how many devices {link.id} joins has no source: all are assumed to be joined, each pair at the full rate"
        elif link.is_full_mesh:
            yield f"{link.id} joins each pair with a separate link: n ranks use n − 1 of them"
        elif link.joins_pairs:
            yield f"{link.id} does not join every pair: the floor assumes that all ports of a rank, up to n − 1, are in use"
        if not link.reduces_in_network and link.kind != "network" and op == "all_reduce":
            yield f"no reduction inside {link.id}"
    if len(used) > 1:
        inner = " and ".join(f"{link.domain:.0f} over {link.id}" for link in used[:-1] if link.domain)
        yield f"ranks spread evenly over the fewest boxes: {inner}; a port of {used[-1].id} for each device"
    if network is not None and network not in used:
        yield f"network {network.id} is not used: {links.levels[0].id} joins all ranks"
    for link in used:
        if not {"ring_ll", "ring"} & set(link.alpha_s):
            yield f"no source gives a collective over {link.id} a latency: floor only, no estimate"
