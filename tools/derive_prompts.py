"""Derive what prompts take in servers from published times to the first token: `python -m tools.derive_prompts`.

Steps are as `tools.derive_engines` has them. Of rows marked `fit` it finds, for each engine on a device, the time outside any step
until the client has its first token, and the fraction of the peak FLOPs that experts reach in prompts, for each format of theirs.
Kernels of experts timed alone reach two to eight times as much of the peak as those of servers.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from sol import load_model, serve
from sol.answers.question.formats import resolve_formats
from sol.answers.question.records import resolve_gpu
from sol.physics.time.estimate import rate_names
from sol.sources.database.calibrations import PROMPTS, engine_classes, of_steps, prompt_times, shipped
from sol.sources.database.engine_calibrations import shipped_calibration
from sol.sources.database.serving import ServingRow, serving_rows, serving_sources
from sol.specs.calibration import Calibration, Figure, Rate
from sol.specs.engines import engine_family
from sol.specs.quantities import Array
from tools.served import asked_of, engine_of

OUT = Path(__file__).parent.parent / "hardware_db" / "calibrations" / PROMPTS
LEFT_OUT = Path(__file__).parent.parent / "tests" / "fixtures" / "first_tokens.json"
"""How far first tokens are off where their model is left out, for the report."""
FACTORS: Array = np.geomspace(1.0, 0.1, 9)
"""Parts of the kernels' own fraction of the peak that are tried."""
CONSTANTS: Array = np.concatenate(([0.0], np.geomspace(2e-3, 0.2, 40)))
"""Times outside any step that are tried [s]."""
MOST_USERS = 64.0
ENOUGH = 8
"""Rows that tell a figure."""


class Told(NamedTuple):
    """A row's expected time to the first token with the experts' rates at every factor, without any constant [s]; and the measured one."""

    key: str
    expected_s: Array
    measured_s: float


def rows_of_calibrations() -> dict[str, list[ServingRow]]:
    """The rows to be fitted, by the id of the calibration that answers for them."""
    found: dict[str, list[ServingRow]] = defaultdict(list)
    for row in serving_rows():
        usable = row.metric == "ttft_s" and row.split == "fit" and row.statistic in ("", "mean") and not row.waiting and not row.overloaded
        started = row.request_rate_per_s is not None or "InferenceX" in row.note  # how other runs start is not said
        if usable and started and (row.concurrency or 0.0) <= MOST_USERS and row.cached_share is not None:
            found[shipped_calibration(row.gpu, engine_of(row)).id].append(row)
    return found


def experts_key(row: ServingRow) -> str:
    """The name of the rate of a row's experts; empty for a dense model."""
    model = load_model(row.model)
    if not model.is_moe:
        return ""
    storage, _, _, _ = resolve_formats(model, resolve_gpu(row.gpu), row.dtype, row.kv_dtype)
    keys, _ = shipped_calibration(row.gpu, engine_of(row)).rates_of("mfu", "experts", *rate_names(storage.stored("weights")))
    return keys[0] if keys else "experts"


def slowed(c: Calibration, key: str, factor: float) -> Calibration:
    """A calibration whose experts reach that part of their fraction of the peak."""
    of = c.rates.get(key, Rate())
    mfu = (of.mfu or c.mfu).value * factor
    return c.model_copy(update={"rates": {**c.rates, key: of.model_copy(update={"mfu": Figure(value=mfu)})}})


def told(row: ServingRow, c: Calibration) -> Told:
    """What one row tells."""
    key = experts_key(row)
    factors = FACTORS if key else FACTORS[:1]
    options = asked_of(row)
    found = [serve(calibration=slowed(c, key, f) if key else c, **options).ttft_s for f in factors.tolist()]
    return Told(key, np.array([*found, *[found[-1]] * (FACTORS.size - len(found))]), row.value)


def fitted(rows: Sequence[Told]) -> tuple[float, dict[str, float]]:
    """The constant [s] and the factor of each kind of experts with the least sum of |log(expected/measured)|."""
    best: tuple[float, float, dict[str, float]] = (np.inf, 0.0, {})
    by_key: dict[str, list[Told]] = defaultdict(list)
    for row in rows:
        by_key[row.key].append(row)
    for constant in CONSTANTS.tolist():
        cost, factors = 0.0, {}
        for key, mine in by_key.items():
            expected = np.stack([row.expected_s for row in mine]) + constant
            off = np.abs(np.log(expected / np.array([row.measured_s for row in mine])[:, None])).sum(axis=0)
            at = int(np.argmin(off)) if key and len(mine) >= ENOUGH else 0
            cost += float(off[at])
            if at:
                factors[key] = float(FACTORS[at])
        if cost < best[0]:
            best = cost, constant, factors
    return best[1], best[2]


