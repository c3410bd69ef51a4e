"""Write the accuracy report from the published measurements: `python -m tools.accuracy`.

Every step against its floor and its default estimate, every figure of a server against `serve`, and recorded runs against
`replay`; rows marked `fit` made the calibrations, rows marked `holdout` did not. `docs/how-accurate.md` is the page,
`tests/fixtures/accuracy.json` the figures that tests hold: nothing beyond a bound, no error above what is written there.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from sol import load_model
from sol.answers.calibrate.accuracy import Scored, scored
from sol.sources.database.calibrations import engine_classes
from sol.sources.database.measured import measured_rows, measured_sources
from sol.sources.database.tomlfiles import data_root
from sol.units import show_seconds
from tools import fitted, servers, source_out
from tools.report_table import percent, table

ROOT = Path(__file__).parent.parent
PAGE, BASELINE = ROOT / "docs" / "how-accurate.md", ROOT / "tests" / "fixtures" / "accuracy.json"
DATA_CENTRE = {
    "a100-pcie-80gb", "a100-sxm-80gb", "b200-sxm", "b300-sxm", "h100-pcie", "h100-sxm", "h20", "h200-sxm", "l40s", "mi300x",
}  # fmt: skip
SHOWN = 15
MISSING = "no calibration of their engine on their device, no sourced rate of the device, or a prompt sent through a pipeline in pieces"


def groups(rows: Sequence[Scored]) -> dict[str, list[Scored]]:
    """The sets of rows whose errors are reported, by name: those held out, then those fitted."""
    classes = engine_classes()
    found: dict[str, list[Scored]] = {}
    known = [s for s in rows if s.estimate_s is not None]
    for split in ("holdout", "fit"):
        mine = [s for s in known if s.row.split == split]
        served = [s for s in mine if classes[s.row.engine] == "graph" and s.row.gpu in DATA_CENTRE]
        found[f"{split}: servers with CUDA graphs on data-centre devices"] = served
        for kind in dict.fromkeys(classes[s.row.engine] for s in mine):
            found[f"{split}: {kind}"] = [s for s in mine if classes[s.row.engine] == kind]
        found[f"{split}: all"] = mine
    return {k: v for k, v in found.items() if v}


def off(rows: Iterable[Scored]) -> list[float]:
    """|error| of every row, sorted."""
    return sorted(abs(s.error) for s in rows)


def figures(rows: Sequence[Scored]) -> dict[str, Any]:
    """What the baseline holds: rows, the tightest floor, and each group's median error and coverage."""
    return {
        "rows": len(rows), "devices": len({s.row.gpu for s in rows}), "tightest": round(max(s.tightness for s in rows), 4),
        "median_error": {k: round(median(off(v)), 4) for k, v in groups(rows).items()},
        "held": {k: round(sum(s.held for s in v) / len(v), 4) for k, v in groups(rows).items()},
    }  # fmt: skip


def step_targets(rows: Sequence[Scored]) -> dict[str, dict[str, Any]]:
    """What was aimed at for decode steps of servers, and the held-out figures."""
    classes = engine_classes()
    mine = [s for s in rows if s.estimate_s is not None and s.row.split == "holdout" and s.row.phase == "decode"
            and classes[s.row.engine] == "graph"]  # fmt: skip
    found = {}
    for name, aim, of in STEP_TARGETS:
        chosen = [s for s in mine if of(s)]
        errors = off(chosen)
        found[name] = {
            "aim": aim, "n": len(errors), "median_error": round(median(errors), 4),
            "held": round(sum(s.held for s in chosen) / len(chosen), 4), "p90_error": round(errors[math.ceil(0.9 * len(errors)) - 1], 4),
        }  # fmt: skip
    return found


STEP_TARGETS: Sequence[tuple[str, float, Callable[[Scored], bool]]] = (
    ("dense decode, H100", 0.05, lambda s: s.row.gpu == "h100-sxm" and not load_model(s.row.model).is_moe),
    ("dense decode, B200", 0.10, lambda s: s.row.gpu == "b200-sxm" and not load_model(s.row.model).is_moe),
    ("mixtures, decode", 0.18, lambda s: load_model(s.row.model).is_moe),
)


def page(rows: Sequence[Scored], kept: Mapping[str, Any]) -> str:
    """The whole report; `kept` are the figures of the slow parts: `fitted`, `source_out` and `servers`."""
    return "\n".join([
        *heading(rows), *soundness(rows), *defaults(rows), *by_device(rows), *by_kind(rows), *source_out.lines(kept["source_out"]),
        *fitted.lines(kept["fitted"]), *worst(rows), *left_out(rows), *sources(rows), "",
        *servers.lines(kept["servers"], step_targets(rows)),
    ]) + "\n"  # fmt: skip


