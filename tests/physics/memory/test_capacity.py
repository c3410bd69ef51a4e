"""Activations by hand, where attention is the widest block and where a step has more sequences than a chunk has tokens."""

from __future__ import annotations

import numpy as np
import pytest

from sol import MLP, Attention, LayerGroup, Model, load_model
from sol.physics.memory.capacity import activation_bytes, activation_bytes_per_token
from sol.specs.step import Step


@pytest.mark.truth
def test_attention_may_be_the_widest_block() -> None:
    """2·64 of the residual stream, 8·32 queries, 2·(32 + 32) keys and values; the dense block has 2·100: 2 B each."""
    layer = LayerGroup(count=2, blocks=(Attention(heads=8, kv_heads=2, head_dim=32), MLP(ffn=100)))
    assert activation_bytes_per_token(Model(id="m", hidden=64, vocab=100, groups=(layer,))) == (2 * 64 + 8 * 32 + 2 * 64) * 2


@pytest.mark.truth
def test_a_decode_step_is_never_cut_into_chunks() -> None:
    """Qwen2.5-7B, 4,096 sequences, a token each: (2·3584 + 2·18944)·2 B and 152,064 logits of 4 B for every one of them."""
    step = Step(np.array([4096.0]), np.array([1.0]), np.array([10.0]), "last")
    assert activation_bytes(load_model("qwen2.5-7b"), step) == 4096 * ((2 * 3584 + 2 * 18944) * 2 + 152_064 * 4)
