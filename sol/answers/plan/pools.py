"""Prefill and decode on separate devices: the best splits, the number of replicas of each, and the gain.

Every legal split of every size is priced once for the prompt and once for a decode step. The search keeps the sizes and
numbers of replicas whose rates match best within the limits, and compares them with the best undivided replicas.
Candidates are ranked by the serial floor, as in plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np

from sol.answers.floor.floor import floor_of
from sol.answers.floor.result import Floor
from sol.answers.plan.candidates import UNSAID, device_counts, latency_limits, priced
from sol.answers.plan.pool_search import PROMPTS, SAME, Division, Search
from sol.answers.question.ask import ask
from sol.answers.question.inputs import number
from sol.answers.question.options import PlanOptions, check_names, spelled_out
from sol.answers.question.records import load_model, resolve_gpu
from sol.answers.question.splits import joining
from sol.answers.report.citations import Bibliography
from sol.answers.report.shown import Shown
from sol.errors import DoesNotFit, InvalidInput
from sol.frozen import Frozen
from sol.physics.time import pools as physics
from sol.specs.assumption import Assumption, assumed
from sol.specs.hardware import GPU
from sol.specs.links import Topology
from sol.specs.model import Model
from sol.specs.quantities import Number
from sol.tabular import Table
from sol.units import show_count, show_rate, significant

MOST_DEVICES = 256
"""The search tries every split of every size up to this number of devices. It takes seconds and grows with the square."""


@dataclass(frozen=True, eq=False, repr=False)
class Pools(Shown, Frozen):
    """Prefill and decode pools for each number of devices, and the best number: the most requests per device, or, for a load, the
    fewest devices that carry it.

    `kv_bytes` of one prompt are sent from pool to pool [B]; `best` indexes `divisions`; `without` lists the numbers of devices
    on which no two pools fit within the limits. The load is `request_rate` [1/s] or `concurrency` [1], None without one.
    """

    model: Model
    gpu: GPU
    prompt_tokens: float
    output_tokens: float
    kv_bytes: float
    limits: dict[str, float | None]
    price_per_hour: float | None
    divisions: tuple[Division, ...]
    best: int
    without: tuple[int, ...]
    links: Topology
    asked: dict[str, Any]  # any: values of every option of a step, by name
    winner: Floor[float, bool, str]
    request_rate: float | None = None
    concurrency: float | None = None
    shown_by: ClassVar[str] = "sol.answers.plan.show_pools"

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """What was assumed, one line each."""
        lines = (
            "decode at the mean context, prompt + (output − 2)/2, because sequences are at all stages of their output",
            f"the cache of a prompt is sent evenly by the devices that hold it, at {self._rates()} per device, while other requests "
            "compute",
            "undivided: a prefill stops the decode steps of its replica (no chunked prefill) · no queueing",
        )
        return (*self.winner.assumptions, *assumed("pools", lines))

    def carries(self, d: Division) -> bool:
        """Whether these pools carry the load."""
        return self.carried(d) >= 1.0

    def carried(self, d: Division) -> float:
        """The part of the load that these pools carry [1]; without bound where there is no load."""
        return _carried(d, self.request_rate, self.concurrency)

    def link_of(self, devices: int) -> str:
        """The link that carries a cache between two pools of this many devices in all."""
        return next(link.id for link in self.links.levels if link.domain is None or devices <= link.domain)

    def _rates(self) -> str:
        rates = {link.id: link.per_direction_bytes_per_s for link in self.links.levels}
        used = dict.fromkeys(self.link_of(d.devices) for d in self.divisions)
        return " or ".join(f"{show_rate(rates[name], 'B/s')} ({name})" for name in used)

    def table(self) -> Table:
        """One line per number of devices."""
        made: Table = self.drawn("pools_table")
        return made

    def why(self) -> str:
        """The best pools in words, and why they gain or lose."""
        made: str = self.drawn("reasons")
        return made

    def sources(self) -> Bibliography:
        """The bibliography of the best candidate."""
        return self.winner.sources()

    def __repr__(self) -> str:
        d = self.divisions[self.best]
        apart = f"{d.prefill.replicas} × ({d.prefill.split}) prefill, {d.decode.replicas} × ({d.decode.split}) decode"
        return f"<Pools {self.model.id} on {d.devices}×{self.gpu.id}: {apart}, {d.requests_per_s:.3g} requests/s>"


@spelled_out(PlanOptions)
def pools(
    model: str | Path | Model, gpu: str | GPU, *, devices: int | str | Sequence[int], prompt_tokens: Number, output_tokens: Number,
    request_rate: Number | None = None, concurrency: Number | None = None, ttft_s: Number | None = None, tpot_s: Number | None = None,
    price_per_hour: Number | None = None, **options: Unpack[PlanOptions],
) -> Pools:  # fmt: skip
    """The pools of prefill and decode replicas that serve the most requests per second, compared with the best undivided replicas.

    With a load the best number of devices is the smallest whose pools carry it.

    Parameters
    ----------
    model, gpu, dtype, kv_dtype, routing : as in `floor`.
    devices : number of devices in both pools together: a number, a list, or a range as text, "8-16" [1].
    prompt_tokens, output_tokens : of every request [token].
    request_rate : requests per second that the pools must carry [1/s].
    concurrency : users that they must carry at once, instead [1]: the requests per second times how long each stays (Little's law).
    ttft_s : limit on the time to the first token, which the prefill computes [s].
    tpot_s : limit on the time per output token [s]. The second token waits for the cache too, and has no limit.
    price_per_hour : of one device.
    link : id of the link inside a box, as in `floor`.
    network : id of the link beyond the devices' own domain; without it, larger numbers are left out.

    Raises `InvalidInput`, `InvalidPlan` if no split is legal, `DoesNotFit` if no two pools fit within the limits, or none carry the load.
    """
    check_names(pools, options, PlanOptions.__optional_keys__)
    the_model, the_gpu, counts = load_model(model), resolve_gpu(gpu), device_counts(devices)
    prompt, output = number("prompt_tokens", prompt_tokens, above=0.0), number("output_tokens", output_tokens, above=1.0)
    price = None if price_per_hour is None else number("price_per_hour", price_per_hour, above=0.0)
    limits = latency_limits(ttft_s, tpot_s)
    if request_rate is not None and concurrency is not None:
        raise InvalidInput(
            "concurrency and request_rate", "are both given", "a load is either so many users or so many requests per second"
        )
    rate = None if request_rate is None else number("request_rate", request_rate, above=0.0)
    users = None if concurrency is None else number("concurrency", concurrency, at_least=1.0)
    asked: dict[str, Any] = {**UNSAID, **options}
    if counts[-1] == 1:
        raise InvalidInput("devices=1", "cannot be divided into two pools", "give 2 or more")
    if counts[-1] > MOST_DEVICES:
        raise InvalidInput(
            f"devices={counts[-1]}:",
            f"pools are searched in up to {MOST_DEVICES} devices",
            "search a part of the devices and multiply the result",
        )
    links = joining(the_gpu, options.get("network"), max(counts[0], 2), options.get("link"))
    reached = [n for n in counts if 2 <= n <= links.joins]
    sizes = range(1, max(reached) + 1)
    splits, prefills = priced(the_model, the_gpu, sizes, micro=PROMPTS, phase="prefill", ctx=prompt, **asked)
    _, decodes = priced(the_model, the_gpu, sizes, ctx=prompt + (output - 2.0) / 2.0, **asked)
    kv_bytes = physics.request_kv_bytes(the_model, np.array([prompt]), decodes.question.storage)
    search = Search(splits, prefills, decodes, kv_bytes, output, limits, rate)
    found = {n: search.best(n, physics.apart(n, links)) for n in reached}
    divisions = tuple(d for d in found.values() if d is not None)
    if not divisions:
        raise search.refusal(reached[-1])
    if rate is None and users is None:
        best = int(np.argmax([d.requests_per_s / d.devices for d in divisions]))
    else:
        able = [i for i, d in enumerate(divisions) if _carried(d, rate, users) >= 1.0]
        if not able:
            raise _nobody(the_model, the_gpu, divisions, rate, users)
        best = able[0]
    chosen = divisions[best].decode
    winner = floor_of(ask(the_model, the_gpu, batch=chosen.batch, ctx=decodes.question.ctx, **chosen.split._asdict(), **asked))
    return Pools(
        model=the_model, gpu=the_gpu, prompt_tokens=prompt, output_tokens=output, kv_bytes=kv_bytes.item(), limits=limits,
        price_per_hour=price, divisions=divisions, best=best, without=tuple(n for n, d in found.items() if d is None), links=links,
        asked=asked, winner=winner, request_rate=rate, concurrency=users,
    )  # fmt: skip


def _carried(d: Division, rate: float | None, users: float | None) -> float:
    return SAME * (d.users / users if users is not None else d.requests_per_s / rate if rate is not None else np.inf)


def _nobody(model: Model, gpu: GPU, divisions: tuple[Division, ...], rate: float | None, users: float | None) -> DoesNotFit:
    """The error where no number of devices carries the load, with what the nearest carries."""
    d = max(divisions, key=lambda d: _carried(d, rate, users))
    asked = f"{significant(rate)} requests/s" if rate is not None else f"{show_count(users or 0.0)} users"
    carried = f"{significant(d.requests_per_s)} requests/s" if rate is not None else f"{significant(d.users)} users"
    return DoesNotFit(
        f"no two pools of up to {divisions[-1].devices}×{gpu.id} carry {asked} of {model.id}:",
        f"those of {d.devices} devices carry {carried}", "use more devices, or longer limits",
    )  # fmt: skip
