"""Rows of a step by hand, where two sizes that are often equal differ, and small tables that are easily forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from sol import MLP, Attention, Indexer, LatentAttention, LayerGroup, Mamba2, Model, NumberFormat, load_format
from sol.physics.memory.cache import state_bytes
from sol.physics.operators.forward_pass import step_operators
from sol.physics.operators.operator import Operator
from sol.specs.blocks import Block
from sol.specs.step import Step, Storage

BF16, FP8 = load_format("bf16"), load_format("fp8")
D, V = 64, 100
PLAIN = Attention(heads=4, kv_heads=4, head_dim=16)


def one(*blocks: Block, count: int = 1, **more: object) -> Model:
    return Model(id="one", hidden=D, vocab=V, groups=(LayerGroup(count=count, blocks=blocks),), dtype="bf16", **more)


def rows(model: Model, *, batch: float = 1.0, new: float = 1.0, past: float = 10.0, logits: str = "last", weights: NumberFormat = BF16,
         cache: NumberFormat = BF16) -> dict[str, Operator]:  # fmt: skip
    step = Step(np.array([batch]), np.array([new]), np.array([past]), logits)  # type: ignore[arg-type]
    return {op.name: op for op in step_operators(model, step, Storage(weights, BF16, cache, model.layers, 0), "expected", "ideal")}


@pytest.mark.truth
def test_values_narrower_than_keys_cost_less() -> None:
    """2·h·(dk + dv) FLOPs a pair: 4 heads of 16 and 8, one new token after 10."""
    attention = rows(one(Attention(heads=4, kv_heads=2, head_dim=16, value_dim=8), count=3))["attention"]
    assert attention.flops == 3 * 2 * 4 * (16 + 8) * 11
    assert attention.kv_bytes == 3 * 2 * 2 * (16 + 8) * 11


@pytest.mark.truth
def test_index_keys_of_new_tokens_are_written() -> None:
    """DeepSeek-V3.2: 132 B per token and layer, of the 10 in the cache and of the new one."""
    latent = LatentAttention(
        heads=128, q_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128, indexer=Indexer(heads=64, head_dim=128, top_k=2048)
    )
    assert rows(one(latent), batch=2.0)["index"].kv_bytes == 2 * 132 * 11


@pytest.mark.truth
def test_sequences_at_one_position_share_its_row() -> None:
    """Learned positions: 5 new tokens in each of 3 sequences gather 15 rows of the input table and 5 of positions."""
    assert rows(one(PLAIN, positions=50), batch=3.0, new=5.0)["embedding"].weight_bytes == (15 + 5) * D * 2
    assert rows(one(PLAIN), batch=3.0, new=5.0)["embedding"].weight_bytes == 15 * D * 2


@pytest.mark.truth
def test_a_head_reads_its_biases() -> None:
    assert rows(one(PLAIN, head_bias=True))["lm_head"].weight_bytes == V * D * 2 + V * 2
    assert rows(one(PLAIN, head_bias=True), logits="none")["lm_head"].weight_bytes == 0.0


@pytest.mark.truth
def test_a_tied_table_is_stored_as_the_head_is() -> None:
    """A file with a 4-bit input table and an 8-bit head: rows of a tied table, where no logits are wanted, are of 8 bits."""
    stored = NumberFormat(
        id="mixed", name="mixed", compute="16-bit", source="made up", covers=("embedding", "lm_head"), bits=8,
        class_bits={"embedding": 4.0, "lm_head": 8.0},
    )  # fmt: skip
    for tied, each in ((True, 1.0), (False, 0.5)):
        found = rows(one(PLAIN, tied_embeddings=tied), new=5.0, logits="none", weights=stored)
        assert found["embedding"].weight_bytes == 5 * D * each


@pytest.mark.truth
def test_the_memory_of_a_convolution_is_no_cache_and_keeps_16_bits() -> None:
    """Nemotron 3 Super's mixer: 1,048,576 elements of state in fp32, 30,720 of the convolution in bf16, whatever the KV cache has."""
    mixer = one(Mamba2(heads=128, head_dim=64, state=128, groups=8, conv=4), MLP(ffn=96))
    for cache in (BF16, FP8):
        assert state_bytes(mixer, Storage(BF16, BF16, cache, mixer.layers, 0)) == 1_048_576 * 4 + 30_720 * 2
        assert rows(mixer, cache=cache)["state"].kv_bytes == 1_048_576 * 4 + 30_720 * 2
