"""The literature's rules of many devices come out of the arithmetic; published tensor parallelism and expert exchange bear it out."""

from __future__ import annotations

import csv
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import floor, load_format, load_link, load_model, plan
from sol.answers.calibrate.accuracy import scored
from sol.answers.floor.result import Floor
from sol.answers.question.ask import ask
from sol.answers.question.links import topology
from sol.errors import DoesNotFit, InvalidInput, InvalidPlan, UnknownName
from sol.physics.network import collectives
from sol.physics.network.communication import wire_rows
from sol.physics.network.sharding import device_weight_bytes, share
from sol.sources.database.database import load_gpu
from sol.sources.database.measured import MeasuredRow, measured_rows
from sol.sources.database.tomlfiles import data_root
from sol.specs.split import Split
from sol.specs.step import Step, Storage

NDR = "infiniband-ndr"  # 50 GB/s a card, one direction
MEASURED = data_root() / "measured"


def step(model: str = "llama-3.1-70b", gpu: str = "h100", **asked: Any) -> Floor:
    return floor(model, gpu, ctx=asked.pop("ctx", 2048), **asked)


# The rules


@pytest.mark.truth
def test_one_card_before_many() -> None:
    """What fits one card gets the most of each card there: every card more shortens the step by less than its share."""
    each = [1.0 / (tp * step("llama-3.1-8b", tp=tp).serial_s) for tp in (1, 2, 4, 8)]
    assert all(more < fewer for fewer, more in pairwise(each))


@pytest.mark.truth
def test_one_box_before_two() -> None:
    """The floor, which knows no latency, halves from 8 to 16 cards; with latency the second box makes a decode step longer."""
    eight, sixteen = (step(tp=tp, network=NDR) for tp in (8, 16))
    assert eight.latency_s / sixteen.latency_s == pytest.approx(2.0, rel=0.05)
    assert sixteen.serial_s > eight.serial_s
    prompt = [step(tp=tp, network=NDR, phase="prefill") for tp in (8, 16)]
    assert prompt[0].latency_s / prompt[1].latency_s == pytest.approx(2.0, rel=0.05)
    assert prompt[1].serial_s > prompt[0].serial_s


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

    At ep=64 on H200 nothing is left: tokens travel to 16-bit products in 16 bits, to 8-bit products in 8.
    """
    memory, whole, tokens = [], [], []
    experts = {"deepseek-v3": 256, "qwen3-235b-a22b": 128}[model]
    for ep in EP:
        wide, narrow = (step(model, "h200", ctx=4096, batch=64 * ep, dp=ep, ep=ep, network=NDR, dtype=d) for d in ("fp8", "w4a16"))
        memory.append(wide.memory_s / narrow.memory_s)
        whole.append(wide.latency_s / narrow.latency_s)
        tokens.append(64 * ep * 8 / experts)
        print(f"{model} ep={ep}: {tokens[-1]:g} tokens an expert, bytes {memory[-1]:.3f}, floor {whole[-1]:.3f}")
    for ratios in (memory, whole):
        assert all(later < earlier for earlier, later in pairwise(ratios))
    assert memory[-1] > 1.0 > whole[-1]


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


# What travels


@pytest.mark.truth
def test_tokens_travel_as_the_experts_take_them() -> None:
    """16 bits, 8 to fp8 products, 4 to fp4 products; a device without fp4 units multiplies 4-bit weights in 16 bits."""
    sent = {}
    for gpu in ("b200", "h200"):
        for dtype in ("bf16", "fp8", "nvfp4", "w4a16"):
            q = ask("deepseek-v3", gpu, ctx=2048, batch=32, dp=32, ep=32, dtype=dtype, network=NDR)
            rows = {r.name: r for r in wire_rows(q.model, q.split, Step(np.ones(1), np.ones(1), np.array([2048.0]), "last"), q.storage)}
            sent[gpu, dtype] = rows["dispatch"].wire.message_bytes[0] / rows["combine"].wire.message_bytes[0]  # type: ignore[union-attr]
    assert [sent["b200", d] for d in ("bf16", "fp8", "nvfp4", "w4a16")] == [1.0, 0.5, 0.25, 1.0]
    assert [sent["h200", d] for d in ("bf16", "fp8", "nvfp4", "w4a16")] == [1.0, 0.5, 1.0, 1.0]


DEEPEP = [r for r in csv.DictReader((MEASURED / "collectives.csv").read_text(encoding="utf-8").splitlines()) if r["kernel"] == "deepep"]


@pytest.mark.truth
@pytest.mark.parametrize("row", DEEPEP, ids=[r["id"] for r in DEEPEP])
def test_no_published_exchange_of_experts_is_faster_than_ours(row: dict[str, str], record_property: Any) -> None:
    """128 tokens a card, hidden 7168, 8 experts each, fp8 out and bf16 back: our bytes over their time are below every link's rate."""
    ep, name = int(row["ranks"]), row["engine"].rpartition(" ")[2]
    links = topology(load_gpu(row["gpu"]), load_link(row["network"]))
    q = ask("deepseek-v3", row["gpu"], ctx=1, batch=128 * ep, dp=ep, ep=ep, dtype="fp8", network=row["network"])
    tokens = Step(share(q.step.batch, ep), q.step.new_tokens, q.step.past_tokens, q.step.logits)
    (wire,) = (r.wire for r in wire_rows(q.model, q.split, tokens, q.storage) if r.name == name)
    assert wire is not None
    sent = collectives.wire_bytes("all_to_all", np.asarray(wire.message_bytes), np.array([float(ep)]), links)
    taken = float(row["printed"]) * 1e-6
    for link, size in zip(links.levels, sent, strict=True):
        record_property(link.id, round(float(size[0] / taken / link.per_direction_bytes_per_s), 3))
        assert size[0] / taken <= link.per_direction_bytes_per_s
    assert sum(s[0] for s in sent) <= 128 * 8 * 7168 * (1.0 if name == "dispatch" else 2.0)  # theirs goes once to every expert


