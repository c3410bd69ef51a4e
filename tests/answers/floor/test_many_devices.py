"""The literature's rules of many devices come out of the arithmetic."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import floor, load_format, load_link, load_model
from sol.answers.floor.result import Floor
from sol.answers.question.links import topology
from sol.physics.network import collectives
from sol.physics.network.sharding import device_weight_bytes
from sol.sources.database.database import load_gpu
from sol.specs.split import Split
from sol.specs.step import Storage

NDR = "infiniband-ndr"  # 50 GB/s a card, one direction


def step(model: str = "llama-3.1-70b", gpu: str = "h100", **asked: Any) -> Floor:
    return floor(model, gpu, ctx=asked.pop("ctx", 2048), **asked)


@pytest.mark.truth
def test_one_card_before_many() -> None:
    """What fits one card gets the most of each card there: every card more shortens the step by less than its share."""
    each = [1.0 / (tp * step("llama-3.1-8b", tp=tp).serial_s) for tp in (1, 2, 4, 8)]
    assert all(more < fewer for fewer, more in pairwise(each))


@pytest.mark.truth
def test_one_box_before_two() -> None:
    """The floor, which knows no latency, halves from 8 to 16 cards; with latency the second box makes a decode step longer.

    A prompt it makes shorter by a tenth at most.
    """
    eight, sixteen = (step(tp=tp, network=NDR) for tp in (8, 16))
    assert eight.latency_s / sixteen.latency_s == pytest.approx(2.0, rel=0.05)
    assert sixteen.serial_s > eight.serial_s
    prompt = [step(tp=tp, network=NDR, phase="prefill") for tp in (8, 16)]
    assert prompt[0].latency_s / prompt[1].latency_s == pytest.approx(2.0, rel=0.05)
    assert prompt[1].serial_s > 0.9 * prompt[0].serial_s


@pytest.mark.truth
@pytest.mark.parametrize("model", ["llama-3.1-8b", "llama-3.1-70b"])
def test_decode_gets_slower_where_the_box_ends(model: str) -> None:
    """On H200 with its boxes of eight the serial step falls with each doubling up to 8 and rises at 16."""
    counts = (1, 2, 4, 8, 16, 32)
    serial = [step(model, "h200", tp=tp, network=NDR).serial_s for tp in counts]
    assert next(counts[i + 1] for i in range(5) if serial[i + 1] > serial[i]) == 16
    assert int(np.argmin(serial)) == counts.index(8)


@pytest.mark.truth
def test_prefill_scales_as_far_as_its_wires_hide() -> None:
    """2,048 tokens are compute-bound: the floor scales with the cards. Nothing hidden, what is left is work over work and wires:

    80 layers, two all-reduces of 2,048·8,192·2 bytes each.
    """
    one, eight = (step(gpu="h200", tp=tp, phase="prefill") for tp in (1, 8))
    assert one.bound == eight.bound == "compute"
    assert one.latency_s / eight.latency_s == pytest.approx(8.0, rel=0.01)
    link = load_link("nvlink4")
    each = collectives.estimate_s("all_reduce", np.array([2048 * 8192 * 2.0]), np.array([8.0]), topology(load_gpu("h200")))
    assert each[0] > 2048 * 8192 * 2 / link.per_direction_bytes_per_s
    assert eight.serial_s == pytest.approx(one.serial_s / 8 + 160 * each[0], rel=0.01)
    assert 4.0 < one.serial_s / eight.serial_s < 8.0
    light = [step(gpu="h200", tp=tp) for tp in (1, 8)]
    assert one.serial_s / eight.serial_s < light[0].serial_s / light[1].serial_s  # wires grow with tokens as the work does; weights do not


@pytest.mark.truth
def test_a_pipeline_between_boxes_gives_more_and_shortens_nothing() -> None:
    """Two boxes: a pipeline of two tp=8 stages beats tp=16 per card at every batch, yet no step is shorter than in one box."""
    for batch in (1, 8, 64):
        across, piped, box = (step(batch=batch, network=NDR, **ways) for ways in ({"tp": 16}, {"tp": 8, "pp": 2}, {"tp": 8}))
        assert batch / piped.serial_s / 16 > batch / across.serial_s / 16
        if batch == 1:
            assert piped.latency_s == pytest.approx(box.latency_s, rel=1e-12)
            assert piped.serial_s >= box.serial_s
    alone, staged = (step("llama-3.1-8b", pp=pp) for pp in (1, 4))
    assert staged.latency_s == pytest.approx(alone.latency_s, rel=1e-12)  # one sequence sees one stage after another
    assert staged.tokens_per_s_per_gpu == pytest.approx(alone.tokens_per_s_per_gpu / 4, rel=1e-12)


@pytest.mark.truth
def test_stages_may_work_on_pieces_of_a_prompt_side_by_side() -> None:
    """2,048 tokens are compute-bound: the bound of pp stages is a stage's even part, while serial takes the prompt whole.

    Published: llama.cpp sends 4,096 tokens of a 70B F16 model through 6 RTX 3090 in chunks of 512, at 1.0007 of the time the FLOPs of one
    pass take at the peak of one card after the other. The last token passes every stage after all others: its bytes are no stage's part.
    """
    alone, eight = (step(gpu="h200", pp=pp, phase="prefill") for pp in (1, 8))
    assert eight.latency_s == pytest.approx(alone.latency_s / 8, rel=1e-12)
    assert eight.serial_s >= alone.serial_s
    short = step(gpu="h200", pp=8, phase="prefill", ctx=2)
    token = step(gpu="h200", pp=8, ctx=1)  # the second of two tokens: one cached, one new
    assert short.latency_s == pytest.approx(token.latency_s, rel=1e-6)
    verified = step(gpu="h200", pp=8, new_tokens=4)
    assert verified.latency_s >= step(gpu="h200", pp=8).latency_s
    many = step(gpu="h200", pp=8, phase="prefill", batch=[8.0], ctx=2048)  # as many prompts as stages: nothing is left to cut
    assert many.latency_s[0] == pytest.approx(alone.latency_s, rel=1e-6)


@pytest.mark.law
@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["llama-3.1-8b", "mixtral-8x7b", "gemma-2-9b"]), st.integers(1, 6000), st.sampled_from([1, 2, 3, 16]),
       st.sampled_from(["decode", "prefill"]), st.integers(1, 5))  # fmt: skip
def test_a_pipelines_bound_is_between_a_stage_and_a_pass(model: str, ctx: int, batch: int, phase: str, new: int) -> None:
    asked: dict[str, Any] = {"ctx": [float(ctx)], "batch": float(batch), "phase": phase, "network": NDR}
    if phase == "decode":
        asked["new_tokens"] = float(new)
    whole = floor(model, "h200", **asked)
    for pp in (2, 5, 8):
        piped = floor(model, "h200", pp=pp, **asked)
        assert (piped.latency_s <= piped.serial_s).all()
        assert (piped.latency_s >= whole.latency_s / pp * (1 - 1e-12)).all()
        assert (piped.latency_s == np.maximum(np.maximum(piped.memory_s, piped.compute_s), piped.network_s)).all()


@pytest.mark.truth
def test_layers_that_do_not_divide_leave_room_for_the_tables() -> None:
    """80 layers on 6 stages: two of 14 layers, four of 13, and the tables lie with these. By hand, 70B in 16 bits, 855,654,400 a layer."""
    model, bf16 = load_model("llama-3.1-70b"), load_format("bf16")
    storage = Storage(bf16, bf16, bf16, model.layers, 0)
    layer, table = 855_654_400 * 2, 128_256 * 8192 * 2
    held = {pp: float(device_weight_bytes(model, Split(pp=pp), storage)) for pp in (2, 3, 6, 8)}
    assert held[6] == pytest.approx(max(14 * layer, 13 * layer + table + 8192 * 2), rel=1e-12)
    assert held[8] == pytest.approx(10 * layer + table + 8192 * 2, rel=1e-12)
    assert held[3] == pytest.approx(27 * layer + table, rel=1e-12)  # 27, 27 and 26 layers: one table must lie with 27
    assert held[2] == pytest.approx(40 * layer + table + 8192 * 2, rel=1e-12)


EP = (8, 16, 32, 64)


@pytest.mark.truth
@pytest.mark.parametrize("model", ["deepseek-v3", "qwen3-235b-a22b"])
def test_large_expert_parallelism_erodes_what_narrow_experts_save(model: str) -> None:
    """64 sequences a card: experts' share of a card's bytes falls as 1/ep, and with it what 4 bits save over 8.

    At ep=64 on H200 less than an eighth is left: with so many tokens an expert the 16-bit products set the floor of w4a16.
    """
    memory, whole, tokens = [], [], []
    experts = {"deepseek-v3": 256, "qwen3-235b-a22b": 128}[model]
    for ep in EP:
        wide, narrow = (step(model, "h200", ctx=4096, batch=64 * ep, dp=ep, ep=ep, network=NDR, dtype=d) for d in ("fp8", "w4a16"))
        memory.append(wide.memory_s / narrow.memory_s)
        whole.append(wide.latency_s / narrow.latency_s)
        tokens.append(64 * ep * 8 / experts)
        print(f"{model} ep={ep}: {tokens[-1]:g} tokens per expert, bytes {memory[-1]:.3f}, floor {whole[-1]:.3f}")
    for ratios in (memory, whole):
        assert all(later < earlier for earlier, later in pairwise(ratios))
    assert memory[-1] >= whole[-1] > 1.0
    assert whole[-1] < 1.125


@pytest.mark.truth
def test_experts_bytes_by_hand() -> None:
    """DeepSeek-V3 at dp=ep: 58 layers of 256/ep experts of 3·7168·2048, all touched; 8 against 4.15625 bits, the rest alike."""
    for ep in EP:
        wide, narrow = (
            step("deepseek-v3", "h200", ctx=[4096.0], batch=64 * ep, dp=ep, ep=ep, network=NDR, dtype=d).operators.to_dicts()
            for d in ("fp8", "w4a16")
        )
        held = 58 * (256 / ep) * (1 - (1 - 8 / 256) ** (64 * ep)) * 3 * 7168 * 2048
        for rows, bits in ((wide, 8.0), (narrow, 4.15625)):
            (experts,) = (r for r in rows if r["operator"] == "experts")
            assert experts["moved_weight_bytes"] == pytest.approx(held * bits / 8, rel=1e-9)


@pytest.mark.truth
@pytest.mark.parametrize(("name", "gpu", "pp"), [("jamba-1.5-mini", "mi300x", 8), ("deepseek-r1", "b200", 4)])
def test_one_prompt_more_is_never_faster(name: str, gpu: str, pp: int) -> None:
    """Prompts of 100 tokens through a pipeline: one for each stage reads the experts of one; one more was 44 % faster once."""
    f = floor(name, gpu, ctx=100, batch=[1.0 * n for n in range(1, 4 * pp)], pp=pp, phase="prefill")
    assert (f.latency_s[1:] >= f.latency_s[:-1] * (1 - 1e-12)).all()
    assert (f.latency_s <= f.serial_s).all()


@pytest.mark.truth
def test_no_way_to_cut_a_batch_into_micro_batches_is_faster() -> None:
    """Llama-3.1-8B on 3 H200s, 7 sequences of 65,536: micro-batches of 2, 2, 2 and 1 take less than three of 3 would."""
    alone = {b: floor("llama-3.1-8b", "h200", ctx=65_536, batch=b, pp=3).latency_s for b in (7,)}
    passes = {n: floor("llama-3.1-8b", "h200", ctx=65_536, batch=3 * n, pp=3).latency_s for n in (1, 2, 3)}  # micro-batches of n
    for cut in ((2, 2, 2, 1), (3, 2, 2), (3, 3, 1), (1,) * 7, (2, 2, 1, 1, 1)):
        around = max(*(passes[n] for n in cut), sum(passes[n] for n in cut) / 3)
        assert alone[7] <= around * (1 + 1e-12), cut
