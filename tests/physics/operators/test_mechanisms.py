"""Rarer mechanisms against published figures: states, latents, indexers, chunks, shared caches."""

from __future__ import annotations

import numpy as np
import pytest

from sol import MLP, Attention, GatedDelta, Indexer, LatentAttention, LayerGroup, Mamba2, Model, MoE, ShortConv, floor, load_format
from sol.physics.memory.cache import kv_bytes, max_ctx, state_bytes
from sol.physics.memory.capacity import resident_weight_bytes
from sol.physics.operators.attention import cached_tokens_read, causal_pairs
from sol.physics.operators.forward_pass import step_operators
from sol.specs.blocks import Block
from sol.specs.step import Step, Storage

BF16, FP8 = load_format("bf16"), load_format("fp8")
DEEPSEEK = {"heads": 128, "q_rank": 1536, "kv_rank": 512, "nope_dim": 128, "rope_dim": 64, "v_dim": 128}
INDEXER = Indexer(heads=64, head_dim=128, top_k=2048)


def one(*blocks: Block, count: int = 1, hidden: int = 64, **more: object) -> Model:
    return Model(id="one", hidden=hidden, vocab=100, groups=(LayerGroup(count=count, blocks=blocks),), dtype="bf16", **more)


def stored(model: Model, cache=BF16) -> Storage:
    return Storage(BF16, BF16, cache, model.layers, 0)


def rows(model: Model, new: float, past: float, batch: float = 1.0, cache=BF16) -> dict:
    step = Step(np.array([batch]), np.array([new]), np.array([past]), "last")
    return {op.name: op for op in step_operators(model, step, stored(model, cache), "expected", "ideal")}


@pytest.mark.truth
def test_mamba2_of_nemotron_3_super() -> None:
    """40 layers: 1,048,576 + 30,720 state elements each, 170,229,760 B per sequence in fp32 and bf16 (arXiv:2405.21060's formulas)."""
    mixer = Mamba2(heads=128, head_dim=64, state=128, groups=8, conv=4)
    assert (mixer.state_elements, mixer.conv_elements) == (1_048_576, 30_720)
    assert mixer.parameters(4096) == 109_635_968
    assert mixer.scan_flops - 2 * mixer.conv * mixer.channels == 4_194_304
    model = one(mixer, count=40, hidden=4096)
    assert state_bytes(model, stored(model)) == 170_229_760
    state = rows(model, 1.0, 10.0, batch=3.0)["state"]
    assert state.kv_bytes == 3 * 170_229_760  # read once a step; the write is an engine's
    assert state.activation_bytes == 3 * 170_229_760
    assert rows(model, 5.0, 0.0)["state"].kv_bytes == 0.0  # nothing to read before the first token
    f = floor(model, "h100", ctx=10, batch=3)
    state = next(r for r in f.operators.to_dicts() if r["operator"] == "state")
    assert state["serial_s"] == pytest.approx(2 * 3 * 170_229_760 / 3.35e12)  # read and written back


@pytest.mark.truth
def test_gated_delta_of_qwen3_next_and_qwen3_5() -> None:
    """Qwen3-Next-80B-A3B: 36 layers hold 77,266,944 B; Qwen3.5-27B: a llama.cpp log prints 598.50 MiB for 4 sequences, all in fp32."""
    following = one(GatedDelta(key_heads=16, value_heads=32, key_dim=128, value_dim=128, conv=4), count=36, hidden=2048)
    assert state_bytes(following, stored(following)) == 77_266_944
    mixer = GatedDelta(key_heads=16, value_heads=48, key_dim=128, value_dim=128, conv=4)
    assert 4 * 48 * 4 * (mixer.state_elements + mixer.conv_elements) == 598.5 * 2**20
    assert mixer.scan_flops - 2 * mixer.conv * mixer.channels == 48 * 6 * 128 * 128