def heading(rows: Sequence[Scored]) -> list[str]:
    """What this is, and how much of it there is."""
    devices, models = {s.row.gpu for s in rows}, {s.row.model for s in rows}
    phases = Counter(s.row.phase for s in rows)
    routed = sum(load_model(s.row.model).is_moe for s in rows)
    batches = sorted(s.row.batch for s in rows)
    widths = Counter(width(s.row.dtype) for s in rows)
    return [
        "# How accurate", "",
        "Written by `python -m tools.accuracy` from `hardware_db/measured/`; a test holds the page to what that writes.", "",
        f"{len(rows):,} published measurements on {len(devices)} devices: {phases['decode']:,} decode steps, {phases['prefill']:,} prompts "
        f"and {phases['request']:,} whole requests of {len(models)} models ({routed:,} rows are mixtures of experts); "
        + ", ".join(f"{n:,} rows in {k} bits" for k, n in sorted(widths.items(), reverse=True))
        + f"; batch {batches[0]:g} to {batches[-1]:g}.",
        "Rows are marked `fit` or `holdout` by their model within their source, before anything was fitted. Calibrations are made from "
        f"`fit` rows alone. Of the held-out rows {shared(rows)} are of a model that another source's rows were fitted to, of the same "
        "engine on the same device.", "",
        "Two parts follow: single steps and requests that run alone, and [servers](#servers).", "",
    ]  # fmt: skip


def shared(rows: Sequence[Scored]) -> int:
    """Held-out rows whose model is among the fitted rows of the same engine on the same device."""
    fitted = {(s.row.gpu, s.row.engine, s.row.model) for s in rows if s.row.split == "fit"}
    return sum(s.row.split == "holdout" and (s.row.gpu, s.row.engine, s.row.model) in fitted for s in rows)


def width(dtype: str) -> int:
    """Bits of a format's weights, as people class them: 16, 8 or 4."""
    from sol import load_format

    bits = load_format(dtype).bits_per_weight
    return 16 if bits > 12 else 8 if bits > 6 else 4


def soundness(rows: Sequence[Scored]) -> list[str]:
    """No floor above a measurement: the tightest rows on top."""
    tight = sorted(rows, key=lambda s: -s.tightness)
    above = sum(s.tightness > 1 for s in rows)
    lines = [
        "## No floor is above a measurement", "",
        f"{above} of {len(rows):,} rows are faster than their floor (of experts, the fewest that a step can touch). The tightest:", "",
    ]  # fmt: skip
    return [*lines, *table(
        ("row", "device", "engine", "model", "what", "measured", "floor", "floor : measured"),
        [(*where(s), show_seconds(s.row.measured_s, 4), show_seconds(s.floor_s, 4), f"{s.tightness:.3f}") for s in tight[:SHOWN]],
    ), ""]  # fmt: skip


def defaults(rows: Sequence[Scored]) -> list[str]:
    """Errors of the default estimates, held out and fitted."""
    lines = [
        "## Default estimates", "",
        "What `estimate(model, gpu, …, engine=…)` says with nothing measured by its user. |error| is |estimate − measured| / measured; "
        "the interval is the estimate's own 95 %.", "",
    ]  # fmt: skip
    return [*lines, *table(
        ("rows", "n", "median error", "mean of the worst tenth", "below : above what was measured", "inside the interval"),
        [(k, f"{len(v):,}", percent(median(off(v))), percent(tail(v)), lean(v), percent(sum(s.held for s in v) / len(v)))
         for k, v in groups(rows).items()],
    ), ""]  # fmt: skip


