"""The stages of a pipeline as an engine lays them: what each holds of the layers, of the tables and of the head.

L mod pp layers are left over; they go to the stages before the last, one each, so that the last, which has the head, has
the fewest. `sharding.device_weight_bytes` lays them so that the fullest device holds least; this is what an engine does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sol.physics.memory.capacity import resident_weight_bytes
from sol.physics.network.sharding import device_model
from sol.physics.operators.linear import layer_bytes
from sol.physics.operators.operator import Amount
from sol.specs.model import Model
from sol.specs.split import Split
from sol.specs.step import Storage


class Stage(NamedTuple):
    """One kind of stage: the `share` of all layers that it holds [1], its `weights` [B], whether it samples."""

    share: Amount
    weights: Amount
    samples: bool


def stages(model: Model, split: Split, storage: Storage, padding: Amount = 0.0, table_on_host: bool = False) -> tuple[Stage, ...]:
    """The kinds of stages there are: first, between and last; one where nothing is staged. `padding`: bytes more of all layers [B].

    `table_on_host`: the input table lies on no device, unless it is the head as well, of which there are then two copies.
    """
    own = device_model(model, split)
    everything = resident_weight_bytes(own, storage) + padding
    table = own.embedding_elements * storage.bytes_per_weight("lm_head" if own.tied_embeddings else "embedding", own.hidden)
    on_device = 0.0 if table_on_host else table
    whole = everything - (table - on_device if not own.tied_embeddings else 0.0)
    if not split.is_sweep and split.pp == 1:
        return (Stage(1.0, whole, True),)
    layers: Amount = padding + sum(g.count * layer_bytes(g, own.hidden, storage) for g in own.groups)
    last = everything - layers - (0.0 if own.tied_embeddings else table)
    pp = np.asarray(split.pp)
    fewer, over = model.layers // pp, model.layers % pp
    first_layers, between = fewer + (over >= pp - 1) * (pp > 1), np.where(pp > 2, fewer + (over >= 1), fewer)

    def kind(count: Amount, beside: Amount, samples: bool) -> Stage:
        share = count / model.layers
        return Stage(share, np.where(pp > 1, layers * share + beside, whole), samples)

    middle = kind(between, np.where(pp > 2, 0.0, last), False)
    return kind(first_layers, on_device, False), middle, kind(fewer, last, True)