@pytest.mark.truth
def test_latent_attention_of_deepseek_v3() -> None:
    """33,554,432 FLOP a token to expand or absorb, 81,920 a pair plain and 278,528 absorbed; the cheaper of the two counts."""
    model = one(LatentAttention(**DEEPSEEK), count=61, hidden=7168)
    assert kv_bytes(model, np.array([1.0]), BF16) == 70_272
    chunk = rows(one(LatentAttention(**DEEPSEEK), hidden=7168), 128.0, 8192.0)["attention"]
    pairs = 128 * 8192 + 128 * 129 / 2
    assert dict(chunk.detail)["FLOP per sequence, latents expanded"] == (8192 + 128) * 33_554_432 + 81_920 * pairs
    assert chunk.flops == 128 * 33_554_432 + 278_528 * pairs
    assert chunk.flops == pytest.approx(0.299e12, rel=2e-3)
    prompt = rows(one(LatentAttention(**DEEPSEEK), hidden=7168), 2048.0, 0.0)["attention"]
    assert prompt.flops == 2048 * 33_554_432 + 81_920 * (2048 * 2049 / 2)


@pytest.mark.truth
def test_indexer_of_deepseek_v3_2() -> None:
    """13,959,424 weights a layer; 132 B of index keys per token; at 131,072 tokens 2.147e9 FLOP and 17.3e6 B, the main part 0.570e9."""
    plain, sparse = LatentAttention(**DEEPSEEK), LatentAttention(**DEEPSEEK, indexer=INDEXER)
    assert sparse.parameters(7168) - plain.parameters(7168) == 13_959_424
    model = one(sparse, hidden=7168)
    step = rows(model, 1.0, 131_072.0)
    assert step["index"].flops == pytest.approx(2.147e9, rel=1e-3)
    assert step["index"].kv_bytes == pytest.approx(17.3e6, rel=1e-3)
    assert step["attention"].flops - 33_554_432 == pytest.approx(0.570e9, rel=1e-3)
    assert kv_bytes(one(sparse, count=61, hidden=7168), np.array([1.0]), FP8) == (576 + 132) * 61
    shared = one(LatentAttention(**DEEPSEEK, indexer=INDEXER, indexed=False), hidden=7168)  # another layer's choice
    assert "index" not in rows(shared, 1.0, 131_072.0)
    assert rows(shared, 1.0, 131_072.0)["attention"].flops == step["attention"].flops
    assert shared.parameters == one(plain, hidden=7168).parameters


@pytest.mark.truth
def test_chunks_and_windows() -> None:
    """16,384 tokens: chunks of 8,192 make 67,117,056 pairs, a window of 8,192 makes 100,667,392."""
    new, none = np.array([16384.0]), np.array([0.0])
    assert causal_pairs(new, none, chunk=8192) == 67_117_056
    assert causal_pairs(new, none, window=8192) == 100_667_392


@pytest.mark.law
@pytest.mark.parametrize(("window", "chunk"), [(None, None), (7, None), (None, 5), (None, 1)])
def test_a_prefill_is_the_sum_of_its_decode_steps(window: int | None, chunk: int | None) -> None:
    """Pair by pair, with each token's own count made by hand."""
    for past in range(0, 23, 3):
        seen = [
            p + 1 if window is None and chunk is None else min(p + 1, window) if window else p % chunk + 1 for p in range(past, past + 17)
        ]
        assert causal_pairs(np.array([17.0]), np.array([float(past)]), window, chunk) == sum(seen)
        assert cached_tokens_read(np.array([float(past)]), window, chunk) == seen[0] - 1