# gpt-fast's published tensor parallelism

GPT_FAST = [r for r in measured_rows() if r.engine == "gpt-fast" and r.gpu == "a100-sxm-80gb" and r.dtype == "bf16"]
OUTLIER = "GPTF-0019"
"""Llama-3.1-70B on 2 cards, 62.4 ms: a third more than Llama-2-70B's 46.9 of nearly the same bytes, and 2.34 times its own on 4."""


@lru_cache
def serial(model: str, tp: int) -> float:
    return floor(model, "a100-sxm-80gb", ctx=104.5, tp=tp, dtype="bf16").serial_s


@pytest.mark.truth
def test_published_speed_ups_of_tensor_parallelism() -> None:
    """Our serial ratio against theirs, from the fewest cards of a model to each number: within 15 % at two cards, or from two to four.

    Elsewhere we promise too much, never too little: up to twice at eight cards. A step has a fixed time per layer that no card
    shares, which the next test finds; the outlier is left out.
    """
    errors: dict[tuple[str, int], float] = {}
    for model in dict.fromkeys(r.model for r in GPT_FAST):
        rows = sorted((r for r in GPT_FAST if r.model == model and r.id != OUTLIER), key=lambda r: r.tp)
        for row in rows[1:]:
            if row.tp > rows[0].tp:
                theirs = rows[0].measured_s / row.measured_s
                errors[row.id, row.tp] = serial(model, rows[0].tp) / serial(model, row.tp) / theirs - 1
    print({k: round(v, 3) for k, v in errors.items()})
    within = {row for (row, _), error in errors.items() if abs(error) <= 0.15}
    assert {"GPTF-0009", "GPTF-0013"} <= within
    assert all(error > 0 for error in errors.values())


