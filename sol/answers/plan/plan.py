"""The best split of devices, and why: every legal split at every batch, priced at once.

Candidates are ranked by the serial floor, which includes the latencies of collectives. The floor has no latency, so by
the floor one more device never makes a step slower. Candidates that do not fit are kept but never chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress, repeat
from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack, get_args, overload

import numpy as np

from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor
from sol.answers.plan.candidates import UNSAID, device_counts, fewest_that_hold, latency_limits, priced
from sol.answers.plan.deployment import Deployment, LoadObjective, deployed
from sol.answers.question.ask import ask
from sol.answers.question.inputs import number, numbers, one_of
from sol.answers.question.options import PlanOptions, check_names, spelled_out
from sol.answers.question.records import load_model, resolve_gpu
from sol.answers.report.citations import Bibliography
from sol.answers.report.shown import Shown
from sol.errors import DoesNotFit, InvalidInput
from sol.frozen import Frozen
from sol.specs.assumption import Assumption
from sol.specs.calibration import Calibration
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


@overload
def plan(
    model: str | Path | Model, gpu: str | GPU, *, devices: int | str | Sequence[int], ctx: Number, objective: Objective = "latency",
    batch: Numbers | None = None, prompt_tokens: Number | None = None, ttft_s: Number | None = None, tpot_s: Number | None = None,
    price_per_hour: Number | None = None, **options: Unpack[PlanOptions],
) -> Plan: ...  # fmt: skip
@overload
def plan(
    model: str | Path | Model, gpu: str | GPU, *, devices: int | str | Sequence[int], prompt_tokens: Number, output_tokens: Number,
    concurrency: Number, objective: LoadObjective = "devices", ttft_s: Number | None = None, tpot_s: Number | None = None,
    price_per_hour: Number | None = None, cached_share: Number = 0.0, engine: str | None = None,
    calibration: Calibration | str | Path | None = None, max_batch: Number | None = None, max_batch_tokens: Number | None = None,
    memory_fraction: Number | None = None, **options: Unpack[PlanOptions],
) -> Deployment: ...  # fmt: skip
@overload
def plan(
    model: str | Path | Model, gpu: str | GPU, *, devices: int | str | Sequence[int], prompt_tokens: Number, output_tokens: Number,
    request_rate: Number, objective: LoadObjective = "devices", ttft_s: Number | None = None, tpot_s: Number | None = None,
    price_per_hour: Number | None = None, cached_share: Number = 0.0, engine: str | None = None,
    calibration: Calibration | str | Path | None = None, max_batch: Number | None = None, max_batch_tokens: Number | None = None,
    memory_fraction: Number | None = None, **options: Unpack[PlanOptions],
) -> Deployment: ...  # fmt: skip
@spelled_out(PlanOptions)
def plan(
    model: str | Path | Model, gpu: str | GPU, *, devices: int | str | Sequence[int], ctx: Number | None = None,
    objective: Objective | LoadObjective | None = None, batch: Numbers | None = None, prompt_tokens: Number | None = None,
    output_tokens: Number | None = None, concurrency: Number | None = None, request_rate: Number | None = None,
    ttft_s: Number | None = None, tpot_s: Number | None = None, price_per_hour: Number | None = None, cached_share: Number = 0.0,
    engine: str | None = None, calibration: Calibration | str | Path | None = None, max_batch: Number | None = None,
    max_batch_tokens: Number | None = None, memory_fraction: Number | None = None, **options: Unpack[PlanOptions],
) -> Plan | Deployment:  # fmt: skip
    """The best split of a decode step over `devices` devices; or, for a load, the devices and replicas that carry it.

    Without a load the answer is a `Plan` of a step at `ctx`. With `concurrency` or `request_rate` it is a `Deployment`: every split
    of a replica, as a server with its part of the load, times every number of replicas. (`pools`: prefill on devices of its own.)

    Parameters
    ----------
    model, gpu, dtype, kv_dtype, routing : as in `floor`.
    devices : numbers of devices to try: a number, a list, or a range as text, "1-16" [1].
    ctx : tokens in the cache of every sequence [token]; not with a load.
    objective : of a step, "latency" or "ttft" (at the smallest batch), "tokens_per_s_per_user", "tokens_per_s_per_gpu" or "cost";
        of a load, "devices" (the fewest, then the shortest time per token), "tokens_per_s_per_gpu", "latency" (of a request) or "cost".
    batch : batches of the replica to try [1]; by default 64 of each split, from 1 to 4,096 sequences for each of its copies and
        stages, for latency and ttft the smallest alone; not with a load.
    prompt_tokens : of one prompt that is prefilled alone [token]; by default `ctx`. Of a load, its mean prompt.
    output_tokens, concurrency, request_rate, cached_share : the load, as in `serve` [token, 1, 1/s, 0..1]; replicas share it equally.
    engine, calibration, max_batch, max_batch_tokens, memory_fraction : of the servers of a load, as in `serve`.
    ttft_s, tpot_s : the longest time to the first token and per output token that are acceptable [s]: of a step's plan the prefill
        of that prompt and the step, of a load what its users see.
    price_per_hour : of one device; required for "cost".
    link : id of the link inside a box, as in `floor`.
    network : id of the link beyond the devices' own domain; without it, no replica reaches beyond that.

    Raises `InvalidInput`, `InvalidPlan` where nothing legal is left, `DoesNotFit` where nothing fits or nothing keeps the limits,
    `MissingSpec` for a load on a device without a calibration.

    >>> d = plan("llama-3.1-8b", "h100", devices="1-4", prompt_tokens=1024, output_tokens=256, concurrency=32, tpot_s=0.02, engine="vllm")
    >>> float(d.devices[d.best]), d.winner.tpot_s < 0.02
    (1.0, True)
    """
    check_names(plan, options, PlanOptions.__optional_keys__)
    load = {"concurrency": concurrency, "request_rate": request_rate}
    serving: dict[str, Any] = {
        "output_tokens": output_tokens, "engine": engine, "calibration": calibration, "max_batch": max_batch,
        "max_batch_tokens": max_batch_tokens, "memory_fraction": memory_fraction, "cached_share": cached_share or None,
    }  # fmt: skip
    if any(v is not None for v in load.values()):
        given = next((name for name, v in (("ctx", ctx), ("batch", batch)) if v is not None), None)
        if given is not None:
            raise InvalidInput(f"{given} and a load", "are both given", f"the load's requests give it, so leave {given} out")
        asked_of = {**serving, "prompt_tokens": prompt_tokens, "cached_share": cached_share}
        return deployed(
            load_model(model), resolve_gpu(gpu), devices=devices, ttft_s=ttft_s, tpot_s=tpot_s, objective=objective,
            price_per_hour=price_per_hour, asked=asked_of, options=options, **load,
        )  # fmt: skip
    extra = next((name for name, value in serving.items() if value is not None), None)
    if extra is not None:
        raise InvalidInput(f"{extra}", "is of a load, and none is given", "give concurrency= or request_rate= as well")
    if ctx is None:
        raise InvalidInput("ctx is missing:", "a plan is of one step at so many cached tokens", "give ctx=, or a load: concurrency=")
    return _of_step(
        load_model(model), resolve_gpu(gpu), devices, ctx, "latency" if objective is None else objective, batch, prompt_tokens,
        latency_limits(ttft_s, tpot_s), price_per_hour, options,
    )  # fmt: skip


def _of_step(
    the_model: Model, the_gpu: GPU, devices: int | str | Sequence[int], ctx: Number, objective: Any, batch: Numbers | None,
    prompt_tokens: Number | None, limits: dict[str, float | None], price_per_hour: Number | None, options: PlanOptions,
) -> Plan:  # fmt: skip
    """The plan of one decode step."""
    one_of("objective", objective, get_args(Objective))
    price = None if price_per_hour is None else number("price_per_hour", price_per_hour, above=0.0)
    if objective == "cost" and price is None:
        raise InvalidInput("objective='cost'", "needs price_per_hour, the price of one device")
    alone = np.array([1.0]) if objective in AT_ONE else None
    batches = alone if batch is None else numbers("batch", batch, above=0.0).ravel()
    counts, context = device_counts(devices), number("ctx", ctx, at_least=0.0)
    asked: dict[str, Any] = {"ctx": context, **UNSAID, **options}
    swept = priced(the_model, the_gpu, counts, batch=batches, **asked)
    first = None
    if objective == "ttft" or limits["ttft_s"] is not None or prompt_tokens is not None:
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