@pytest.mark.law
def test_layers_that_share_a_cache_hold_none_and_read_it_once() -> None:
    owner, reader = Attention(heads=4, kv_heads=2, head_dim=16), Attention(heads=4, kv_heads=2, head_dim=16, owns_kv=False)
    both = Model(id="m", hidden=64, vocab=100, groups=(LayerGroup(count=2, blocks=(owner,)), LayerGroup(count=3, blocks=(reader,))))
    two = Model(id="m", hidden=64, vocab=100, groups=(LayerGroup(count=2, blocks=(owner,)),))
    ctx = np.array([0.0, 1.0, 1000.0])
    assert np.array_equal(kv_bytes(both, ctx, BF16), kv_bytes(two, ctx, BF16))
    assert owner.parameters(64) - reader.parameters(64) == 2 * 64 * 32
    step = Step(np.array([1.0]), np.array([1.0]), np.array([1000.0]), "last")
    made = [op for op in step_operators(both, step, stored(both), "expected", "ideal") if op.name == "attention"]
    assert [float(np.asarray(op.kv_bytes).item()) for op in made] == [2 * 64 * 2 * 1001.0, 0.0]
    assert made[1].flops == 1.5 * made[0].flops  # it attends all the same
    assert made[1].activation_bytes == 3 * 64 * 2 * 1000.0  # and an engine reads the cache again


@pytest.mark.law
def test_states_count_for_capacity_and_not_for_the_length() -> None:
    mixer = ShortConv(width=64, conv=3)
    hybrid = Model(id="h", hidden=64, vocab=100, dtype="bf16", groups=(
        LayerGroup(count=3, blocks=(mixer, MLP(ffn=96))),
        LayerGroup(count=1, blocks=(Attention(heads=4, kv_heads=4, head_dim=16), MLP(ffn=96))),
    ))  # fmt: skip
    short, long = floor(hybrid, "h100", ctx=[1]), floor(hybrid, "h100", ctx=[1001])
    assert long.resident_bytes[0] - short.resident_bytes[0] == 1000 * 4 * 2 * 16 * 2
    assert state_bytes(hybrid, stored(hybrid)) == 3 * 2 * 64 * 2
    only = one(mixer)
    assert np.isinf(max_ctx(only, np.array([0.0]), BF16)).all()


@pytest.mark.truth
def test_experts_in_a_latent_and_beside_a_shared_one() -> None:
    """Two matrices an expert in a width of their own, one down and one up around them; a shared block; a gate; a correction."""
    moe = MoE(experts=8, experts_per_token=2, expert_ffn=10, gated=False, latent=16, shared=MLP(ffn=24, gated=False), shared_gate=True,
              correction=True)  # fmt: skip
    always = 64 * 8 + 8 + 2 * 64 * 24 + 64 + 2 * 64 * 16
    assert moe.parameters(64) == always + 8 * 2 * 16 * 10
    assert moe.parameters(64, active=True) == always + 2 * 2 * 16 * 10
    step = rows(one(moe), 4.0, 0.0)
    assert step["experts"].flops == 4 * 2 * 2 * (2 * 16 * 10)
    assert step["router"].flops == 4 * 2 * 64 * (8 + 1)


@pytest.mark.law
def test_resident_weights_are_two_bytes_a_parameter_whatever_the_mechanism() -> None:
    """At 16 bits, layers for prediction ahead and a tower included."""
    moe = MoE(experts=8, experts_per_token=2, expert_ffn=10, shared=MLP(ffn=24), correction=True)
    blocks = (LatentAttention(**DEEPSEEK, indexer=INDEXER), Mamba2(heads=4, head_dim=8, state=16, groups=2, conv=4), moe)
    group = LayerGroup(count=3, blocks=blocks, scalars=2)
    model = Model(
        id="m", hidden=64, vocab=100, groups=(group,), positions=7, embedding_vectors=2, head_bias=True, mtp=(group,), mtp_tables=2,
        tower_parameters=1234, scalars=5,
    )  # fmt: skip
    assert model.mtp_parameters == 3 * group.parameters(64) + 2 * 6400
    assert resident_weight_bytes(model, stored(model)) == 2 * (model.parameters + model.mtp_parameters)
