"""How many devices does a load need, and how are they divided into replicas: every split as a server at its part of the load.

A candidate is a split of one replica and a number of replicas, each with the same part of the load. Its figures are those
that `serve` answers for one replica. Symbols: docs/notation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from sol.answers.estimate.estimate import resolve_calibration
from sol.answers.plan.candidates import device_counts
from sol.answers.plan.replicas import FIGURES, Fails, Load, Tried, tries
from sol.answers.question.inputs import number, one_of
from sol.answers.report.citations import Bibliography
from sol.answers.report.shown import Shown
from sol.answers.serve.limits import WORDS, resolve_limits
from sol.answers.serve.result import Serving
from sol.answers.serve.serve import served
from sol.answers.serve.server import resolve_lengths
from sol.errors import DoesNotFit, InvalidInput
from sol.frozen import Frozen
from sol.physics.serving.steady import MOST_UTILIZATION
from sol.specs.assumption import Assumption, assumed
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Array, Flags
from sol.specs.split import Split
from sol.tabular import Table
from sol.units import show_count, show_seconds, significant

LoadObjective = Literal["devices", "tokens_per_s_per_gpu", "latency", "cost"]
SAME = 1e-9
"""Scores that differ by no more than this part are equal."""


@dataclass(frozen=True, eq=False, repr=False)
class Deployment(Shown, Frozen):
    """Every candidate for a load, and the best of them.

    `splits` of one replica (one per candidate), and arrays over the candidates [unit]: `devices` in all, `replicas` [1], `tpot_s`,
    `ttft_s`, `e2e_s` of a request [s], `requests_per_s`, `output_tokens_per_s` of all replicas [1/s, token/s],
    `output_tokens_per_s_per_gpu`, `utilization` of what they carry [1], `cost_per_million` output tokens (in the currency of the
    price; None without one), `meets` whether it carries the load within the limits, and `fails` the word for why not ("" where it
    does): weights, pool, overloaded, utilization, ttft_s or tpot_s. Without a server there are no figures (NaN).

    `best` is the winner's index, `winner` its replica at its part of the load, with the bound beside it; `front` are the candidates
    that no other beats in both tokens per second and device, and time per token.
    """

    model: Model
    gpu: GPU
    load: str
    concurrency: float | None
    request_rate: float | None
    limits: Mapping[str, float | None]
    objective: LoadObjective
    counts: tuple[int, ...]
    price_per_hour: float | None
    splits: tuple[Split, ...]
    devices: Array
    replicas: Array
    tpot_s: Array
    ttft_s: Array
    e2e_s: Array
    requests_per_s: Array
    output_tokens_per_s: Array
    output_tokens_per_s_per_gpu: Array
    utilization: Array
    cost_per_million: Array | None
    fails: tuple[Fails, ...]
    excess: Array
    meets: Flags
    best: int
    front: tuple[int, ...]
    winner: Serving[float, bool, str]
    shown_by: ClassVar[str] = "sol.answers.plan.show_deployment"

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """What was assumed, one line each: of the best replica, and of the replicas together."""
        lines = ["replicas have equal parts of the load and share nothing: no link joins them, no cache is known to two of them"]
        if self.load == "request_rate":
            lines.append(f"no replica is used beyond {100 * MOST_UTILIZATION:.0f} %: the first token would depend on the arrivals")
        return (*self.winner.assumptions, *assumed("split", lines))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know of the best replica's figures."""
        return self.winner.warnings

    def table(self) -> Table:
        """The best of each number of devices, and the front, as a table."""
        made: Table = self.drawn("deployment_table")
        return made

    def why(self) -> str:
        """What stops the next smaller number of devices, or why more of them are better, in one sentence."""
        made: str = self.drawn("reason")
        return made

    def sources(self) -> Bibliography:
        """The bibliography: the winner's."""
        return self.winner.sources()

    def __repr__(self) -> str:
        return f"<Deployment {self.model.id}: {self.drawn('sentence')}, of {len(self.splits)} candidates>"


def deployed(
    model: Model, gpu: GPU, *, devices: Any, concurrency: Any, request_rate: Any, ttft_s: Any, tpot_s: Any, objective: Any,
    price_per_hour: Any, asked: dict[str, Any], options: Mapping[str, Any],
) -> Deployment:  # fmt: skip
    """The deployment of resolved records for a load; `asked` are the lengths and the engine, as `serve` takes them."""
    if concurrency is not None and request_rate is not None:
        raise InvalidInput(
            "concurrency and request_rate", "are both given", "a load is either so many users or so many requests per second"
        )
    if asked["prompt_tokens"] is None or asked["output_tokens"] is None:
        raise InvalidInput("a load", "needs prompt_tokens and output_tokens, the lengths of its mean request")
    goal: LoadObjective = one_of("objective", "devices" if objective is None else objective, get_args(LoadObjective))
    price = None if price_per_hour is None else number("price_per_hour", price_per_hour, above=0.0)
    if goal == "cost" and price is None:
        raise InvalidInput("objective='cost'", "needs price_per_hour, the price of one device")
    users = None if concurrency is None else number("concurrency", concurrency, at_least=1.0)
    rate = None if request_rate is None else number("request_rate", request_rate, above=0.0)
    limits, counts = resolve_limits(ttft_s, tpot_s), device_counts(devices)
    output = resolve_lengths(asked["prompt_tokens"], asked["output_tokens"], asked["cached_share"]).output
    used = resolve_calibration(gpu, asked["engine"], asked["calibration"])
    if asked["calibration"] is not None:  # read once
        asked = asked | {"calibration": used}
    load = Load("concurrency", users, limits) if users is not None else Load("request_rate", rate or 0.0, limits)
    found = tries(model, gpu, counts, load, asked, options)
    return _chosen(model, gpu, load, goal, price, tuple(counts), found, output)


