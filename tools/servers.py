"""The chapter of servers in the accuracy report: what `serve` and `replay` say of published figures.

Part of `tools/accuracy.py`. `figures` scores every row (`tools/served.py`) and replays the recorded runs; `lines` makes the chapter of
these figures alone, so that a test can hold the page without scoring anew.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from sol import load_model, replay
from sol.sources.database.serving import ServingRow, serving_sources
from tools.derive_prompts import LEFT_OUT
from tools.report_table import percent, table
from tools.served import served
from tools.servers_text import APART, CHAPTER, OFFLINE, REASONS, TARGETS, Target
from tools.serving_accuracy import CONCURRENCY_BANDS, CUTS, PROMPT_BANDS, Scored, band, figures_of, in_order, listed, load, scored_rows

TRACES = Path(__file__).parent.parent / "tests" / "fixtures" / "traces"
RUNS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "rtx-4090_llama-3.1-8b": ("llama-3.1-8b", "rtx-4090", {"kv_tokens": 41_408}),
    "rtx-pro-6000-server_llama-3.1-8b": ("llama-3.1-8b", "rtx-pro-6000-server", {"max_batch": 128, "max_batch_tokens": 2048}),
    "rtx-pro-6000-server_tp2_qwen3-32b": ("qwen3-32b", "rtx-pro-6000-server", {"max_batch": 128, "max_batch_tokens": 2048, "tp": 2}),
    "rtx-pro-6000-server_tp2_qwen3-32b_no peer access": (
        "qwen3-32b", "rtx-pro-6000-server", {"max_batch": 128, "max_batch_tokens": 2048, "tp": 2, "link": "pcie5-x16-no-p2p"},
    ),
}  # fmt: skip
"""The recorded runs: model, device, and what their README says of the server; how its two cards are wired is not said."""
SPLITS = ("holdout", "fit")
SHOWN = 15


def apart(row: ServingRow) -> str:
    """Why a row is listed apart; "" for one that counts."""
    if row.statistic in ("p90", "p99"):
        return "percentile"
    if row.overloaded:
        return "overloaded"
    if row.metric == "requests_per_s" and row.request_rate_per_s is not None:
        return "given"
    if row.waiting:
        return "waiting"
    return "own run" if row.metric == "ttft_s" and row.note.startswith("own run") else ""


def kind(row: ServingRow) -> str:
    """The quantity that a row is counted under."""
    if row.offline:
        return "throughput"
    if row.request_rate_per_s is not None:
        return f"rate {row.metric}"
    return "tpot" if row.metric in ("tpot_s", "itl_s") else "ttft"


BY: Mapping[str, Mapping[str, Callable[[ServingRow], str]]] = {
    "tpot": {
        "run": lambda r: "NVIDIA's own" if r.note.startswith("own run") else "InferenceX",
        "device": CUTS["device"], "engine": CUTS["engine"], "model": CUTS["model"], "devices": CUTS["devices"],
        "prompt tokens a step": lambda r: band(r.prompt_tokens_per_step, PROMPT_BANDS, ""),
        "concurrency": lambda r: band(r.concurrency, CONCURRENCY_BANDS, ""),
    },
    "throughput": {
        "device": CUTS["device"], "engine": CUTS["engine"], "model": CUTS["model"],
        "split": lambda r: "one device" if r.devices == 1 else f"dp {r.dp}" if r.dp > 1 else f"pp {r.pp}" if r.pp > 1 else f"tp {r.tp}",
        "prompt : output": lambda r: band(r.prompt_tokens / r.output_tokens, (1, 4), ""),
    },
}  # fmt: skip
BY = {**BY, "ttft": BY["tpot"], "rate": {"metric": lambda r: f"{r.metric} {r.statistic}", "model": lambda r: r.model}}
"""What each quantity is cut by."""


def figures(rows: Sequence[Scored]) -> dict[str, Any]:
    """All figures of the chapter, for the baseline, of every published row."""
    counted = [s for s in rows if not apart(s.row)]
    halves = {split: [s for s in counted if s.row.split == split] for split in SPLITS}
    far = sorted((s for s in counted if s.predicted is not None), key=lambda s: -abs(math.log1p(s.error)))
    return {
        "rows": len(rows),
        "judged": sum(s.beyond is not None for s in rows), "beyond": sum(s.beyond is True for s in rows),
        "targets": {t.name: {split: rounded(figures_of([s for s in halves[split] if t.of(s.row)])) for split in SPLITS} for t in TARGETS},
        "metrics": cut(halves, lambda r: f"{load(r)}: {r.metric} {r.statistic}".strip()),
        "cuts": {
            name: {by: cut({k: [s for s in v if kind(s.row).split()[0] == name] for k, v in halves.items()}, of) for by, of in cuts.items()}
            for name, cuts in BY.items()
        },
        "apart": {why: {split: rounded(figures_of([s for s in rows if apart(s.row) == why and s.row.split == split])) for split in SPLITS}
                  for why in APART},
        "runs": {name: run(name) for name in RUNS}, "first_tokens": json.loads(LEFT_OUT.read_text(encoding="utf-8")),
        "far": listed(one_each(far)[:SHOWN]),
        "sources": {key: sum(s.row.source == key for s in rows) for key in serving_sources()},
    }  # fmt: skip


def everything() -> list[Scored]:
    """Every published row with what `serve` says of it."""
    return scored_rows(served)


def one_each(rows: Sequence[Scored]) -> list[Scored]:
    """The first row of every model, device and quantity."""
    found: dict[tuple[str, ...], Scored] = {}
    for s in rows:
        found.setdefault((s.row.model, s.row.gpu, kind(s.row)), s)
    return list(found.values())


def cut(halves: Mapping[str, Sequence[Scored]], by: Callable[[ServingRow], str]) -> dict[str, dict[str, Any]]:
    """The figures of every group, held out and fitted."""
    names = in_order({by(s.row) for half in halves.values() for s in half})
    return {n: {split: rounded(figures_of([s for s in half if by(s.row) == n])) for split, half in halves.items()} for n in names}


def rounded(found: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as they are kept."""
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}


