"""What the most loaded device of a split replica holds and runs: its part of the model, its sequences, its stage.

Tensor parallelism divides heads and widths. Experts are divided over tp·dp devices. Data parallelism copies
everything else and divides sequences. A pipeline divides layers, and its micro-batches pass all stages one after
the other. On one device the part is the model itself. Many splits are computed at once (`Parts`); a row that a
split lacks costs nothing there.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sol.physics.memory.cache import kv_bytes, state_bytes
from sol.physics.memory.capacity import activation_bytes, resident_weight_bytes
from sol.physics.network.communication import wire_rows
from sol.physics.operators.forward_pass import step_operators
from sol.physics.operators.linear import layer_bytes
from sol.physics.operators.operator import Amount, Operator
from sol.specs.blocks import Block
from sol.specs.model import LayerGroup, Model, ModelPart
from sol.specs.parts import Count, Parts
from sol.specs.quantities import Array
from sol.specs.split import Split
from sol.specs.step import Fusion, Routing, Step, Storage


def device_model(model: Model, split: Split) -> ModelPart:
    """The part of every layer and of the vocabulary on the most loaded device; for many splits, `Parts` of them."""
    if split.is_sweep:
        return _parts(model, split)
    return model if split.tp == split.dp == 1 else _part(model, int(split.tp), int(split.ep), int(split.expert_width_ways))


def _parts(model: Model, split: Split) -> Parts:
    """One part for each distinct division of heads, experts and expert widths among the splits."""
    ways = np.broadcast_arrays(split.tp, split.ep, split.expert_width_ways)
    return _side_by_side(model, np.stack(ways).tobytes(), ways[0].shape)


@lru_cache(maxsize=8)
def _side_by_side(model: Model, ways: bytes, shape: tuple[int, ...]) -> Parts:
    """The parts of one set of splits, cached because an answer uses them many times."""
    each = np.frombuffer(ways, dtype=np.int64).reshape(3, -1)
    number = np.zeros(each.shape[1], dtype=np.int64)
    for found, place in (np.unique(row, return_inverse=True) for row in each):
        number = number * len(found) + place.reshape(-1)
    _, first, which = np.unique(number, return_index=True, return_inverse=True)
    return Parts([_part(model, *one) for one in each[:, first].T.tolist()], which.reshape(shape))


@lru_cache(maxsize=4096)
def _part(model: Model, tp: int, ep: int, width_ways: int) -> Model:
    def part(block: Block) -> Block:
        return _sharded(block, tp).split_experts(ep, width_ways)

    def parts(groups: tuple[LayerGroup, ...]) -> tuple[LayerGroup, ...]:
        return tuple(g.model_copy(update={"blocks": tuple(map(part, g.blocks))}) for g in groups)

    fields = {"groups": parts(model.groups), "mtp": parts(model.mtp), "vocab": -(-model.vocab // tp)}
    return model.model_copy(update=fields)


@lru_cache(maxsize=4096)
def _sharded(block: Block, tp: int) -> Block:
    """The part of a block, the same record for every split with this `tp`, so that `Parts` holds it once."""
    return block.shard(tp)


def device_step(step: Step, split: Split) -> Step:
    """The step of the most loaded device and micro-batch: sequences divided over dp copies and pp micro-batches.

    Copies get whole sequences, micro-batches even parts of at least one. With fewer sequences than copies some copies
    have none, so that the experts get no more tokens than the batch has.
    """
    if not split.is_sweep and split.pp == split.dp == 1:
        return step if split.cp == 1 else replace(step, cp=_divided(step, split))
    if step.beside:
        return _even_parts(step, split)
    own = micro_batch(step.batch, split)
    return replace(step, batch=own, copies=micro_batch(step.batch, split._replace(dp=1)) / own, cp=_divided(step, split))


def _even_parts(step: Step, split: Split) -> Step:
    """Of a mixed step, even parts of every group for each copy and micro-batch: groups may balance each other."""
    ways = 1.0 * split.dp * split.pp
    arrays = [array / ways if i % 3 == 0 else array for i, array in enumerate(step.arrays)]
    return replace(step.with_arrays(arrays), copies=1.0 * split.dp, cp=_divided(step, split))


def _divided(step: Step, split: Split) -> Count:
    """Over how many devices cached tokens are divided: as the split says, or as the step does where the split says nothing."""
    return np.maximum(step.cp, split.cp) if isinstance(split.cp, np.ndarray) else max(split.cp, step.cp)


def share(batch: Array, ways: Count) -> Array:
    """Sequences of the largest of `ways` parts [1]: ⌈B/ways⌉ for a whole number, B/ways for an average, at least one if B ≥ 1."""
    if not isinstance(ways, np.ndarray) and ways == 1:
        return batch
    even = batch / ways
    dealt: Array = np.where(batch == np.floor(batch), np.ceil(even), np.maximum(even, np.minimum(batch, 1.0)))
    return dealt


def micro_batch(batch: Array, split: Split) -> Array:
    """Sequences of one micro-batch on the most loaded copy [1]: an even part of the copy's for each stage, one at least.

    No number of micro-batches of whole sequences is faster: a pass grows with its sequences at most evenly, so that unequal
    ones take as long together, and fewer than there are stages leave one idle.
    """
    own = share(batch, split.dp)
    if not isinstance(split.pp, np.ndarray) and split.pp == 1:
        return own
    even: Array = np.maximum(own / split.pp, np.minimum(own, 1.0))
    return even


def pieces(step: Step, split: Split) -> Amount:
    """The number of pieces of a pass that the stages of a pipeline can work on at the same time [1].

    With fewer sequences than stages a pass of one holds more than a stage's even part of the work:
    min(pp / ⌈B/dp⌉, new tokens), 1 where every stage has a sequence of its own.
    """
    if step.beside:
        return 1.0  # its parts are even already
    whole = micro_batch(step.batch, split) * split.pp / share(step.batch, split.dp)
    cut: Amount = np.maximum(np.minimum(whole, step.new_tokens), 1.0)
    return cut


def last_token(step: Step) -> Step:
    """The pass of only the last new token of every sequence, which follows all others through every stage."""
    return replace(step, new_tokens=np.ones(1), past_tokens=step.past_tokens + (step.new_tokens - 1.0))


def split_operators(
    model: Model, step: Step, storage: Storage, routing: Routing, fusion: Fusion, split: Split
) -> list[Operator]:  # fmt: skip
    """The rows of one device's pass of one micro-batch through all stages, and what it sends."""
    if not split.is_sweep and split.devices == 1:
        return step_operators(model, step, storage, routing, fusion)
    own = device_step(step, split)
    return [*step_operators(device_model(model, split), own, storage, routing, fusion), *wire_rows(model, split, own, storage, routing)]


