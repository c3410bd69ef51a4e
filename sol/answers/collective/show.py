"""A collective as tables: its algorithms, the sizes at which each is fastest, one line per point of a sweep."""

from __future__ import annotations

from typing import Any

import numpy as np

from sol.answers.collective.collective import Collective, fastest_by_size, show_size
from sol.answers.report.document import document, listed, one_row_a_point
from sol.answers.report.report import Report
from sol.physics.network import collectives
from sol.physics.network.libraries import engine_s
from sol.sources.database.libraries import libraries as known_libraries
from sol.specs.links import LinkType
from sol.tabular import Column, Table
from sol.units import show_bytes, show_count, show_rate, show_seconds, significant


def report(c: Collective) -> Report:
    """The algorithms of a point, or the points of a sweep."""
    return Report.of_table(c.table())


def algorithms(c: Collective) -> Table:
    """Every algorithm the links allow at each point, fastest first."""
    asked = (c.op, c.message_bytes, c.ranks)
    took = collectives.estimates(*asked, c.topology)
    light = collectives.estimates(*asked, c.topology.without_latency())
    empty = collectives.estimates(c.op, 0.0 * c.message_bytes, c.ranks, c.topology)
    shape = np.broadcast_shapes(c.message_bytes.shape, c.ranks.shape)

    def flat(values: Any) -> list[Any]:  # one value per point
        return list(np.broadcast_to(values, shape).ravel().tolist())

    wins = {str(row["algorithm"]): _span(row) for row in fastest(c).to_dicts()} if c.is_point else {}
    rows: list[tuple[Any, ...]] = []
    for i, (n, size) in enumerate(zip(flat(c.ranks), flat(c.message_bytes), strict=True)):
        found = [(name, *(flat(times[name])[i] for times in (light, empty, took))) for name in took]
        lines = sorted((f for f in found if np.isfinite(f[3]) and n > 1), key=lambda f: f[3])
        best = lines[0][3] if lines else 0.0
        rows += [(n, size, *line, line[3] / best if best else None, wins.get(line[0])) for line in lines]
        if not lines:
            rows.append((n, size, "any", flat(c.floor_s)[i], *(4 * [None])))
    columns = (
        Column("ranks", "ranks", show_count, hidden=c.is_point),
        Column("message_bytes", "message", show_size, hidden=c.is_point),
        Column("algorithm", "algorithm", left=True),
        Column("floor_s", "its floor", show_seconds),
        Column("latency_s", "latency", show_seconds),
        Column("estimate_s", "estimate", show_seconds),
        Column("times_fastest", "× best", lambda v: f"{v:.2f}"),
        Column("fastest_at", "fastest for messages", left=True, wrap=True, hidden=not c.is_point),
    )
    return Table(columns=columns, rows=tuple(rows), title=c.heading(), footer=tuple(_footer(c)) if c.is_point else ())


def libraries(c: Collective) -> Table:
    """One line per library and point of an all-reduce: as the engines that use it run it; none without a sourced latency."""
    rows: list[tuple[Any, ...]] = []
    if c.op == "all_reduce":
        asked = (c.op, c.message_bytes, c.ranks, c.topology, np.ones(1))
        shape = np.broadcast_shapes(c.message_bytes.shape, c.ranks.shape)
        points = [np.broadcast_to(a, shape).ravel().tolist() for a in (c.ranks, c.message_bytes)]
        for library in known_libraries().values():
            took = np.broadcast_to(engine_s(*asked, library), shape).ravel().tolist()
            engines = ", ".join(library.engines)
            rows += [(n, size, library.id, t, engines) for n, size, t in zip(*points, took, strict=True) if n > 1 and np.isfinite(t)]
    columns = (
        Column("ranks", "ranks", show_count, hidden=c.is_point),
        Column("message_bytes", "message", show_size, hidden=c.is_point),
        Column("library", "library", left=True),
        Column("estimate_s", "estimate", show_seconds),
        Column("engines", "engines", left=True, wrap=True),
    )
    return Table(columns=columns, rows=tuple(sorted(rows, key=lambda row: row[:2])), title=c.heading())


def _span(row: dict[str, Any]) -> str:
    low, high = row["from_bytes"], row["to_bytes"]
    if high is None:
        return f"from {show_size(low)}" if low else "any"
    return f"up to {show_size(high)}" if low == 0 else f"{show_size(low)} to {show_size(high)}"