@pytest.mark.truth
def test_what_the_speed_ups_miss_is_a_fixed_time_a_layer() -> None:
    """Two figures from Llama-2-7B on 1 and 2 cards (a share of the rate, a time a layer) put every other row within 15 %, most within 5.

    Every card reads the whole head, as gpt-fast's tp.py leaves it.
    """

    def known(row: MeasuredRow) -> tuple[float, int]:
        model = load_model(row.model)
        head = model.vocab * model.hidden * 2 * (1 - 1 / row.tp) / load_gpu("a100-sxm-80gb").memory_bytes_per_s
        return serial(row.model, row.tp) + head, model.layers

    rows = {r.id: r for r in GPT_FAST}
    first, second = rows["GPTF-0001"], rows["GPTF-0009"]
    per_serial = (first.measured_s - second.measured_s) / (known(first)[0] - known(second)[0])
    per_layer = (first.measured_s - per_serial * known(first)[0]) / known(first)[1]
    assert 1 / per_serial == pytest.approx(1700 / 2039, abs=0.05)  # "seems like peak bandwidth is about 1700 GB/s", their README
    errors = {}
    for name, row in rows.items():
        at, layers = known(row)
        errors[name] = (per_serial * at + per_layer * layers) / row.measured_s - 1
    print(f"{1 / per_serial:.3f} of the rate, {per_layer * 1e6:.1f} µs a layer", {k: round(v, 3) for k, v in errors.items()})
    held = {k: abs(v) for k, v in errors.items() if k not in (OUTLIER, first.id, second.id)}
    assert max(held.values()) <= 0.15
    assert np.median(list(held.values())) <= 0.05
    assert errors[OUTLIER] < -0.15


@pytest.mark.truth
def test_estimates_tell_the_published_speed_ups() -> None:
    """Every row within 15 % of its model's on the fewest cards, dense and routed, 16 and 8 bits; bases but the outlier."""
    known = scored([r for r in measured_rows() if r.engine == "gpt-fast" and r.gpu == "a100-sxm-80gb" and r.id != OUTLIER])
    errors = {}
    for of in dict.fromkeys((s.row.model, s.row.dtype) for s in known):
        base, *more = sorted((s for s in known if (s.row.model, s.row.dtype) == of), key=lambda s: s.row.tp)
        for s in more:
            assert s.estimate_s is not None
            assert base.estimate_s is not None
            errors[s.row.id] = base.estimate_s / s.estimate_s / (base.row.measured_s / s.row.measured_s) - 1
    print({k: round(v, 3) for k, v in errors.items()})
    assert len(errors) >= 18
    assert all(abs(v) <= 0.15 for v in errors.values())


# Laws

SPLITS = st.sampled_from([Split(tp=2), Split(tp=8), Split(tp=16), Split(pp=4), Split(tp=2, pp=2), Split(tp=4, pp=3)])
EXPERT_SPLITS = st.sampled_from(
    [Split(dp=2), Split(tp=2, ep=2), Split(dp=4, ep=4), Split(tp=2, dp=2, ep=4), Split(dp=16, ep=8), Split(tp=2, pp=2)]
)


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    model = draw(st.sampled_from(["llama-3.1-8b", "mixtral-8x7b"]))
    split = draw(EXPERT_SPLITS if model == "mixtral-8x7b" else SPLITS)
    return model, {"ctx": draw(st.sampled_from([128, 2048])), "phase": draw(st.sampled_from(["decode", "prefill"])), **split._asdict()}


@pytest.mark.law
@settings(max_examples=40)
@given(questions(), st.lists(st.sampled_from([1, 2, 3, 7, 8, 64]), min_size=1, max_size=4, unique=True))
def test_a_sweep_is_its_points_and_no_floor_passes_its_serial(question: tuple[str, dict[str, Any]], batches: list[int]) -> None:
    model, asked = question
    swept = floor(model, "h200", batch=[float(b) for b in batches], network=NDR, **asked)
    assert (swept.latency_s <= swept.serial_s).all()
    assert (swept.wire_bytes > 0.0).all()
    assert (swept.network_s > 0.0).all()
    for i, batch in enumerate(batches):
        try:
            one = floor(model, "h200", batch=batch, network=NDR, **asked)
        except DoesNotFit:
            assert not swept.fits[i]
            continue
        for name in ("latency_s", "serial_s", "memory_s", "compute_s", "network_s", "wire_bytes", "flops", "resident_bytes"):
            assert getattr(one, name) == getattr(swept, name)[i], name


