"""A comparison as text: the verdict, MBU and MFU, the parts of the gap, the suspects, the commands to run next."""

from __future__ import annotations

from typing import Any

from sol.answers.compare.compare import BANDS, Comparison
from sol.answers.compare.gap import called
from sol.answers.compare.suspects import WEAK, percent
from sol.answers.estimate.estimate import Estimate
from sol.answers.floor.document import asked, floor_inputs
from sol.answers.floor.optimistic import largest_cache_bytes
from sol.answers.report.document import document, one_row_a_point
from sol.answers.report.report import Item, Report
from sol.tabular import Column, Table
from sol.units import show_bytes, show_count, show_seconds, significant

BESIDE = (
    ("calm on an RTX 4090", 0.92, "CALM-0017"),
    ("llama.cpp on an RTX 4090", 0.82, "LCPP-0071"),
    ("gpt-fast on an A100", 0.69, "GPTF-0006"),
    ("eager transformers on an H100", 0.25, "PAIG-0016"),
)
"""Published systems, the fraction of light they reach in 16 bits at batch 1 [1], and the id of the measured row."""
SAME = 0.05
"""A time this near to an estimate equals it [1]."""
NOTHING_FITS = {
    True: "no known single change makes this time possible: check the clock and what was counted",
    False: "no known cause fits: profile one step (nsys profile, or the engine's own profiler)",
}


def report(c: Comparison) -> Report:
    """The verdict, the parts of the gap, the suspects, and the commands that measure the same step."""
    return Report(
        heading=headline(c), under=tuple(fractions(c)), table=gap_table(c) if c.gap_s > 0.0 else None,
        more=tuple(block for block in (_suspected(c), _commands(c)) if block), notes=tuple(footnotes(c)),
    )  # fmt: skip


def _suspected(c: Comparison) -> tuple[Item, ...]:
    """The suspects, most likely first, or the reason why there are none."""
    found = []
    for i, s in enumerate(c.suspects):
        word = "or" if i else "most likely" if s.weight >= WEAK else "possibly"
        found.append(Item(f"{word}: {s.title}", (Item(s.evidence), Item(f"→ {s.action}")), "" if i else "bold"))
    if c.usual and c.estimate is not None:
        found += usual(c, c.estimate)
    elif not c.suspects and (c.verdict not in ("at the limit", "healthy") or c.fraction > 1.0):
        found.append(Item(NOTHING_FITS[c.fraction > 1.0]))
    return tuple(found)


def usual(c: Comparison, e: Estimate) -> list[Item]:
    """That the estimate explains the measured time, and what a second measurement would tell."""
    expected = f"the {show_seconds(e.latency_s, 4)} expected of {called(e)}"
    near, above = abs(c.measured_s / e.latency_s - 1.0) <= SAME, e.low_s is None or c.measured_s >= e.low_s
    where = f"it equals {expected}" if near else f"it lies in the 95 % interval of {expected}" if above else f"it is faster than {expected}"
    lines = [Item(f"{where}: nothing is suspected"), Item("what to gain lies in the parts above, or in another engine")]
    if c.question.split.tp > 1 and c.question.phase == "decode" and c.gap_s > 0.0:
        gap = show_seconds(c.gap_s, 3)
        lines.append(Item(f"if another tp is {gap} above its floor too, that is the host's time per step, and no device's"))
    return [Item(f"{'as usual' if above else 'better than usual'} for {called(e)} here", tuple(lines))]


def _commands(c: Comparison) -> tuple[Item, ...]:
    if not c.actions:
        return ()
    return (Item("to measure the same step", tuple(Item(a.what, (Item(a.command),), "dim") for a in c.actions)),)


def headline(c: Comparison) -> str:
    """The verdict and its three numbers, on one line."""
    start = f"{c.verdict}: {percent(c.fraction)} of light. {show_seconds(c.measured_s, 4)} measured, {show_seconds(c.floor_s)} floor"
    if c.verdict in ("impossible", "cannot tell"):
        return f"{start}, {show_seconds(c.optimistic_s)} optimistic floor"
    return f"{start}, {show_seconds(c.gap_s, 4)} above the floor" if c.gap_s > 0.0 else f"{start}, which is not a strict bound here"


def fractions(c: Comparison) -> list[str]:
    """What was asked, MBU and MFU, which of them matters, and what the optimistic floor assumes if it decides the verdict."""
    rate = "prompt tok/s" if c.question.phase == "prefill" else "tok/s"
    lines = [f"{c.floor.heading()}: {significant(c.tokens_per_s)} {rate} of {significant(c.floor.tokens_per_s)}"]
    mfu = "unknown" if c.mfu is None else percent(c.mfu)
    lines.append(f"mbu {percent(c.mbu)} · mfu {mfu} · {matter(c)}")
    if c.estimate is not None:
        e = c.estimate
        lines.append(f"{called(e)} is expected to take {show_seconds(e.latency_s, 4)}")
        if e.low_s is not None and e.high_s is not None:
            lines[-1] += f", 95 % between {show_seconds(e.low_s, 3)} and {show_seconds(e.high_s, 3)}"
    if c.fraction > 1.0:
        lines.append(f"the optimistic floor, {show_seconds(c.optimistic_s)}, assumes: " + " · ".join(c.granted))
    if c.unsure_s is not None:
        lines.append(unsure(c, c.unsure_s))
    return lines