def tail(rows: Sequence[Scored]) -> float:
    """Mean |error| of the worst tenth of rows."""
    worst_first = off(rows)[::-1]
    some = worst_first[: max(1, len(worst_first) // 10)]
    return sum(some) / len(some)


def lean(rows: Sequence[Scored]) -> str:
    """How many estimates are below and above what was measured."""
    below = sum(s.error < 0 for s in rows)
    return f"{below} : {len(rows) - below}"


def by_device(rows: Sequence[Scored]) -> list[str]:
    """Each engine on each device."""
    cells: dict[tuple[str, str], list[Scored]] = defaultdict(list)
    for s in rows:
        if s.estimate_s is not None:
            cells[s.row.gpu, s.row.engine].append(s)
    body = []
    for (gpu, engine), mine in sorted(cells.items()):
        halves = [[s for s in mine if s.row.split == split] for split in ("holdout", "fit")]
        body.append((gpu, engine, *(x for half in halves for x in (len(half), percent(median(off(half))) if half else "–"))))
    return ["## By device and engine", "", *table(("device", "engine", "held out", "median error", "fitted", "median error"), body), ""]


def by_kind(rows: Sequence[Scored]) -> list[str]:
    """Held-out rows of servers by phase, width, batch and kind of model."""
    known = [s for s in rows if s.estimate_s is not None and engine_classes()[s.row.engine] == "graph"]
    cuts: dict[str, Callable[[Scored], str]] = {
        "phase": lambda s: s.row.phase,
        "weights": lambda s: f"{width(s.row.dtype)} bits",
        "batch": lambda s: "1" if s.row.batch <= 1 else "2–8" if s.row.batch <= 8 else "9–32" if s.row.batch <= 32 else "above 32",
        "model": lambda s: "mixture of experts" if load_model(s.row.model).is_moe else "dense",
        "devices": lambda s: "one" if s.row.devices == 1 else "several",
    }  # fmt: skip
    body = []
    for name, cut in cuts.items():
        for value in sorted({cut(s) for s in known}):
            halves = [[s for s in known if cut(s) == value and s.row.split == split] for split in ("holdout", "fit")]
            body.append((name, value, *(x for half in halves for x in (len(half), percent(median(off(half))) if half else "–"))))
    return ["## Servers with CUDA graphs, by what was run", "",
            *table(("", "", "held out", "median error", "fitted", "median error"), body), ""]  # fmt: skip


def worst(rows: Sequence[Scored]) -> list[str]:
    """The estimates that miss most, worst first, one per model, device and engine."""
    far: dict[tuple[str, str, str], Scored] = {}
    for s in sorted((s for s in rows if s.estimate_s is not None), key=lambda s: -abs(math.log(s.estimate_s / s.row.measured_s))):  # type: ignore[operator]
        far.setdefault((s.row.gpu, s.row.engine, s.row.model), s)
    body = [
        (*where(s), s.row.split, show_seconds(s.row.measured_s, 3), show_seconds(s.estimate_s or 0.0, 3), percent(s.error))
        for s in list(far.values())[: 2 * SHOWN]
    ]
    lines = ["## Where estimates miss most", "", "The worst row of a model on a device with an engine, worst first.", ""]
    return [*lines, *table(("row", "device", "engine", "model", "what", "split", "measured", "estimate", "error"), body), ""]


def left_out(rows: Sequence[Scored]) -> list[str]:
    """Rows with no estimate, and published figures that are no rows, with the reasons."""
    without = Counter((s.row.gpu, s.row.engine) for s in rows if s.estimate_s is None)
    listed = csv.DictReader((data_root() / "measured" / "excluded.csv").read_text(encoding="utf-8").splitlines())
    reasons: Counter[str] = Counter()
    for r in listed:  # a line is a range of numbered rows
        first, last = (int(r[end].rpartition("-")[2]) for end in ("first", "last"))
        reasons[r["reason"]] += last - first + 1
    lines = [
        "## Left out", "", f"{sum(without.values())} rows have a floor and no estimate ({MISSING}): "
        + ", ".join(f"{gpu} {engine} ({n})" for (gpu, engine), n in sorted(without.items())) + ".", "",
        f"{sum(reasons.values())} published figures of the same sources are no rows:", "",
    ]  # fmt: skip
    return [*lines, *table(("figures", "why"), [(n, why) for why, n in reasons.most_common()]), ""]


def sources(rows: Sequence[Scored]) -> list[str]:
    """Where the rows were published."""
    counts = Counter(s.row.source for s in rows)
    body = []
    for key, n in counts.most_common():
        source = measured_sources()[key]
        body.append((f"[{source.title}]({source.url})" if source.url else f"{source.title} ({source.document})", n))
    return ["## Sources", "", *table(("source", "rows"), body)]


def where(s: Scored) -> tuple[str, ...]:
    """A row as text."""
    r = s.row
    at = f"ctx {r.ctx:,g}" if r.ctx is not None else f"{r.prompt_tokens:,g} + {r.output_tokens:,g} tokens"
    split = "".join(f" {k}{n}" for k, n in (("tp", r.tp), ("pp", r.pp), ("ep", r.ep), ("dp", r.dp)) if n > 1)
    return r.id, r.gpu, r.engine, r.model, f"{r.phase}, batch {r.batch:g}, {at}, {r.dtype}{split}"


def show(rows: Sequence[Scored]) -> None:
    """Print the figures; nothing is fitted or written."""
    print(json.dumps(figures(rows), indent=1, ensure_ascii=False))


def slow() -> dict[str, Any]:
    """The figures that take long, which the baseline keeps."""
    return {"fitted": fitted.figures(), "source_out": source_out.figures(), "servers": servers.figures(servers.everything())}


def main() -> None:
    """Write the page and the baseline, and print the figures."""
    rows, kept = scored(measured_rows()), slow()
    PAGE.write_text(page(rows, kept), encoding="utf-8")
    BASELINE.write_text(json.dumps(figures(rows) | kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    show(rows)


if __name__ == "__main__":
    main()
