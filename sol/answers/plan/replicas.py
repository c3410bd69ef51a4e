"""Every legal split of one replica as a server at its part of a load, for every number of replicas that the devices allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from sol.answers.plan.candidates import legal_splits
from sol.answers.question.ask import ask
from sol.answers.question.splits import joining
from sol.answers.serve.result import Serving
from sol.answers.serve.serve import served
from sol.answers.serve.server import Server, resolve_server
from sol.errors import DoesNotFit
from sol.physics.network.sharding import device_weight_bytes
from sol.physics.serving.steady import MOST_UTILIZATION
from sol.specs.hardware import GPU
from sol.specs.model import Model
from sol.specs.quantities import Array
from sol.specs.split import Split

Kind = Literal["concurrency", "request_rate"]
Fails = Literal["", "weights", "pool", "overloaded", "utilization", "ttft_s", "tpot_s"]
"""Why a candidate is none: its weights do not fit, the engine's pool holds no request, too many requests arrive, or a limit."""
FIGURES = ("tpot_s", "ttft_s", "e2e_s", "requests_per_s", "utilization")


@dataclass(frozen=True)
class Load:
    """The load of a whole deployment: `concurrency` users, or requests per second; and the limits by name [s]."""

    kind: Kind
    amount: float
    limits: Mapping[str, float | None]

    def of_each(self, replicas: Array) -> Array:
        """The load of each of so many replicas; of users, one at least."""
        each = self.amount / replicas
        return np.maximum(each, 1.0) if self.kind == "concurrency" else each

    def busy(self, replicas: Array) -> Array:
        """How many of so many replicas have a load [1]: no more than there are users."""
        return np.minimum(replicas, self.amount) if self.kind == "concurrency" else replicas


class Tried(NamedTuple):
    """One split at several numbers of replicas: figures of one replica by name, why it fails, and its server where it has one."""

    split: Split
    replicas: Array
    figures: dict[str, Array]
    fails: tuple[Fails, ...]
    excess: Array
    server: Server | None


def tries(model: Model, gpu: GPU, counts: Sequence[int], load: Load, asked: Mapping[str, Any], options: Mapping[str, Any]) -> list[Tried]:
    """Every candidate of these numbers of devices. A replica is joined by links; replicas need none between them.

    Raises what `serve` raises but `DoesNotFit`.
    """
    sizes = {d: [n // d for n in counts if n % d == 0] for d in range(1, counts[-1] + 1)}
    links = joining(gpu, options.get("network"), 1, options.get("link")) if counts[-1] > 1 else None
    splits = [s for d, times in sizes.items() if times and (links is None or d <= links.joins) for s in legal_splits(model, d)]
    held = _held(model, gpu, splits, options)
    return [
        _try(model, gpu, s, np.array(sizes[int(s.devices)], float), load, asked, options, fits)
        for s, fits in zip(splits, held, strict=True)
    ]


def _held(model: Model, gpu: GPU, splits: Sequence[Split], options: Mapping[str, Any]) -> Any:
    """Whether the weights of each split lie on its devices at all: those of the others need no server."""
    if gpu.memory_bytes is None:
        return [True] * len(splits)
    formats = {name: value for name, value in options.items() if name in ("dtype", "kv_dtype")}
    storage = ask(model, gpu, ctx=1, **formats).storage
    weights = np.broadcast_to(device_weight_bytes(model, Split(*np.array(splits, dtype=np.int64).T), storage), len(splits))
    return (weights <= gpu.memory_bytes).tolist()


def _try(
    model: Model, gpu: GPU, split: Split, replicas: Array, load: Load, asked: Mapping[str, Any], options: Mapping[str, Any], fits: bool
) -> Tried:  # fmt: skip
    why: Fails = "weights"
    if fits:
        try:
            server = resolve_server(model, gpu, **asked, options={**options, **split._asdict()})
        except DoesNotFit:
            why = "pool"
        else:
            return _loaded(server, split, replicas, load)
    none = np.full(replicas.shape, np.nan)
    return Tried(split, replicas, dict.fromkeys(FIGURES, none), (why,) * replicas.size, np.full(replicas.shape, np.inf), None)


def _loaded(server: Server, split: Split, replicas: Array, load: Load) -> Tried:
    s = served(server, load.kind, load.of_each(replicas), False, dict(load.limits))
    figures: dict[str, Array] = {name: getattr(s, name) for name in FIGURES}
    excess = {name: figures[name] / limit for name, limit in load.limits.items() if limit is not None}
    if load.kind == "request_rate":
        excess["utilization"] = figures["utilization"] / MOST_UTILIZATION
    worst = np.max([np.ones(replicas.shape), *(np.nan_to_num(v, nan=0.0) for v in excess.values())], axis=0)
    fails = tuple(_fails(s, {name: float(v[i]) for name, v in excess.items()}, i) for i in range(replicas.size))
    return Tried(split, replicas, figures, fails, worst, server)


def _fails(s: Serving, excess: dict[str, float], i: int) -> Fails:
    """Why one load of a sweep fails: the limit that it exceeds most, as a ratio."""
    if s.overloaded[i]:
        return "overloaded"
    if excess.get("utilization", 0.0) > 1.0:
        return "utilization"
    over: list[tuple[float, Fails]] = [(excess[name], name) for name in ("ttft_s", "tpot_s") if excess.get(name, 0.0) > 1.0]
    return max(over)[1] if over else ""