def _chosen(
    model: Model, gpu: GPU, load: Load, objective: LoadObjective, price: float | None, counts: tuple[int, ...], found: list[Tried],
    output: float,
) -> Deployment:  # fmt: skip
    splits = tuple(t.split for t in found for _ in t.fails)
    replicas = np.concatenate([t.replicas for t in found])
    devices = replicas * np.array([float(s.devices) for s in splits])
    figures = {name: np.concatenate([t.figures[name] for t in found]) for name in FIGURES}
    figures["requests_per_s"] = load.busy(replicas) * figures["requests_per_s"]
    fails, excess = tuple(f for t in found for f in t.fails), np.concatenate([t.excess for t in found])
    meets = np.array([f == "" for f in fails])
    tokens = figures["requests_per_s"] * output
    each = tokens / devices
    cost = None if price is None else price / 3600.0 / each * 1e6
    if not meets.any():
        raise _nobody(model, gpu, load, splits, devices, replicas, figures, fails, excess)
    score = {"devices": devices, "tokens_per_s_per_gpu": -each, "latency": figures["e2e_s"], "cost": cost}[objective]
    assert score is not None
    least = score[meets].min()
    ties = np.flatnonzero(meets & (score <= least + SAME * abs(least)))
    best = int(ties[np.lexsort((figures["ttft_s"][ties], figures["tpot_s"][ties], devices[ties]))[0]])
    server = next(t.server for t in found if t.split == splits[best])
    assert server is not None
    one = load.of_each(replicas[best : best + 1])
    return Deployment(
        model=model, gpu=gpu, load=load.kind, concurrency=load.amount if load.kind == "concurrency" else None,
        request_rate=load.amount if load.kind == "request_rate" else None, limits=load.limits, objective=objective, counts=counts,
        price_per_hour=price, splits=splits, devices=devices, replicas=replicas, **figures, output_tokens_per_s=tokens,
        output_tokens_per_s_per_gpu=each, cost_per_million=cost, fails=fails, excess=excess, meets=meets, best=best,
        front=_front(figures["tpot_s"], each, meets), winner=served(server, load.kind, one, True, dict(load.limits)),
    )  # fmt: skip


def _front(tpot_s: Array, each: Array, allowed: Any) -> tuple[int, ...]:
    """The candidates that no other beats in both time per token and tokens per second and device, the shortest time first."""
    there = np.flatnonzero(allowed)
    order = there[np.lexsort((-each[there], tpot_s[there]))]
    highest = np.maximum.accumulate(np.concatenate(([-np.inf], each[order])))
    return tuple(order[each[order] > highest[:-1]].tolist())


def _nobody(
    model: Model, gpu: GPU, load: Load, splits: tuple[Split, ...], devices: Array, replicas: Array, figures: dict[str, Array],
    fails: tuple[Fails, ...], excess: Array,
) -> DoesNotFit:  # fmt: skip
    """The error where no candidate carries the load within the limits, with the figure of the nearest."""
    most = f"{devices.max():.0f}×{gpu.id}"
    if not np.isfinite(excess).any():
        why = "its weights do not fit" if set(fails) == {"weights"} else "beside its weights no pool holds one request"
        reach = max(int(s.devices) for s in splits)
        wider = (
            f"name the network, so that a replica reaches beyond {reach} devices, or use" if reach < devices.max() else "use more devices,"
        )
        return DoesNotFit(f"no split of up to {most} serves {model.id}:", why, f"{wider} a narrower dtype or shorter requests")
    i = int(np.lexsort((devices, excess))[0])
    who = f"the nearest, {named(splits[i], replicas[i])},"
    if fails[i] in ("overloaded", "utilization"):
        carries = MOST_UTILIZATION * load.amount / figures["utilization"][i]
        return DoesNotFit(
            f"no split of up to {most} carries {significant(load.amount)} requests/s of {model.id}:",
            f"{who} carries {significant(carries)} at {100 * MOST_UTILIZATION:.0f} % utilization", "use more or faster devices",
        )  # fmt: skip
    asked = " and ".join(f"{name}={limit:g}" for name, limit in load.limits.items() if limit is not None)
    amount = f"{show_count(load.amount)} users" if load.kind == "concurrency" else f"{significant(load.amount)} requests/s"
    return DoesNotFit(
        f"no split of up to {most} keeps {asked} for {amount} of {model.id}:",
        f"the {WORDS[fails[i]]} of {who} is {show_seconds(float(figures[fails[i]][i]), 4)}",
        f"use more or faster devices, or allow a longer {fails[i]}",
    )


def named(split: Split, replicas: float) -> str:
    """A candidate in words: 2 replicas of tp=4."""
    return f"{show_count(replicas)} replica{'s' * int(replicas != 1)} of {split}"