def derived() -> dict[str, dict[str, Any]]:
    """The figures of every calibration of servers, by its id: its own, else what is usual for its engine, or for servers."""
    bare, classes = of_steps(), engine_classes()
    servers = {name: c for name, c in bare.items() if classes.get(c.engine) == "graph"}
    own: dict[str, tuple[float, dict[str, float], list[ServingRow]]] = {}
    for name, rows in sorted(rows_of_calibrations().items()):
        each = [told(row, bare[name]) for row in rows]
        known = [t for t in each if np.isfinite(t.expected_s).all()]  # beyond 90 % utilization nothing is expected
        if len(known) >= ENOUGH:
            own[name] = (*fitted(known), rows)
    found: dict[str, dict[str, Any]] = {}
    for name, c in sorted(servers.items()):
        constant, factors, rows = own.get(name, (None, {}, []))
        alike = [v for n, v in own.items() if engine_family(bare[n].engine) == engine_family(c.engine)] or list(own.values())
        usual = _median(list(factors.values()) or [f for v in alike for f in v[1].values()])
        of_experts = [key for key, rate in c.rates.items() if key.startswith("experts") and rate.mfu is not None]
        mfu = {key: _round((c.rates[key].mfu or c.mfu).value * factors.get(key, usual)) for key in of_experts}
        found[name] = {"first_token_s": _round(_median([v[0] for v in alike]) if constant is None else constant), "mfu": mfu}
        if rows:
            sources = sorted({row.source for row in rows}, key=lambda s: -sum(r.source == s for r in rows))
            told_of = ", ".join(sorted(factors)) or "no format"
            note = f"experts as rows tell them of {told_of}; of others {usual:.2g} times what kernels alone reach, the median of these"
            found[name] |= {"n": len(rows), "models": sorted({row.model for row in rows}), "source": sources[0], "note": note}
        else:
            found[name]["note"] = (
                f"no rows: the medians of {'this engine' if alike and own else 'servers'} on other devices or of other versions"
            )
    return found


def left_out() -> list[tuple[ServingRow, float]]:
    """Every row to be fitted with its time to the first token as the rows of other models tell it [s]."""
    alone = of_steps()
    each = {name: [(row, told(row, alone[name])) for row in rows] for name, rows in rows_of_calibrations().items()}
    found = []
    for name, rows in each.items():
        for model in sorted({row.model for row, _ in rows}):
            mine = [t for row, t in rows if row.model != model and np.isfinite(t.expected_s).all()]
            near = [t for n, others in each.items() if engine_family(alone[n].engine) == engine_family(alone[name].engine)
                    for row, t in others if row.model != model and np.isfinite(t.expected_s).all()]  # fmt: skip
            if len(mine) < ENOUGH:
                mine = near
            if len(mine) < ENOUGH:
                continue
            constant, factors = fitted(mine)
            usual = _median(list(factors.values()) or list(fitted(near)[1].values()))
            for row, t in rows:
                if row.model == model and np.isfinite(t.expected_s).all():
                    at = int(np.argmin(np.abs(np.log(FACTORS / factors.get(t.key, usual)))))
                    found.append((row, float(t.expected_s[at]) + constant))
    return found


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else 1.0


def _round(value: float) -> float:
    return float(f"{value:.3g}")


HEADER = """\
#:schema ../schema/prompt-times.schema.json
# What prompts take in servers: written by `python -m tools.derive_prompts`, not by hand, after engines.toml, from the rows of serving/ that
# are marked fit. first_token_s: seconds outside any step until the client has its first token. mfu: what experts reach in prompts.

"""


def main() -> None:
    """Write the file."""
    OUT.write_text(HEADER, encoding="utf-8")
    for cached in (shipped, prompt_times):
        cached.cache_clear()
    found = derived()
    sources = {
        key: s.model_dump(exclude_none=True) for key, s in serving_sources().items() if any(v.get("source") == key for v in found.values())
    }
    OUT.write_text(HEADER + tomli_w.dumps({"sources": sources, **found}), encoding="utf-8")
    for cached in (shipped, prompt_times):
        cached.cache_clear()
    off = sorted(abs(expected / row.value - 1.0) for row, expected in left_out())
    figures = {"n": len(off), "median_error": round(float(np.median(off)), 4), "p90_error": round(off[math.ceil(0.9 * len(off)) - 1], 4)}
    LEFT_OUT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"{OUT.name}: {len(found)} calibrations, {sum(v.get('n', 0) for v in found.values())} rows")


if __name__ == "__main__":
    main()