@pytest.mark.law
@settings(max_examples=25)
@given(questions(), st.sampled_from([1.0, 1.5, 4.0]))
def test_faster_links_are_never_slower(question: tuple[str, dict[str, Any]], times: float) -> None:
    model, asked = question
    network, gpu = load_link(NDR), load_gpu("h200")
    reached = {k: v * times for k, v in network.reached_bytes_per_s.items()}
    faster = network.model_copy(
        update={"per_direction_bytes_per_s": times * network.per_direction_bytes_per_s, "reached_bytes_per_s": reached}
    )
    own = gpu.link
    assert own is not None
    quick = gpu.model_copy(update={"link": own.model_copy(update={"per_direction_bytes_per_s": times * own.per_direction_bytes_per_s})})
    here, there = (floor(model, g, batch=[8.0], network=n, **asked) for g, n in ((gpu, network), (quick, faster)))
    for name in ("latency_s", "serial_s", "network_s"):
        assert getattr(there, name)[0] <= getattr(here, name)[0]
    assert there.network_s[0] == pytest.approx(here.network_s[0] / times, rel=1e-9)


@pytest.mark.law
@pytest.mark.parametrize("model", ["llama-3.1-8b", "qwen3-30b-a3b"])
def test_no_split_is_no_split(model: str) -> None:
    """All ones, a network or not: the same bits, and nothing sent."""
    plain = floor(model, "h100", ctx=2048, batch=3)
    for asked in ({"tp": 1, "pp": 1, "ep": 1, "dp": 1}, {"tp": 1, "network": NDR}):
        same = floor(model, "h100", ctx=2048, batch=3, **asked)
        for name in ("latency_s", "serial_s", "memory_s", "compute_s", "resident_bytes", "moved_bytes", "flops", "tokens_per_s"):
            assert getattr(same, name) == getattr(plain, name)
        assert same.wire_bytes == same.network_s == 0.0


@pytest.mark.law
@pytest.mark.parametrize(
    "split", [Split(tp=8), Split(pp=4), Split(tp=2, pp=3), Split(tp=4, ep=4), Split(tp=2, dp=4, ep=8), Split(dp=8, ep=8)]
)
def test_the_devices_together_hold_the_model(split: Split) -> None:
    model, bf16 = load_model("mixtral-8x7b"), load_format("bf16")
    each = device_weight_bytes(model, split, Storage(bf16, bf16, bf16, model.layers, 8))
    assert each * split.devices >= 2.0 * model.parameters
    assert each <= 2.0 * model.parameters


# What cannot be asked


