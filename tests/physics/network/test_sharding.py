"""What one device of a split holds and runs: by hand, by law, and as the formulas of the field have it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sol import Mamba2, load_format, load_link, load_model
from sol.physics.memory.capacity import resident_weight_bytes
from sol.physics.network.communication import wire_rows
from sol.physics.network.pricing import Sent, priced
from sol.physics.network.sharding import device_model, device_step, device_weight_bytes, share, split_operators
from sol.physics.operators.experts import distinct_experts
from sol.physics.operators.forward_pass import step_operators
from sol.physics.operators.operator import Operator
from sol.specs.links import Topology
from sol.specs.model import Model
from sol.specs.split import Split, cache_copies, illegal, tp_divisor
from sol.specs.step import Step, Storage

BF16 = load_format("bf16")


def stored(model: Model) -> Storage:
    return Storage(BF16, BF16, BF16, model.layers, 0)


def step(batch: float = 1.0, new: float = 1.0, past: float = 2048.0, logits: str = "all") -> Step:
    return Step(np.array([batch]), np.array([new]), np.array([past]), logits)  # type: ignore[arg-type]


def price(op: Operator, links: Topology) -> Sent:
    assert op.wire is not None
    return priced(op.wire, links)


def one_level() -> Topology:
    return Topology((load_link("nvlink5").model_copy(update={"domain": 576}),))


def summed(rows: list, field: str) -> float:
    return sum(np.asarray(getattr(op, field)).sum() for op in rows)


@pytest.mark.law
def test_one_device_is_no_split() -> None:
    model, one = load_model("mixtral-8x7b"), step(batch=7.0)
    assert device_model(model, Split()) is model
    assert device_step(one, Split()) is one
    plain, split = (
        f(model, one, stored(model), "expected", "ideal", *more) for f, more in ((step_operators, ()), (split_operators, (Split(),)))
    )
    for a, b in zip(plain, split, strict=True):
        assert (a.name, a.weight_bytes, a.kv_bytes, a.flops) == (b.name, b.weight_bytes, b.kv_bytes, b.flops)


@pytest.mark.truth
def test_the_groups_of_a_state_divide_with_its_heads() -> None:
    """Nemotron 3 Super's mixer over 2 and over 16: half the heads and groups; a device of 16 has one of 8 groups, copied."""
    mixer = Mamba2(heads=128, head_dim=64, state=128, groups=8, conv=4)
    assert (mixer.shard(2).heads, mixer.shard(2).groups) == (64, 4)
    assert mixer.shard(2).channels == 64 * 64 + 2 * 4 * 128
    assert (mixer.shard(16).heads, mixer.shard(16).groups) == (8, 1)


@pytest.mark.truth
@pytest.mark.parametrize(("ep", "held"), [(8, 32), (64, 4), (72, 4), (144, 2), (320, 1)])
def test_experts_that_do_not_divide_are_held_twice(ep: int, held: int) -> None:
    """DeepSeek's own decode deployments: 144 devices with two routed experts each, 320 with one; 288 places make 72 of four."""
    model, split = load_model("deepseek-v3"), Split(dp=ep, ep=ep)
    assert illegal(model, split) is None
    part = device_model(model, split)
    assert part.routed[0].experts_held == held
    rows = {op.name: op for op in split_operators(model, step(batch=1e9), stored(model), "expected", "ideal", split)}
    expert = 58 * 3 * 7168 * 2048
    assert float(rows["experts"].weight_bytes[0]) == pytest.approx(256 / ep * expert * 2)  # each expert is read in one place at least