def device_weight_bytes(model: Model, split: Split, storage: Storage) -> Amount:
    """Bytes of weights on the most loaded device [B], with layers and tables placed so that this is smallest.

    L mod pp stages have ⌈L/pp⌉ layers; the first and the last stage, which hold the tables, have ⌊L/pp⌋ if possible.
    Exact for equal layers. A tower and layers for multi-token prediction lie on the last stage.
    """
    own = device_model(model, split)
    everything = resident_weight_bytes(own, storage)
    if not split.is_sweep and split.pp == 1:
        return everything
    layers: Amount = sum(g.count * layer_bytes(g, own.hidden, storage) for g in own.groups)
    first = own.embedding_elements * storage.bytes_per_weight("lm_head" if own.tied_embeddings else "embedding", own.hidden)
    outside = everything - layers  # both tables, the last norm, what lies beside the model
    last = outside if own.tied_embeddings else outside - first
    fewer, more = model.layers // split.pp, -(-model.layers // split.pp)
    light = split.pp - model.layers % split.pp  # stages of the fewer layers; all of them where the layers divide
    heavy = np.where(light >= 2, 0.0, np.minimum(first, last))  # the table that a stage of more layers must take
    full = np.where(fewer == more, 0.0, layers * (more / model.layers) + heavy)
    staged = np.maximum(full, layers * (fewer / model.layers) + np.maximum(first, last))
    return np.where(split.pp > 1, staged, everything) if split.is_sweep else float(staged)


class Resident(NamedTuple):
    """What one device must hold [B]: weights, caches and states after the step, activations."""

    weights: Amount
    kv: Amount
    activations: Amount

    @property
    def total(self) -> Amount:
        """What must fit [B]."""
        return self.weights + self.kv + self.activations


def device_resident_bytes(model: Model, step: Step, storage: Storage, split: Split) -> Resident:
    """What the most loaded device must hold.

    A stage keeps the caches of all micro-batches, for its own layers.
    """
    own, stage = device_model(model, split), -(-model.layers // split.pp) / model.layers
    held: Amount = 0.0
    for group in step.groups:
        each = kv_bytes(own, group.past_tokens + group.new_tokens, storage.cache, split.cp) + state_bytes(own, storage)
        sequences = group.batch / split.dp if step.beside else share(step.batch, split.dp)
        held = held + sequences * (each * stage)
    return Resident(device_weight_bytes(model, split, storage), held, activation_bytes(own, device_step(step, split)))