def unsure(c: Comparison, least_s: float) -> str:
    """What a last-level cache that no source gives decides."""
    gpu, largest = c.question.gpu, largest_cache_bytes(c.question.gpu.kind)
    size = f"the largest known of its kind, {show_bytes(largest)}" if largest is not None else "one that holds all of it"
    if c.verdict == "impossible":
        return f"not even a last-level cache as large as {size}, would do: {show_seconds(least_s, 4)}"
    return (
        f"nobody can tell: no source gives {gpu.id} a last-level cache, and with {size}, a step would take {show_seconds(least_s, 4)}; "
        "name the cache in a device of your own (last_level_cache_bytes, with its source) to get a verdict"
    )


def matter(c: Comparison) -> str:
    """Which fraction matters at this batch, and the batch from which on the other one does."""
    f, batch = c.floor, c.question.step.batch.item()
    if c.matters == "network":
        return "network-bound: neither fraction says how well it runs"
    if c.matters == "mfu":
        return f"compute-bound at batch {show_count(batch)}: mfu is the fraction that matters"
    start = f"memory-bound at batch {show_count(batch)}: mbu is the fraction that matters"
    if f.compute_s is None or c.question.phase == "prefill":
        return start
    if c.mfu_from_batch is None:
        return f"{start}, at every batch with this context"
    return f"{start}, mfu from about batch {significant(c.mfu_from_batch, 2)} on"


def gap_table(c: Comparison) -> Table:
    """The parts of the gap, one line each; the last is the unexplained rest."""
    columns = (
        Column("part", "the gap", left=True),
        Column("seconds", "time", lambda v: show_seconds(v, 3)),
        Column("share", "share", lambda v: f"{100 * v:.1f} %"),
        Column("meaning", "", left=True, wrap=True),
    )
    rows = tuple((p.name.removesuffix("_s"), p.seconds, p.seconds / c.gap_s, p.meaning) for p in c.parts)
    return Table(
        columns=columns, rows=rows, total=("total", c.gap_s, 1.0, f"{show_seconds(c.measured_s, 4)} − {show_seconds(c.floor_s, 4)}")
    )


def footnotes(c: Comparison) -> list[str]:
    """The bands of the verdict with published systems, the notes, and the assumptions."""
    bands = ", ".join(f"{word} from {100 * least:.0f} %" for least, word in BANDS if least) + ", broken below"
    beside = ", ".join(f"{name} {100 * share:.0f} %" for name, share, _ in BESIDE)
    return [f"verdicts: {bands}; published: {beside}", *(f"note: {w}" for w in c.warnings), "assumes: " + " · ".join(c.assumptions)]


OUTPUTS = (
    "verdict", "fraction", "measured_s", "floor_s", "optimistic_s", "unsure_s", "gap_s", "gap", "mbu", "mfu", "matters", "tokens_per_s",
)  # fmt: skip


def to_document(c: Comparison) -> dict[str, Any]:
    """A comparison as plain JSON values."""
    inputs = floor_inputs(c.floor) | _measured(c)
    outputs: dict[str, Any] = {name: getattr(c, name) for name in OUTPUTS} | _beside(c) | {"granted": list(c.granted)} | _expected(c)
    outputs["usual"] = c.usual
    outputs["suspects"] = [s.to_dict() for s in c.suspects]
    outputs["actions"] = [a._asdict() for a in c.actions]
    outputs["beside"] = [{"system": name, "fraction": share, "row": row} for name, share, row in BESIDE]
    return document(
        "compare", inputs=inputs, outputs=outputs, assumptions=c.assumptions, sources=c.sources().to_dicts(), warnings=c.warnings
    )


def to_table(c: Comparison) -> Table:
    """One row: what was asked and measured, the verdict and its fractions, and each part of the gap."""
    found = {name: getattr(c, name) for name in OUTPUTS if name not in ("gap", "measured_s")}
    parts = {f"gap_{name}": seconds for name, seconds in c.gap.items()}
    return one_row_a_point(asked(c.floor) | _measured(c) | found | _beside(c) | _expected(c) | {"usual": c.usual} | parts, ())


def _measured(c: Comparison) -> dict[str, Any]:
    calibration = None if c.estimate is None else c.estimate.calibration.id or None
    unknown = {} if c.ctx_known else {"ctx": None}
    return {"measured_s": c.measured_s, "told": c.told, "engine": c.engine, "calibration": calibration} | unknown


def _beside(c: Comparison) -> dict[str, Any]:
    return {"serial_s": c.floor.serial_s, "bound": c.floor.bound, "fits": c.floor.fits}


def _expected(c: Comparison) -> dict[str, Any]:
    e, names = c.estimate, {"estimate_s": "latency_s", "low_s": "low_s", "high_s": "high_s"}
    return {name: None if e is None else getattr(e, of) for name, of in names.items()}