@pytest.mark.truth
@pytest.mark.parametrize(
    ("name", "tp", "copies"), [("llama-3.1-70b", 8, 1), ("llama-3.1-70b", 16, 2), ("deepseek-v3", 8, 8), ("qwen3-30b-a3b", 8, 2)]
)
def test_how_many_devices_hold_the_same_keys_and_values(name: str, tp: int, copies: int) -> None:
    """8, 1 and 4 heads of keys and values."""
    model = load_model(name)
    assert cache_copies(model, tp) == copies
    assert {block.cache_copies for block in device_model(model, Split(tp=tp)).blocks if block.cache_spans} == {copies}
    whole, divided = (
        {op.name: op for op in split_operators(model, at, stored(model), "min", "ideal", split)}
        for at in (step(past=4096.0),) for split in (Split(tp=tp), Split(tp=tp, cp=copies))
    )  # fmt: skip
    token = whole["attention"].kv_bytes / (4096.0 + 1.0)
    assert float(divided["attention"].kv_bytes[0]) == pytest.approx(float((token * (4096 // copies + 1)).item()))


@pytest.mark.truth
def test_what_devices_exchange_that_divide_the_cached_tokens() -> None:
    """Llama-70B over 16, pairs dividing: 2·64/16 heads' queries of 128 and outputs of 128, 16 bits; of a long pass the cache itself."""
    model = load_model("llama-3.1-70b")
    rows = {r.name: r for r in wire_rows(model, Split(tp=16, cp=2), step(batch=4.0), stored(model))}
    assert set(rows) == {"all_reduce", "context_gather", "context_sum"}
    for name, op in (("context_gather", "all_gather"), ("context_sum", "reduce_scatter")):
        assert (rows[name].layers, rows[name].wire.op, rows[name].wire.ranks) == (80, op, 2)
        assert float(rows[name].wire.message_bytes[0]) == 4 * 8 * 128 * 2
    rows = {r.name: r for r in wire_rows(model, Split(tp=16, cp=2), step(new=8192.0, past=100.0), stored(model))}
    assert float(rows["context_gather"].wire.message_bytes[0]) == 100 * 2 * 128 * 2  # one head's keys and values of 100 tokens
    assert float(rows["context_sum"].wire.message_bytes[0]) == 0.0


@pytest.mark.truth
def test_heads_widths_and_tables_divide() -> None:
    """Llama-3.1-70B over 8: 8 query heads, 1 KV head, an eighth of every matrix; over 16 the KV heads are copied."""
    model = load_model("llama-3.1-70b")
    eighth = device_model(model, Split(tp=8))
    attention, mlp = eighth.groups[0].blocks
    assert (attention.heads, attention.kv_heads, mlp.ffn, eighth.vocab) == (8, 1, 28672 // 8, 128256 // 8)
    norms = 2 * (80 * 2 + 1) * 8192
    assert device_weight_bytes(model, Split(tp=8), stored(model)) == (2 * model.parameters - norms) / 8 + norms
    sixteenth = device_model(model, Split(tp=16)).groups[0].blocks[0]
    assert (sixteenth.heads, sixteenth.kv_heads) == (4, 1)


@pytest.mark.truth
def test_latents_are_copied_and_experts_divided() -> None:
    """DeepSeek-V3: the latent cache and the way into it are whole on every device; 256 experts over 8 are 32 each."""
    model = load_model("deepseek-v3")
    eighth = device_model(model, Split(tp=8, ep=8))
    latent, moe = eighth.groups[-1].blocks
    whole, _ = model.groups[-1].blocks
    assert (latent.heads, latent.kv_width, moe.experts_held, moe.expert_ffn) == (16, whole.kv_width, 32, 2048)
    narrow = device_model(model, Split(tp=8)).groups[-1].blocks[1]
    assert (narrow.experts_held, narrow.expert_ffn) == (256, 256)
    per_expert = 3 * 7168 * 2048
    assert moe.parameters(7168) - 32 * per_expert == 7168 * 256 + 256 + 3 * 7168 * 2048 // 8  # router, correction, an eighth of the shared


@pytest.mark.law
@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "nemotron-h-56b", "qwen3-next-80b-a3b", "deepseek-v2"])
def test_the_parts_make_the_whole(name: str) -> None:
    """What the devices read and compute together is at least the whole, and no device does more than one alone would."""
    model, whole = load_model(name), step(batch=8.0)
    alone = step_operators(model, whole, stored(model), "expected", "ideal")
    for tp in (n for n in (2, 4, 8) if tp_divisor(model) % n == 0):
        for split in (Split(tp=tp), *([Split(tp=tp, ep=tp)] if model.is_moe else [])):
            part = split_operators(model, whole, stored(model), "expected", "ideal", split)
            for field in ("weight_bytes", "kv_bytes", "flops"):
                one, all_of_it = summed(part, field), summed(alone, field)
                assert all_of_it / tp * (1 - 1e-12) <= one <= all_of_it
            assert device_weight_bytes(model, split, stored(model)) * tp >= resident_weight_bytes(model, stored(model)) * (1 - 1e-12)


@pytest.mark.truth
def test_sequences_are_dealt_out_whole() -> None:
    assert share(np.array([1.0, 7.0, 8.0, 9.0, 2.5, 0.5]), 4).tolist() == [1.0, 2.0, 2.0, 3.0, 1.0, 0.5]


@pytest.mark.truth
def test_experts_spread_over_devices_meet_all_tokens() -> None:
    """E/ep·(1 − (1 − k/E)^T) of all the replica's tokens; at the least ⌈k/ep⌉."""
    tokens = np.array([64.0])
    assert distinct_experts(256, 8, tokens, "expected", 32) == pytest.approx(32 * (1 - (1 - 8 / 256) ** 64))
    assert distinct_experts(256, 8, tokens, "min", 32) == 1
    assert distinct_experts(256, 8, tokens, "min", 8) == 1
    assert distinct_experts(8, 2, tokens, "min", 4) == 1
    assert distinct_experts(256, 8, tokens, "max", 32) == 32
    model = load_model("deepseek-v3")
    rows = {op.name: op for op in split_operators(model, step(batch=64.0), stored(model), "expected", "ideal", Split(dp=8, ep=8))}
    assert float(rows["experts"].weight_bytes[0]) == pytest.approx(58 * 32 * (1 - (1 - 8 / 256) ** 64) * 3 * 7168 * 2048 * 2)
    assert float(rows["experts"].flops[0]) == pytest.approx(64 * 2 * 58 * 8 / 8 * 3 * 7168 * 2048)


def test_copies_without_a_sequence_bring_no_tokens_to_the_experts() -> None:
    """One sequence on 8 copies is one token: 8 experts of 256, one of each device's 32, not those of 8 tokens; 9 sequences are 9."""
    model, split = load_model("deepseek-v3"), Split(dp=8, ep=8)
    expert = 58 * 3 * 7168 * 2048  # elements of one expert in every layer that has them
    for batch, tokens in ((1.0, 1), (3.0, 3), (9.0, 9), (64.0, 64)):
        rows = {op.name: op for op in split_operators(model, step(batch=batch), stored(model), "expected", "ideal", split)}
        assert float(rows["experts"].weight_bytes[0]) == pytest.approx(32 * (1 - (1 - 8 / 256) ** tokens) * expert * 2)
        assert float(rows["experts"].flops[0]) == pytest.approx(tokens * 2 * expert)  # k·T choices over 8 devices


def test_the_bound_sends_a_token_no_farther_than_it_must() -> None:
    """`min`: 8 experts per token fit among the 32 beside it; of devices with 4 each it takes two; experts cut over all copies, all."""
    moe = load_model("deepseek-v3")
    for split, others in (
        (Split(dp=8, ep=8), 0),
        (Split(dp=64, ep=64), 1),
        (Split(tp=4, dp=2, ep=8), 0),
        (Split(dp=8), 7),
        (Split(dp=8, ep=2), 3),
    ):
        least, usual = (
            {r.name: price(r, one_level()).wire_bytes.item() for r in wire_rows(moe, split, step(batch=4.0), stored(moe), routing)}
            for routing in ("min", "expected")
        )
        assert least["combine"] == pytest.approx(4 * 7168 * 2 * others)
        assert least["combine"] <= usual["combine"] * (1 + 1e-12)


@pytest.mark.truth
def test_what_is_sent() -> None:
    """Two all-reduces of T·d a layer; one where blocks stand side by side; deduplicated dispatch and combine; T·d a boundary."""
    llama, parallel, moe = (load_model(n) for n in ("llama-3.1-70b", "command-r-35b", "deepseek-v3"))
    (row,) = wire_rows(llama, Split(tp=8), step(batch=4.0), stored(llama))
    assert (row.name, row.layers, row.wire.op, row.wire.ranks, row.wire.message_bytes) == ("all_reduce", 160, "all_reduce", 8, 4 * 8192 * 2)
    (row,) = wire_rows(parallel, Split(tp=8), step(), stored(parallel))
    assert row.layers == parallel.layers
    names = {r.name: r for r in wire_rows(moe, Split(dp=8, ep=8), step(batch=4.0), stored(moe))}
    assert set(names) == {"dispatch", "combine"}
    assert names["combine"].layers == 58
    assert price(names["combine"], one_level()).wire_bytes.item() == pytest.approx(4 * 7168 * 2 * 3.1753, rel=1e-4)
    (row,) = wire_rows(moe, Split(tp=8, ep=8), step(batch=4.0), stored(moe))  # one copy: its tokens are everywhere already
    assert (row.name, row.layers) == ("all_reduce", 2 * 61)
    mixed = {r.name: (r.layers, r.wire.ranks) for r in wire_rows(moe, Split(tp=4, dp=2, ep=8), step(batch=4.0), stored(moe))}
    assert mixed == {"all_reduce": (2 * 61 - 58, 4), "dispatch": (58, 8), "combine": (58, 8), "all_gather": (58, 4)}
    (row,) = wire_rows(llama, Split(pp=4), step(batch=4.0), stored(llama))
    assert (row.name, row.layers, row.wire.message_bytes) == ("send", 3, 4 * 8192 * 2)


@pytest.mark.parametrize(
    ("name", "split", "words"),
    [
        ("llama-3.1-8b", Split(tp=6), "tp=6 does not divide heads=32 of llama-3.1-8b; use 1, 2, 4, 8, 16, 32"),
        ("llama-3.1-70b", Split(tp=16, cp=4), "and at tp=16 2 hold the cache of llama-3.1-70b; use 1, 2"),
        ("llama-3.1-70b", Split(tp=8, cp=2), "and at tp=8 no two hold the cache of llama-3.1-70b; use 1"),
        ("llama-3.1-8b", Split(pp=33), "pp=33 is more stages than the 32 layers"),
        ("llama-3.1-8b", Split(tp=2, ep=2), "ep=2 splits experts, and llama-3.1-8b has none"),
        ("mixtral-8x7b", Split(tp=4, ep=3), "ep=3 must divide tp·dp=4 of mixtral-8x7b; use 1, 2, 4"),
        ("mixtral-8x7b", Split(tp=2, ep=4), "use 1, 2"),
    ],
)
def test_an_illegal_split_names_the_legal_ones(name: str, split: Split, words: str) -> None:
    assert words in str(illegal(load_model(name), split) or "")


@pytest.mark.law
def test_the_fullest_device_gets_more_than_its_share_and_never_more_experts_than_it_holds() -> None:
    def experts(split: Split, imbalance: float, batch: float = 64.0) -> tuple[float, float]:
        asked = replace(step(batch=batch), imbalance=imbalance)
        model = load_model("deepseek-v3")
        rows = {op.name: op for op in split_operators(model, asked, stored(model), "expected", "ideal", split)}
        return float(rows["experts"].weight_bytes[0]), float(rows["experts"].flops[0])

    even, skewed = (experts(Split(dp=8, ep=8), n, batch=8.0) for n in (1.0, 1.5))
    assert skewed == pytest.approx((1.5 * even[0], 1.5 * even[1]))
    full, over = (experts(Split(dp=8, ep=8), n, batch=4096.0) for n in (1.0, 1.5))
    assert over[0] == pytest.approx(full[0])  # every expert it holds is read already
    assert over[1] == pytest.approx(1.5 * full[1])
    assert experts(Split(), 1.5) == experts(Split(), 1.0)  # one device has them all


@pytest.mark.law
@pytest.mark.parametrize("held", [None, 1, 8, 32])
def test_routing_is_ordered_on_the_fullest_device_too(held: int | None) -> None:
    """min ≤ expected ≤ max, however few tokens there are."""
    tokens = np.array([0.25, 1.0, 2.0, 7.0, 64.0, 5000.0])
    least, likely, most = (distinct_experts(256, 8, tokens, r, held) for r in ("min", "expected", "max"))
    assert (least <= likely).all()
    assert (likely <= most).all()
    assert most.max() == (held or 256)
