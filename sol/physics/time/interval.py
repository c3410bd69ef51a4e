"""How often a pipeline ends a step, where its stages differ in layers.

One micro-batch passes all stages in Σ of them. Where the stages do not divide the layers, one of them has ⌈L/pp⌉ or more,
and pp micro-batches take it pp turns: B sequences get a token every

    max( Σ stages, pp · fullest stage )          or, in fewer micro-batches, every Σ stages of B/(pp−1) sequences

whichever is less, since fewer and larger micro-batches leave the fullest stage idle. Layers are taken whole; the tables may
lie anywhere. Of mixtures, whose experts' bytes grow less than their tokens, nothing more than Σ is claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sol.frozen import Frozen
from sol.physics.network.sharding import device_model, device_step
from sol.physics.operators.forward_pass import step_operators
from sol.physics.operators.operator import Amount
from sol.physics.time.roofline import Priced, Rates, price_rows
from sol.specs.model import Model
from sol.specs.quantities import Array
from sol.specs.split import Split
from sol.specs.step import Fusion, Routing, Step, Storage


@dataclass(frozen=True, eq=False)
class Interval(Frozen):
    """Seconds from the end of one step to the end of the next that uneven stages allow at least [s]; 0 where they are even."""

    interval_s: Amount


def is_uneven(model: Model, step: Step, split: Split) -> bool:
    """Whether any of these splits has stages that differ in layers, with a micro-batch of single tokens for each of them."""
    if step.beside or (not isinstance(split.pp, np.ndarray) and split.pp == 1):
        return False
    return not model.is_moe and bool(np.any(_applies(model, step, split)))


def _applies(model: Model, step: Step, split: Split) -> Array:
    there: Array = (model.layers % split.pp != 0) & (split.dp == 1) & (step.batch >= split.pp) & (step.new_tokens == 1.0)
    return there


def interval(
    model: Model, step: Step, storage: Storage, routing: Routing, fusion: Fusion, split: Split, rates: Rates,
    passes: Callable[[Step, Split], Amount],
) -> Interval:  # fmt: skip
    """The least interval of dense models' uneven stages; `passes` is the time of one step through all of them [s]."""
    own = replace(device_step(step, split), batch=step.batch / split.pp)  # on average: bytes and FLOPs of a stage grow evenly with it
    rows = price_rows(step_operators(device_model(model, split), own, storage, routing, fusion), rates)
    turns = split.pp * _fullest_stage_s(model, rows, -(-model.layers // split.pp))
    fewer = np.maximum(split.pp - 1, 1)
    merged = passes(replace(step, batch=step.batch / fewer * split.pp), split)
    return Interval(np.where(_applies(model, step, split), np.minimum(turns, merged), 0.0))


def _fullest_stage_s(model: Model, rows: Priced, layers: Amount) -> Array:
    """The least time of so many layers, by bytes or by FLOPs [s]: those of the model that cost least."""
    memory: list[Amount] = []
    compute: list[Amount] = []
    moved: Amount = 0.0
    worked: Amount = 0.0
    for op, t in rows[1:]:  # after the embedding, the rows of each group of layers end with its norms
        moved, worked = moved + t.memory_s, worked + t.compute_s
        if op.name == "norms":
            count = model.groups[len(memory)].count
            memory.append(moved / count)
            compute.append(worked / count)
            moved, worked = 0.0, 0.0
            if len(memory) == len(model.groups):
                break
    counts = [g.count for g in model.groups]
    return np.maximum(_cheapest(memory, counts, layers), _cheapest(compute, counts, layers))


def _cheapest(each: list[Amount], counts: list[int], layers: Amount) -> Array:
    """Σ of the `layers` least of `counts[i]` times `each[i]`."""
    costs = np.stack(np.broadcast_arrays(*each, np.asarray(layers, dtype=np.float64))[:-1])
    order = np.argsort(costs, axis=0, kind="stable")
    held = np.array(counts, dtype=np.float64)[order]
    taken = np.clip(layers - (np.cumsum(held, axis=0) - held), 0.0, held)
    total: Array = (np.take_along_axis(costs, order, axis=0) * taken).sum(axis=0)
    return total