def fastest(c: Collective) -> Table:
    """One line per algorithm and number of ranks, by size; `to_bytes` is None for the last."""
    rows = [
        (n, name, low, high if np.isfinite(high) else None)
        for n in sorted(set(c.ranks.ravel().tolist()))
        for name, low, high in fastest_by_size(c.op, n, c.topology)
    ]
    columns = (
        Column("ranks", "ranks", show_count),
        Column("algorithm", "algorithm", left=True),
        Column("from_bytes", "from", show_size),
        Column("to_bytes", "to", show_size),
    )
    return Table(columns=columns, rows=tuple(rows))


def points(c: Collective) -> Table:
    """One line per point of a sweep."""
    shape = np.shape(c.floor_s)
    took = np.full(shape, np.nan) if c.estimate_s is None else c.estimate_s
    names = np.full(shape, "") if c.algorithm is None else c.algorithm
    rows = [
        (n, size, floor, t if np.isfinite(t) else None, name or None, t / floor if floor and np.isfinite(t) else None)
        for n, size, floor, t, name in zip(
            *(np.broadcast_to(a, shape).ravel().tolist() for a in (c.ranks, c.message_bytes, c.floor_s, took, names)), strict=True
        )
    ]
    columns = (
        Column("ranks", "ranks", show_count),
        Column("message_bytes", "message", show_size),
        Column("floor_s", "floor", show_seconds),
        Column("estimate_s", "estimate", show_seconds),
        Column("algorithm", "algorithm", left=True),
        Column("times_floor", "× floor", lambda v: significant(v, 2)),
    )
    spans: dict[float, list[str]] = {}
    for row in fastest(c).to_dicts():
        spans.setdefault(row["ranks"], []).append(f"{row['algorithm']} {_span(row)}")
    footer = [f"fastest on {show_count(n)} ranks: {' · '.join(said)}" for n, said in spans.items()]
    return Table(columns=columns, rows=tuple(rows), title=c.heading(), footer=(*footer, "assumes: " + " · ".join(c.assumptions)))


def _footer(c: Collective) -> list[str]:
    rates = {link.id: link for link in c.topology.levels}
    parts = [f"{show_bytes(sent)} over {name}, {_rate(c, rates[name])} one way" for name, sent in c.wire_bytes_by_link.items() if sent]
    lines = [f"floor {show_seconds(c.floor_s)}: each rank sends {' and '.join(parts)}"] if parts else ["nothing to send"]
    if c.estimate_s and c.floor_s:
        lines.append(
            f"estimate {show_seconds(c.estimate_s)} with {c.algorithm}, {significant(c.estimate_s / c.floor_s, 2)} times the floor"
        )
    by_engine = [f"{row['library']} {show_seconds(row['estimate_s'])}" for row in c.libraries.to_dicts()]
    if by_engine:
        lines.append(f"as engines run it: {' · '.join(by_engine)}")
    return [*lines, "assumes: " + " · ".join(c.assumptions)]


def _rate(c: Collective, link: LinkType) -> str:
    """The rate of one rank to the others over this link; in a mesh less than the whole rate."""
    level = next(k for k, other in enumerate(c.topology.levels) if other is link)
    counts = collectives.placed(c.ranks, c.topology).counts
    rate = collectives.rate(c.op, link, counts[level] / counts[level + 1])
    return show_rate(np.asarray(rate).reshape(-1)[0].item(), "B/s")


def to_document(c: Collective) -> dict[str, Any]:
    """A collective as plain JSON values, with all algorithms; null where there is no source."""
    outputs = listed(_outputs(c), c.is_point) | {"wire_bytes_by_link": listed(c.wire_bytes_by_link, c.is_point)}
    outputs |= {"algorithms": c.algorithms.to_dicts(), "fastest": c.fastest.to_dicts(), "libraries": c.libraries.to_dicts()}
    return document(
        "collective", inputs=listed(_asked(c), c.is_point), outputs=outputs, assumptions=c.assumptions, sources=c.sources().to_dicts()
    )


def to_table(c: Collective) -> Table:
    """One row per point: inputs, floor, fastest algorithm, and bytes sent over each link."""
    by_link = {f"wire_bytes_over_{name}": sent for name, sent in c.wire_bytes_by_link.items()}
    return one_row_a_point(_asked(c) | _outputs(c) | by_link, np.shape(c.floor_s))


def _asked(c: Collective) -> dict[str, Any]:
    link, network = (None if named is None else named.id for named in (c.link, c.network))
    return {"op": c.op, "gpu": c.gpu.id, "message_bytes": c.message_bytes, "ranks": c.ranks, "link": link, "network": network}


def _outputs(c: Collective) -> dict[str, Any]:
    return {name: getattr(c, name) for name in ("floor_s", "estimate_s", "algorithm", "wire_bytes")}
