"""What the devices of a split replica send each other in one step, as operator rows. Symbols: docs/notation.

Tensor parallelism: an all-reduce of T·d for every sum a layer adds to its input. Experts spread over
data-parallel copies: each token goes once to every box and every device that hold one of its experts, and
comes back; those of the copy's own tensor-parallel group are then gathered. Cached tokens divided over
devices: in every layer queries to all of them and outputs back. A pipeline: T·d at every boundary.
Gathering the logits is not compulsory and not counted.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sol.physics.operators.mixers import span_bytes
from sol.physics.operators.operator import Amount, Operator, Wire
from sol.physics.operators.spread import Spread
from sol.specs.feedforward import MoE
from sol.specs.model import Model
from sol.specs.parts import Count
from sol.specs.split import Split
from sol.specs.step import Routing, Step, Storage

NARROW = {"fp8": 1.0, "int8": 1.0, "fp4": 0.5}
"""Bytes per activation sent to experts that compute in these formats; scales are not counted."""


def wire_rows(model: Model, split: Split, step: Step, storage: Storage, routing: Routing = "expected") -> list[Operator]:
    """The wire rows of one device's pass: `model` is the whole one, `step` the device's own. Nothing is sent within one device."""
    tokens = step.tokens
    sums = sum(g.count * (g.residual_adds - (g.moe is not None) * (split.dp > 1)) for g in model.groups)
    hidden = Wire("all_reduce", tokens * (model.hidden * storage.sent_bytes), split.tp)
    rows = [_row("all_reduce", sums * (split.tp > 1), hidden, lambda: f"T·d = T·{model.hidden}")]
    if isinstance(split.cp, np.ndarray) or split.cp > 1:
        rows += _context_rows(model, split, step, storage)
    for group in model.groups:
        if group.moe is not None:
            rows += _expert_rows(model, group.count, group.moe, split, tokens, storage, routing)
    each, boundaries = tokens * (model.hidden * storage.sent_bytes / split.tp), split.pp - 1
    rows.append(_row("send", boundaries, Wire("send", each, 2, split.tp * split.dp), lambda: f"T·d/tp at {boundaries} boundaries"))
    return [op for op in rows if isinstance(op.layers, np.ndarray) or op.layers]


def _context_rows(model: Model, split: Split, step: Step, storage: Storage) -> list[Operator]:
    """Where devices divide the cached tokens: queries to all of them and outputs back; or those tokens, if they are fewer bytes."""
    tokens = step.tokens
    rows = []
    for group in model.groups:
        for block in group.blocks:
            if not block.cache_heads:
                continue
            queries, outputs = (tokens * (width * split.cp / split.tp * storage.sent_bytes) for width in block.query_widths)
            heads = np.maximum(block.cache_heads // split.tp, 1) / block.cache_heads
            cached: Amount = 0.0 if block.cache_spans else np.inf  # another layer's cache is divided there
            for span in block.cache_spans:
                for one in step.groups:
                    kept = one.past_tokens if span.tokens is None else np.minimum(one.past_tokens, span.tokens - 1.0)
                    cached = cached + one.batch * kept * (span_bytes(span, storage.cache) * heads)
            fewer = cached < queries + outputs
            gathered, summed = np.where(fewer, cached, queries), np.where(fewer, 0.0, outputs)
            times = group.count * (split.cp > 1)
            shape = lambda b=block: f"cp·h/tp·(dk+dv), {b.query_widths[0]} and {b.query_widths[1]} over tp"  # noqa: E731  # text for few
            rows += [
                _row("context_gather", times, Wire("all_gather", gathered, split.cp), shape),
                _row("context_sum", times, Wire("reduce_scatter", summed, split.cp), shape),
            ]
    return rows


def _expert_rows(
    model: Model, layers: int, moe: MoE, split: Split, tokens: Amount, storage: Storage, routing: Routing
) -> list[Operator]:  # fmt: skip
    """Dispatch and combine, each token once to a device however many of its experts are there; then the copy's own group gathers."""
    narrow = min(NARROW.get(storage.computed("experts_up"), storage.sent_bytes), storage.sent_bytes)
    spread = Spread(moe.experts, moe.experts_per_token, moe.groups, moe.groups_per_token, split.tp, split.ep, split.dp, routing == "min")
    ranks, times, one_way = spread.devices, layers * (split.dp > 1), tokens * float(model.hidden)
    gathered = Wire("all_gather", tokens * (model.hidden * storage.sent_bytes), split.tp)

    def shape() -> str:
        copies = spread.reached(np.array(ranks, dtype=np.float64, ndmin=1))
        return f"T·d·{copies.reshape(-1)[0]:.4g} devices a token, each box once"

    return [
        _row("dispatch", times, Wire("all_to_all", one_way * narrow, ranks, 1, spread), shape),
        _row("combine", times, Wire("all_to_all", one_way * storage.sent_bytes, ranks, 1, spread), shape),
        _row("all_gather", times * (split.tp > 1), gathered, lambda: f"T·d = T·{model.hidden}"),
    ]


def _row(name: str, times: Count, wire: Wire, shape: Callable[[], str]) -> Operator:
    return Operator(name, times, "rest", 0.0, 0.0, 0.0, 0.0, times, shape, wire=wire)
