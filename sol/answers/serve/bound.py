"""The bound beside a server's expected figures: no scheduler serves more requests per second, and no request is sooner done.

    requests/s ≤ B / ((o − 1)·max( memory(B) , compute(B) + B/(o−1)·compute(prompt) , network the same ))

with B the requests at once, or all that memory holds without any reservation, whichever is fewer: more sequences never serve less.
Weights are read once a step for decoding and prompts together, and every byte of the prompts' own is left out. A request alone
bounds its times; with C requests at once one takes C/(requests/s) at least (Little's law).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from sol.answers.floor.floor import times_of
from sol.answers.floor.strictness import is_strict, loosened
from sol.answers.serve.server import Server
from sol.frozen import Frozen
from sol.physics.memory.cache_traffic import kv_read_bytes
from sol.physics.network.sharding import device_model
from sol.specs.quantities import Amount, Array

SAMPLED = 512
"""Steps of a request that are looked at where a cache has windows."""


@dataclass(frozen=True, eq=False)
class ServingBound(Frozen, Generic[Amount]):
    """What light allows: the most requests and output tokens per second, and the least times of a request [s].

    `is_bound`: whether nothing in the floors behind it is above its optimistic end, as in a floor.
    """

    requests_per_s: Amount
    output_tokens_per_s: Amount
    tpot_s: Amount
    ttft_s: Amount
    e2e_s: Amount
    is_bound: bool


def bound(server: Server, shape: tuple[int, ...], concurrency: Array | None, shaped: Callable[[Array], Any]) -> ServingBound[Any]:
    """The bound with so many `concurrency` requests at once (flat), or with any number; `shaped` gives figures the answer's shape."""
    of = server.lengths
    turns, room = of.output - 1.0, server.held.max_batch
    most = 2.0**20 if room is None or not np.isfinite(room) else max(float(room), 1.0)
    at_once = np.full(1, most) if concurrency is None else np.minimum(concurrency, most)
    sequences = np.concatenate(([0.0, 1.0], at_once))
    prompts = np.array([1.0, *[0.0] * (sequences.size - 1)])
    q = server.asking(sequences, prompts, np.full(1, of.new), np.full(1, of.cached))
    steps = times_of(q)
    none = np.zeros(sequences.size)
    memory_s, compute_s, network_s = (none + v for v in (steps.memory_s, steps.compute_s, steps.network_s))
    memory_s = memory_s - _spared_s(server, sequences)
    shared = at_once / turns
    step = np.maximum.reduce([memory_s[2:], compute_s[2:] + shared * compute_s[0], network_s[2:] + shared * network_s[0]])
    tpot, ttft = max(memory_s[1], compute_s[1], network_s[1]), float(np.ravel(steps.latency_s)[0])
    rate = at_once / (turns * step)
    size = int(np.prod(shape))
    e2e = ttft + turns * tpot if concurrency is None else np.maximum(ttft + turns * tpot, concurrency / rate)
    figures = {"requests_per_s": rate, "output_tokens_per_s": rate * of.output, "tpot_s": tpot, "ttft_s": ttft, "e2e_s": e2e}
    each: dict[str, Any] = {name: shaped(np.broadcast_to(v, (size,))) for name, v in figures.items()}
    return ServingBound(**each, is_bound=bool(np.all(is_strict(loosened(q, steps)))))


def _spared_s(server: Server, sequences: Array) -> Array:
    """What a cache with windows reads less in the mean of a request's steps than at their mean context [s]; 0 for full attention."""
    q, of = server.question, server.lengths
    if all(span.tokens is None for block in q.model.blocks for span in block.cache_spans):
        return 0.0 * sequences
    own = device_model(q.model, q.split)
    first = of.cached + of.new
    ctx = np.linspace(first, first + of.output - 2.0, min(int(of.output) - 1, SAMPLED))
    each = np.asarray(kv_read_bytes(own, np.ones(1), ctx, q.storage, q.split.cp)).mean()
    mean = np.asarray(kv_read_bytes(own, np.ones(1), np.array([of.mean_ctx]), q.storage, q.split.cp)).item()
    spared: Array = np.maximum(mean - each, 0.0) * sequences / (q.split.dp * q.split.pp) / q.rates.memory_bytes_per_s
    return spared
