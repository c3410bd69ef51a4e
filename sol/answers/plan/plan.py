"""The best split of devices, and why: every legal split at every batch, priced at once.

Candidates are ranked by the serial floor, which includes the latencies of collectives. The floor has no latency, so by
the floor one more device never makes a step slower. Candidates that do not fit are kept but never chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress, repeat
from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack, get_args

import numpy as np

from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor
from sol.answers.plan.candidates import UNSAID, device_counts, fewest_that_hold, latency_limits, priced
from sol.answers.question.ask import ask
from sol.answers.question.inputs import number, numbers, one_of
from sol.answers.question.options import PlanOptions, check_names, spelled_out
from sol.answers.question.records import load_model, resolve_gpu
from sol.answers.report.citations import Bibliography
from sol.answers.report.shown import Shown
from sol.errors import DoesNotFit, InvalidInput
from sol.frozen import Frozen
from sol.specs.assumption import Assumption
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Array, Flags, Number, Numbers
from sol.specs.split import Split
from sol.tabular import Table

Objective = Literal["latency", "ttft", "tokens_per_s_per_user", "tokens_per_s_per_gpu", "cost"]
AT_ONE = ("latency", "ttft")
"""Objectives that a larger batch never serves."""


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Shown, Frozen):
    """Every candidate, one row each, and the best of them.

    `splits` (one per candidate), and arrays over the candidates [unit]: `devices`, `batch`, `latency_s`
    (the serial floor of a decode step), `floor_s` [s], `ttft_s` (the serial floor of one prompt's prefill [s];
    None unasked), `tokens_per_s_per_user`, `tokens_per_s_per_gpu` [token/s], `cost_per_million` (of output
    tokens, in the currency of the price; None without one), `fits`. `best` is the winner's index, `front`
    those no other beats in both rates, `fewest` the least number of devices that holds it, tried or not; `limits` are `ttft_s`
    and `tpot_s` as asked [s], `meets` who keeps them.
    """

    model: Model
    gpu: GPU
    objective: Objective
    splits: tuple[Split, ...]
    devices: Array
    batch: Array
    latency_s: Array
    floor_s: Array
    network_s: Array
    ttft_s: Array | None
    tokens_per_s_per_user: Array
    tokens_per_s_per_gpu: Array
    cost_per_million: Array | None
    fits: Flags
    best: int
    front: tuple[int, ...]
    fewest: int
    ctx: float
    prompt_tokens: float | None
    limits: dict[str, float | None]
    meets: Flags
    asked: dict[str, Any]  # any: values of every option of a step, by name
    winner: Floor[float, bool, str]
    assumptions: tuple[Assumption, ...]
    communication_s: Array
    shown_by: ClassVar[str] = "sol.answers.plan.show"

    def table(self) -> Table:
        """The best of each number of devices, and the front, as a table."""
        made: Table = self.drawn("plan_table")
        return made

    def why(self) -> str:
        """Why the best split is best, in words."""
        made: str = self.drawn("reasons")
        return made

    def sources(self) -> Bibliography:
        """The bibliography: the winner's."""
        return self.winner.sources()

    def __repr__(self) -> str:
        chosen = f"{self.splits[self.best]}, batch {self.batch[self.best]:g}"
        return f"<Plan {self.model.id} on {self.gpu.id}: {chosen}, of {len(self.splits)} candidates>"


@spelled_out(PlanOptions)
def plan(
    model: str | Path | Model, gpu: str | GPU, *, devices: int | str | Sequence[int], ctx: Number, objective: Objective = "latency",
    batch: Numbers | None = None, prompt_tokens: Number | None = None, ttft_s: Number | None = None, tpot_s: Number | None = None,
    price_per_hour: Number | None = None, **options: Unpack[PlanOptions],
) -> Plan:  # fmt: skip
    """The best split of a decode step over `devices` devices, the Pareto front, and why (`pools`: with prefill on devices of its own).

    Parameters
    ----------
    model, gpu, dtype, kv_dtype, routing : as in `floor`.
    devices : numbers of devices to try: a number, a list, or a range as text, "1-16" [1].
    ctx : tokens in the cache of every sequence [token].
    objective : "latency" or "ttft" (at the smallest batch), "tokens_per_s_per_user", "tokens_per_s_per_gpu" or "cost".
    batch : batches of the replica to try [1]; by default 64 of each split, from 1 to 4,096 sequences for each of its copies and
        stages, for latency and ttft the smallest alone.
    prompt_tokens : of one prompt that is prefilled alone [token]; by default `ctx`.
    ttft_s, tpot_s : the longest prefill of that prompt, and the longest step, that are acceptable [s].
    price_per_hour : of one device; required for "cost".
    link : id of the link inside a box, as in `floor`.
    network : id of the link beyond the devices' own domain; without it, numbers beyond that are left out.

    Raises `InvalidInput`, `InvalidPlan` where nothing legal is left, `DoesNotFit` where nothing fits.
    """
    check_names(plan, options, PlanOptions.__optional_keys__)
    the_model, the_gpu = load_model(model), resolve_gpu(gpu)
    one_of("objective", objective, get_args(Objective))
    price = None if price_per_hour is None else number("price_per_hour", price_per_hour, above=0.0)
    if objective == "cost" and price is None:
        raise InvalidInput("objective='cost'", "needs price_per_hour, the price of one device")
    limits = latency_limits(ttft_s, tpot_s)
    alone = np.array([1.0]) if objective in AT_ONE else None
    batches = alone if batch is None else numbers("batch", batch, above=0.0).ravel()
    counts, context = device_counts(devices), number("ctx", ctx, at_least=0.0)
    asked: dict[str, Any] = {"ctx": context, **UNSAID, **options}
    swept = priced(the_model, the_gpu, counts, batch=batches, **asked)
    first = None
    if objective == "ttft" or ttft_s is not None or prompt_tokens is not None:
        prompt = number("prompt_tokens", context if prompt_tokens is None else prompt_tokens, above=0.0)
        _, first = priced(the_model, the_gpu, counts, batch=np.array([1.0]), phase="prefill", **asked | {"ctx": prompt})
    return _chosen(the_model, the_gpu, objective, swept, first, limits, price, asked, batches)