def run(name: str) -> dict[str, float]:
    """The errors of the means of a recorded run [1]."""
    model, gpu, options = RUNS[name]
    wanted = ("arrival_s", "prompt_tokens", "output_tokens", "first_token_s", "last_token_s")
    with (TRACES / f"{name.removesuffix('_no peer access')}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    errors = replay({k: [float(r[k]) for r in rows] for k in wanted}, model, gpu, engine="vllm@0.19", **options).errors
    return {k: round(v, 4) for k, v in (errors or {}).items()}


HEAD = ("held out", "median error", "P90", "inside", "fitted", "median error", "P90", "inside")


def both(halves: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The cells of a line: held out first, then fitted."""
    return tuple(cell for split in SPLITS for cell in cells(halves[split]))


def cells(f: Mapping[str, Any]) -> tuple[str, ...]:
    """n, median, P90, share inside the interval."""
    return (f"{f['n']:,}", *("–" if f[k] is None else percent(f[k]) for k in ("median_error", "p90_error", "held")))


def lines(found: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The chapter; `steps` are the targets of single steps, which the measured rows tell."""
    return [
        "# Servers", "", CHAPTER.format(rows=found["rows"], judged=found["judged"], beyond=found["beyond"]), "",
        *targets(found, steps), *replays(found["runs"]),
        "## Servers by metric", "", *table(("load and metric", *HEAD), [(k, *both(v)) for k, v in found["metrics"].items()]), "",
        *(line for name, title in TITLES.items() for line in section(title, TEXTS.get(name, ""), found["cuts"][name])),
        "## Listed apart, and not counted", "",
        *(f"- {APART[why]} {said(of, why != 'percentile')}" for why, of in found["apart"].items()), "",
        "## Where servers are missed most", "", "The worst row of a model on a device, of each quantity.", "", *found["far"], "",
        "## Sources of the figures of servers", "", *table(("source", "rows"), [
            (f"[{source.title}]({source.url})", found["sources"][key]) for key, source in serving_sources().items()
        ]),
    ]  # fmt: skip


TITLES = {
    "tpot": "Time per output token at a constant number of requests", "ttft": "Time to the first token at a constant number of requests",
    "throughput": "Throughput of runs that queue all requests at once", "rate": "Arrivals at a constant rate",
}  # fmt: skip
TEXTS = {"throughput": OFFLINE}


def section(title: str, text: str, cuts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One quantity by all its cuts."""
    body = [(by, name, *both(halves)) for by, groups in cuts.items() for name, halves in groups.items()]
    return [f"## {title}", "", *([text, ""] if text else []), *table(("", "", *HEAD), body), ""]


def said(halves: Mapping[str, Mapping[str, Any]], told: bool) -> str:
    """The figures of rows that are listed apart, as a sentence."""

    def part(name: str, f: Mapping[str, Any]) -> str:
        return f"{name} {f['n']:,}" + (f" (median error {percent(f['median_error'])})" if told and f["n"] else "")

    return f"{part('Held out', halves['holdout'])}, {part('fitted', halves['fit'])}."


class Line(NamedTuple):
    """A target in the table: its cells, and why it is missed ("" where it is met)."""

    cells: tuple[str, ...]
    why: str


def target_lines(found: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    """Every target of servers, of single steps, and of the recorded runs."""
    lines_ = []
    for t in TARGETS:
        halves = found["targets"][t.name]
        lines_.append(judged(t.name, t.aim, cells(halves["holdout"]), kept(t, halves["holdout"]), REASONS[t.name]))
    first = found["first_tokens"]
    shown = (f"{first['n']:,}", percent(first["median_error"]), percent(first["p90_error"]), "–")
    name, met = "TTFT, the model left out of what prompts take", first["median_error"] <= 0.25
    lines_.insert(4, judged(name, "median 25 %", shown, met, "Prompts of a model say more of it than those of others."))
    for name, of in steps.items():
        aim = f"median {100 * of['aim']:g} %"
        lines_.append(judged(f"estimate: {name}", aim, cells(of), of["median_error"] <= of["aim"], REASONS[name]))
    for name, of in found["runs"].items():
        off = [abs(v) for v in of.values()]
        shown = ("3 means", percent(median(off)), percent(max(off)), "–")
        lines_.append(
            judged(f"replay: {named(name)}", f"within {100 * run_aim(name):g} %", shown, max(off) <= run_aim(name), REASONS[name])
        )
    return lines_


def judged(name: str, aim: str, shown: tuple[str, ...], met: bool, why: str) -> Line:
    """One target."""
    return Line((name, aim, *shown, "met" if met else "missed"), "" if met else f"- **{name}.** {why}")


def kept(target: Target, f: Mapping[str, Any]) -> bool:
    """Whether figures keep a target."""
    near = f["median_error"] is not None and f["median_error"] <= target.median
    return bool(near and (target.p90 is None or f["p90_error"] <= target.p90))


def targets(found: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was aimed at, whether it is met on held-out rows, and why not."""
    made = target_lines(found, steps)
    why = [line.why for line in made if line.why]
    missed = ["What is missed, and why as far as it is known:", "", *why, ""] if why else []
    head = ("target", "aim", "held out", "median error", "P90 (replay: worst)", "inside", "")
    return ["## Targets", "", *table(head, [line.cells for line in made]), "", *missed]


def run_aim(name: str) -> float:
    """How near the means of a recorded run should be [1]: one device, and two."""
    return 0.10 if load_model(RUNS[name][0]).parameters > 2e10 else 0.04


def named(run_: str) -> str:
    """A recorded run as text."""
    return run_.replace("_", ", ")


def replays(runs: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The recorded runs."""
    body = [(named(name), *(percent(of[k]) for k in ("ttft_s", "tpot_s", "e2e_s"))) for name, of in runs.items()]
    return [
        "## Recorded runs, replayed", "",
        "Three overloaded runs of 300 requests ([Replays](replays.md)): the error of the mean, with its sign. How the two cards of the "
        "last are wired is not said: by default they have peer access, and full steps of the run take as long as without it.", "",
        *table(("run", "TTFT", "TPOT", "E2E"), body), "",
    ]  # fmt: skip