@pytest.mark.contract
@pytest.mark.parametrize(
    ("model", "asked", "error", "words"),
    [
        ("llama-3.1-8b", {"tp": 6}, InvalidPlan, "tp=6 does not divide heads=32 of llama-3.1-8b; use 1, 2, 4, 8, 16, 32"),
        ("llama-3.1-8b", {"pp": 33}, InvalidPlan, "use 1 to 32"),
        ("llama-3.1-8b", {"ep": 2, "tp": 2}, InvalidPlan, "has none; use ep=1"),
        ("mixtral-8x7b", {"tp": 4, "ep": 3}, InvalidPlan, "use 1, 2, 4"),
        (
            "llama-3.1-8b",
            {"tp": 16},
            InvalidPlan,
            "16 devices (tp=16) are more than the 8 that nvlink4 of h100-sxm joins; name the network",
        ),
        ("llama-3.1-8b", {"tp": 2, "network": "infiniband-xyz"}, UnknownName, "no network 'infiniband-xyz'"),
        ("llama-3.1-8b", {"network": "infiniband-xyz"}, UnknownName, "no network 'infiniband-xyz'"),
        ("llama-3.1-8b", {"tp": 2, "network": "nvlink4"}, InvalidInput, "network=nvlink4 is a scale-up link"),
        ("llama-3.1-8b", {"tp": 0}, InvalidInput, "tp=0 is not a whole number"),
        ("llama-3.1-8b", {"tp": 2.0}, InvalidInput, "tp=2.0 is not a whole number"),
        ("llama-3.1-8b", {"dp": True}, InvalidInput, "dp=True is not a whole number"),
    ],
)
def test_what_cannot_be_says_what_can(model: str, asked: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        floor(model, "h100", ctx=2048, **asked)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.contract
@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"devices": 2, "price_per_hour": -1.0}, InvalidInput, "price_per_hour"),
        ({"devices": 2, "objective": "cost"}, InvalidInput, "needs price_per_hour"),
        ({"devices": 2, "objective": "speed"}, InvalidInput, "objective='speed' is not one of"),
        ({"devices": "eight"}, InvalidInput, "devices='eight' is not a number, a list or a range"),
        ({"devices": "4-2"}, InvalidInput, "devices='4-2'"),
        ({"devices": "0-2"}, InvalidInput, "devices='0-2'"),
        ({"devices": ""}, InvalidInput, "devices=''"),
        ({"devices": []}, InvalidInput, "devices=[]"),
        ({"devices": 10**6}, InvalidInput, "up to 4096"),
        ({"devices": 33}, InvalidPlan, "no split of 33 devices is legal for llama-3.1-8b; tp divides 32"),
        ({"devices": 16}, InvalidPlan, "name the network"),
        ({"devices": 2, "tpot_s": 1e-9}, DoesNotFit, "nothing that fits meets tpot_s=1e-09"),
    ],
)
def test_a_plan_that_cannot_be_says_what_can(asked: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        plan("llama-3.1-8b", "h100", ctx=2048, **asked)
    assert words in str(caught.value)


@pytest.mark.contract
def test_numbers_of_devices_as_text() -> None:
    found = plan("llama-3.1-8b", "h100", devices="1-2, 4,2", ctx=2048)
    assert sorted(set(found.devices)) == [1.0, 2.0, 4.0]
    same = plan("llama-3.1-8b", "h100", devices=[4, 1, 2], ctx=2048)
    assert (found.latency_s == same.latency_s).all()
    one = floor("llama-3.1-8b", "h100", ctx=2048, **found.splits[found.best]._asdict())
    assert found.latency_s[found.best] == one.serial_s


def test_an_imbalance_below_an_even_share_has_no_meaning() -> None:
    with pytest.raises(InvalidInput, match="1 or more"):
        floor("mixtral-8x7b", "h100", ctx=1, imbalance=0.5)
    skewed = floor("mixtral-8x7b", "h100", ctx=2048, batch=64, tp=2, ep=2, imbalance=1.25)
    assert any("imbalance 1.25" in line for line in skewed.assumptions)
    assert skewed.flops > floor("mixtral-8x7b", "h100", ctx=2048, batch=64, tp=2, ep=2).flops


def test_what_is_assumed_of_states_index_keys_and_links_is_said() -> None:
    hybrid, sparse = floor("qwen3-next-80b-a3b", "h200", ctx=[9], tp=2), floor("deepseek-v3.2", "b200", ctx=[9], tp=8)
    assert any("recurrent states in 32 bits" in line for line in hybrid.assumptions)
    assert any("index keys in 8 bits" in line for line in sparse.assumptions)
    silent = floor("llama-3.1-8b", "trainium2", ctx=[9], tp=2)
    assert any("a latency" in line and "no source" in line for line in silent.assumptions)
    assert not any("no source gives" in line and "a latency" in line for line in hybrid.assumptions)
    with pytest.raises(InvalidInput, match="imbalance has 2 values"):
        floor("mixtral-8x7b", "h100", ctx=1, imbalance=[1, 2])