def _chosen(
    model: Model, gpu: GPU, objective: Objective, swept: tuple[list[Split], Floor], first: Floor | None,
    limits: dict[str, float | None], price: float | None, asked: dict[str, Any], batches: Array | None,
) -> Plan:  # fmt: skip
    splits, steps = swept
    joined = steps.valid.ravel()  # beyond what the links join there is nothing to rate

    def flat(value: Any) -> Any:
        return np.broadcast_to(value, steps.valid.shape).ravel()[joined]

    held = [(steps.question, batches), *([(first.question, np.ones(1))] if first is not None else [])]
    devices, batch = flat(steps.devices).astype(float), flat(steps.question.step.batch)
    latency, ttft = flat(steps.serial_s), None if first is None else flat(first.serial_s)
    fits = np.ones(latency.shape, dtype=bool) if steps.fits is None else flat(steps.fits)
    if first is not None and first.fits is not None:
        fits = fits & flat(first.fits)
    apart = np.maximum(latency, flat(steps.interval_s))  # tokens of one user, in a pipeline of uneven stages
    user = 1.0 / apart
    each = batch * user / devices
    cost = None if price is None else price / 3600.0 / each * 1e6
    if not fits.any():
        needs = float(flat(steps.resident_bytes).min())
        raise DoesNotFit(
            f"no split of up to {devices.max():.0f}×{gpu.id} holds {model.id}:",
            f"at least {needs / 1e9:.1f} GB are needed on each, but each has {(gpu.memory_bytes or 0) / 1e9:.1f} GB",
            "use more devices, a narrower dtype or a shorter context",
            needed_bytes=float(needs),
            capacity_bytes=gpu.memory_bytes,
        )
    fewest = fewest_that_hold(model, held, int(devices[fits].min()))
    meets = _within({"tpot_s": apart, "ttft_s": ttft}, limits, fits)
    score = {
        "latency": latency, "ttft": ttft, "tokens_per_s_per_user": -user, "tokens_per_s_per_gpu": -each, "cost": cost,
    }[objective]  # fmt: skip
    assert score is not None
    ties = np.flatnonzero(meets & (score == score[meets].min()))
    best = int(ties[np.lexsort((latency[ties], devices[ties]))[0]])
    there = (repeat(split, steps.valid.shape[1]) for split in compress(splits, steps.valid.any(axis=1)))
    of = tuple(chain.from_iterable(there))
    winner = floor_of(ask(model, gpu, batch=batch[best].item(), **of[best]._asdict(), **asked))
    return Plan(
        model=model, gpu=gpu, objective=objective, splits=of, devices=devices, batch=batch, latency_s=latency,
        floor_s=flat(steps.latency_s), network_s=flat(steps.network_s), ttft_s=ttft, tokens_per_s_per_user=user, tokens_per_s_per_gpu=each,
        cost_per_million=cost, fits=fits, best=best, front=_front(user, each, meets), fewest=fewest,
        ctx=asked["ctx"], prompt_tokens=None if first is None else first.question.ctx.item(), limits=limits, meets=meets, asked=asked,
        winner=winner, assumptions=winner.assumptions, communication_s=flat(steps.communication_s),
    )  # fmt: skip


def _within(values: dict[str, Any], limits: dict[str, float | None], fits: Any) -> Any:
    """Which of those that fit keep every limit. Raises `DoesNotFit` naming the one that none keeps."""
    meets = fits
    for name, value in values.items():
        limit = limits[name]
        if limit is not None:
            left, meets = meets, meets & (value <= limit)
            if not meets.any():
                raise DoesNotFit(
                    f"no candidate that fits keeps {name}={limit:g}:",
                    f"the fastest takes {value[left].min():.4g} s",
                    f"use more devices, a shorter context, a narrower dtype or a longer {name}",
                )
    return meets


def _front(user: Array, each: Array, allowed: Any) -> tuple[int, ...]:
    """The Pareto front of rates per user and per device, fastest per user first."""
    there = np.flatnonzero(allowed)
    order = there[np.lexsort((-each[there], -user[there]))]
    highest = np.maximum.accumulate(np.concatenate(([-np.inf], each[order])))
    return tuple(order[each[order] > highest[:-1]].tolist())
