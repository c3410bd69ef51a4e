"""Which split of which number of devices is best, and why: every legal split times every batch, priced at once.

Ranked by the serial floor, latencies of collectives included: the floor alone knows no latency, so it
never says that one device more makes a step slower. What does not fit is counted and never rated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress, repeat
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from sol.answers.floor import answer
from sol.answers.question import ask, load_model, number, numbers, resolve_gpu
from sol.answers.result import Floor
from sol.errors import DoesNotFit, InvalidInput, InvalidPlan
from sol.specs.formats import NumberFormat
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.split import Split, experts_of, legal, tp_divisor
from sol.specs.step import Array
from sol.tabular import Table

Objective = Literal["latency", "tokens_per_s_per_user", "tokens_per_s_per_gpu", "cost"]
BATCHES = np.unique(np.round(np.geomspace(1, 4096, 64)))
MOST_DEVICES = 4096


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """Every candidate, one row each, and the best of them.

    `splits` (one a candidate), and arrays over the candidates [unit]: `devices`, `batch`, `latency_s`
    (the serial floor of a decode step), `floor_s` [s], `tokens_per_s_per_user`, `tokens_per_s_per_gpu`
    [token/s], `cost_per_million` (of output tokens, in the currency of the price; None without one),
    `fits`. `best` is the winner's index, `front` those no other beats in both rates, `fewest` the least
    number of devices that holds it.
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
    tokens_per_s_per_user: Array
    tokens_per_s_per_gpu: Array
    cost_per_million: Array | None
    fits: Any
    best: int
    front: tuple[int, ...]
    fewest: int
    ctx: float
    meets: Any
    asked: dict[str, Any]
    winner: Floor
    assumptions: tuple[str, ...]

    def table(self) -> Table:
        """The best of each number of devices, and the front, as a table."""
        from sol.answers.show_plan import plan_table

        return plan_table(self)

    def why(self) -> str:
        """In words, why the winner wins and where the others lose."""
        from sol.answers.show_plan import reasons

        return reasons(self)

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain JSON values."""
        from sol.answers.show_plan import plan_document

        return plan_document(self)

    def __repr__(self) -> str:
        chosen = f"{self.splits[self.best]}, batch {self.batch[self.best]:g}"
        return f"<Plan {self.model.id} on {self.gpu.id}: {chosen}, of {len(self.splits)} candidates>"

    def __str__(self) -> str:
        return self.table().to_text()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def plan(
    model: str | Path | Model, gpu: str | GPU, *, devices: int | str | Sequence[int], ctx: float, objective: str = "latency",
    batch: Any = None, tpot_s: float | None = None, price_per_hour: float | None = None, network: str | None = None,
    dtype: str | NumberFormat | None = None, kv_dtype: str | NumberFormat | None = None, routing: Any = "expected",
) -> Plan:  # fmt: skip
    """The best split of a decode step over `devices` devices, the Pareto front, and why.

    Parameters
    ----------
    model, gpu, dtype, kv_dtype, routing : as in `floor`.
    devices : how many there are: a number, a list, or a range as text, "1-16" [1].
    ctx : tokens in the cache of every sequence [token].
    objective : "latency" (at the smallest batch), "tokens_per_s_per_user", "tokens_per_s_per_gpu" or "cost".
    batch : batches of the replica to try [1]; by default 64 from 1 to 4,096, for latency the smallest alone.
    tpot_s : the longest step that is acceptable [s].
    price_per_hour : of one device; required for "cost".
    network : id of the link beyond the devices' own domain; without it, numbers beyond that are left out.

    Raises `InvalidInput`, `InvalidPlan` where nothing legal is left, `DoesNotFit` where nothing fits.
    """
    the_model, the_gpu = load_model(model), resolve_gpu(gpu)
    if objective not in get_args(Objective):
        raise InvalidInput(f"objective={objective!r} is not one of {', '.join(get_args(Objective))}")
    price = None if price_per_hour is None else number("price_per_hour", price_per_hour, above=0.0)
    if objective == "cost" and price_per_hour is None:
        raise InvalidInput("objective='cost' needs price_per_hour, the price of one device")
    limit = None if tpot_s is None else number("tpot_s", tpot_s, above=0.0)
    given = np.array([1.0]) if objective == "latency" else BATCHES
    batches = given if batch is None else numbers("batch", batch, above=0.0).ravel()
    counts, context = device_counts(devices), number("ctx", ctx, at_least=0.0)
    asked: dict[str, Any] = {"ctx": context, "dtype": dtype, "kv_dtype": kv_dtype, "routing": routing, "network": network}
    splits, swept = _priced(the_model, the_gpu, counts, batches, asked)
    return _chosen(the_model, the_gpu, objective, splits, swept, batches, limit, price, context, asked)  # type: ignore[arg-type]  # checked above


def device_counts(devices: Any) -> list[int]:
    """The numbers of devices of an int, a list, or text such as "1-16" or "1,2,8". Raises `InvalidInput`."""
    try:
        if isinstance(devices, str):
            found = [n for part in devices.split(",") for n in _span(part)]
        else:
            found = [devices] if isinstance(devices, int) else list(devices)
        if not found or not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n <= MOST_DEVICES for n in found):
            raise ValueError
    except (ValueError, TypeError):
        raise InvalidInput(
            f"devices={devices!r} is not a number, a list or a range of devices such as '1-16', up to {MOST_DEVICES}"
        ) from None
    return sorted(set(found))


def _span(part: str) -> Iterable[int]:
    low, dash, high = part.strip().partition("-")
    last = int(high if dash else low)
    if last > MOST_DEVICES:
        raise ValueError(part)
    return range(int(low), last + 1)


def legal_splits(model: Model, devices: int) -> list[Split]:
    """Every legal split of so many devices. Data parallelism is only for models with experts: copies of a dense one are replicas."""
    routed = experts_of(model) > 0
    found = []
    for tp in _divisors(devices):
        for pp in _divisors(devices // tp):
            dp = devices // tp // pp
            if dp == 1 or routed:
                found += [(tp, pp, ep, dp) for ep in (_divisors(tp * dp) if routed else (1,))]
    return [Split(*ways) for ways, allowed in zip(found, legal(model, Split(*np.array(found).T)), strict=True) if allowed]


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


def _priced(model: Model, gpu: GPU, counts: list[int], batches: Array, asked: dict[str, Any]) -> tuple[list[Split], Floor]:
    """Every legal split of every number of devices, and one sweep over them (down) and the batches (across)."""
    splits = [split for n in counts for split in legal_splits(model, n)]
    if not splits:
        raise InvalidPlan(f"no split of {', '.join(map(str, counts))} devices is legal for {model.id}; {_nearest(model)}")
    ways = np.array(splits, dtype=np.int64).T[:, :, None]
    swept = answer(ask(model, gpu, batch=batches, **Split(*ways)._asdict(), **asked))
    return splits, swept


def _nearest(model: Model) -> str:
    divisor = tp_divisor(model)
    return f"tp divides {divisor}, pp is at most {model.layers}" + (f", ep divides {experts_of(model)}" if experts_of(model) else "")


def _chosen(
    model: Model, gpu: GPU, objective: Objective, splits: list[Split], swept: Floor, batches: Array, limit: float | None,
    price: float | None, ctx: float, asked: dict[str, Any],
) -> Plan:  # fmt: skip
    joined = swept.valid.ravel()  # beyond what the links join there is nothing to rate

    def flat(value: Any) -> Any:
        return np.broadcast_to(value, swept.valid.shape).ravel()[joined]

    devices, batch = flat(swept.devices).astype(float), flat(batches)
    latency, least = flat(swept.serial_s), flat(swept.latency_s)
    fits = np.ones(latency.shape, dtype=bool) if swept.fits is None else flat(swept.fits)
    user = 1.0 / latency
    each = batch * user / devices
    cost = None if price is None else price / 3600.0 / each * 1e6
    meets = fits if limit is None else fits & (latency <= limit)
    if not fits.any():
        needs = float(flat(swept.resident_bytes).min())
        raise DoesNotFit(
            f"no split of up to {devices.max():.0f}×{gpu.id} holds {model.id}: at the least {needs / 1e9:.1f} GB are needed on each, "
            f"{(gpu.memory_bytes or 0) / 1e9:.1f} GB there is; more devices, a narrower dtype or less ctx"
        )
    if not meets.any():
        raise DoesNotFit(
            f"nothing that fits meets tpot_s={limit:g}: the fastest takes {latency[fits].min():.4g} s; more devices, a shorter ctx, "
            "a narrower dtype or a longer tpot_s"
        )
    score = {"latency": latency, "tokens_per_s_per_user": -user, "tokens_per_s_per_gpu": -each, "cost": cost}[objective]
    assert score is not None
    order = np.lexsort((devices, np.where(meets, score, np.inf)))
    best = int(order[0])
    there = (repeat(split, batches.size) for split in compress(splits, swept.valid.any(axis=1)))
    of = tuple(chain.from_iterable(there))
    winner = answer(ask(model, gpu, batch=batch[best].item(), **of[best]._asdict(), **asked))
    return Plan(
        model=model, gpu=gpu, objective=objective, splits=of,
        devices=devices, batch=batch, latency_s=latency, floor_s=least, network_s=flat(swept.network_s),
        tokens_per_s_per_user=user, tokens_per_s_per_gpu=each, cost_per_million=cost, fits=fits, best=best,
        front=_front(user, each, meets), fewest=int(devices[fits].min()), ctx=ctx, meets=meets, asked=asked,
        winner=winner, assumptions=winner.assumptions,
    )  # fmt: skip


def _front(user: Array, each: Array, allowed: Any) -> tuple[int, ...]:
    """The candidates no other beats both per user and per device, fastest per user first."""
    order = np.lexsort((-each, -user))
    order = order[allowed[order]]
    highest = np.maximum.accumulate(np.concatenate(([-np.inf], each[order])))
    return tuple(order[each[order] > highest[:-1]].tolist())
