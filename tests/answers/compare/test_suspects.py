"""Who is suspected: a time made by one mistake names that mistake, and only what fits is named."""

from __future__ import annotations

import json

import pytest

from sol import Comparison, InvalidInput, compare, floor, load_gpu, offload
from sol.answers.compare.changes import siblings
from sol.answers.compare.suspects import SHOWN
from sol.specs.hardware import GPU

pytestmark = pytest.mark.law


def kinds(c: Comparison) -> list[str]:
    return [s.kind for s in c.suspects]


def at(share: float, model: str, gpu: str, **asked: object) -> float:
    """The time of a run that reaches this share of light [s]."""
    return floor(model, gpu, **asked).latency_s / share


@pytest.mark.parametrize("share", [0.62, 0.8, 0.9])
def test_sixteen_bits_where_eight_were_said(share: float) -> None:
    measured = at(share, "llama-3.1-8b", "thor", ctx=2048)
    c = compare("llama-3.1-8b", "thor", measured_s=measured, ctx=2048, dtype="fp8")
    assert kinds(c)[0] == "precision"
    assert c.suspects[0].title == "the weights may be bf16, not fp8"
    assert f"{round(100 * share)} % of the floor" in c.suspects[0].evidence


def test_eight_bits_computed_in_sixteen() -> None:
    """A prefill bound by products: 8-bit weights multiplied in 16 bits take twice as long."""
    measured = at(0.9, "llama-3.1-8b", "l4", ctx=8192, phase="prefill", dtype="w8a16")
    c = compare("llama-3.1-8b", "l4", measured_s=measured, ctx=8192, phase="prefill", dtype="fp8")
    assert c.matters == "mfu"
    assert "w8a16" in c.suspects[0].title


def test_what_does_not_fit_streams() -> None:
    streamed = offload("llama-3.1-70b", "h100", ctx=2048)
    c = compare("llama-3.1-70b", "h100", measured_s=streamed.overlapped_s / 0.9, ctx=2048)
    assert (c.floor.fits, kinds(c)[0]) == (False, "offload")
    assert "90 % of the measured time" in c.suspects[0].evidence
    faster = compare("llama-3.1-70b", "h100", measured_s=streamed.overlapped_s / 5, ctx=2048)
    assert "another model, format or device was timed" in faster.suspects[0].evidence


def test_all_weights_over_the_link() -> None:
    f = floor("llama-3.1-8b", "h100", ctx=2048)
    link = load_gpu("h100").pcie
    assert link is not None
    c = compare("llama-3.1-8b", "h100", measured_s=f.moved_weight_bytes / link.per_direction_bytes_per_s / 0.9, ctx=2048)
    assert "offload" in kinds(c)


def test_a_run_on_the_cpu() -> None:
    c = compare("llama-3.1-8b", "rtx-4090", measured_s=at(0.7, "llama-3.1-8b", "ryzen-7950x", ctx=512), ctx=512)
    assert "ryzen-7950x" in next(s.evidence for s in c.suspects if s.kind == "cpu")


@pytest.mark.parametrize(("said", "was"), [("apple-m2-max", "apple-m2-pro"), ("v100", "v100-pcie"), ("a100", "a100-sxm-40gb")])
def test_a_slower_part_of_the_same_name(said: str, was: str) -> None:
    slower, faster = (load_gpu(i).memory_bytes_per_s for i in (was, said))
    c = compare("qwen2.5-3b", said, measured_s=at(0.8, "qwen2.5-3b", was, ctx=1024), ctx=1024)
    named = [s.title for s in c.suspects if s.kind == "device"]
    # shown only where it tells the two apart: a tenth faster, and not healthy as said
    assert bool(named) == (c.fraction < 0.6 and faster > 1.1 * slower)
    assert not named or was in named[0]


def test_a_power_mode_is_a_slower_part() -> None:
    orin = load_gpu("jetson-agx-orin-64gb")
    assert {f"{orin.id}@{m}" for m in orin.power_modes} <= {g.id for g in siblings(orin)}
    c = compare(
        "qwen2.5-7b", orin.id, measured_s=at(0.9, "qwen2.5-7b", f"{orin.id}@15w", ctx=512, phase="prefill"), ctx=512, phase="prefill"
    )
    assert any("@15w" in s.title for s in c.suspects)


def test_siblings_share_a_name_up_to_its_number() -> None:
    assert {g.id for g in siblings(load_gpu("h100"))} == {"h100-pcie", "h100-nvl"}
    assert "l4" not in {g.id for g in siblings(load_gpu("l40s"))}
    assert {g.id for g in siblings(load_gpu("a10"))} == {"a10g"}
    mine = GPU(id="my-npu", name="x", memory_bytes_per_s=1e12, source="x")
    assert siblings(mine) == []


def test_devices_that_take_turns() -> None:
    c = compare("llama-3.1-70b", "h200", measured_s=at(0.75, "llama-3.1-70b", "h200", ctx=2048, tp=2), ctx=2048, tp=8)
    assert "split over 2, not 8" in next(s.title for s in c.suspects if s.kind == "split")


def test_milliseconds_for_seconds_and_a_rate_for_a_time() -> None:
    c = compare("qwen2.5-7b", "h100", measured_s=16.97, ctx=2048)
    assert kinds(c)[0] == "unit"
    assert "3,987 times the floor; 16.97 ms would be 25 % of light" in c.suspects[0].evidence
    rate = compare("qwen2.5-7b", "h100", measured_s=190.0, ctx=2048)
    assert (rate.suspects[0].title, rate.suspects[1].title) == ("a rate given as a time", "milliseconds given as seconds")
    assert "190 tok/s would be 5.263 ms, 81 % of light" in rate.suspects[0].evidence
    short = compare("qwen2.5-7b", "h100", measured_s=16.97e-6, ctx=2048)
    assert short.suspects[0].title == "seconds given as milliseconds"


def test_a_whole_request() -> None:
    c = compare("qwen2.5-7b", "h100", measured_s=256 * 5e-3, ctx=2048)
    assert "request" in kinds(c)


def test_eager_fits_by_time_per_layer_alone() -> None:
    """0.6 ms per layer whatever the bytes; not where the bytes take most of it, and less likely of an engine that captures graphs."""
    for model in ("qwen2.5-0.5b", "qwen2.5-3b", "qwen2.5-7b"):
        layers = floor(model, "h100", ctx=512).question.model.layers
        assert kinds(compare(model, "h100", measured_s=layers * 0.61e-3, ctx=512))[0] == "eager"
    assert "eager" not in kinds(compare("qwen2.5-7b", "l4", measured_s=28 * 2.2e-3, ctx=2048))
    graph = compare("qwen2.5-7b", "h100", measured_s=16.97e-3, ctx=2048, engine="vllm")
    assert "enforce-eager" in next(s.title for s in graph.suspects if s.kind == "eager")


def test_a_capped_clock_is_suspected_of_compute_alone() -> None:
    slow = {"ctx": 4096, "phase": "prefill"}
    c = compare("llama-3.1-8b", "l4", measured_s=at(0.5, "llama-3.1-8b", "l4", **slow), **slow)
    assert "power" in kinds(c)
    assert "1,275 of 2,040 MHz" in next(s.evidence for s in c.suspects if s.kind == "power")  # 0.5/0.8 of the clock
    assert "power" not in kinds(compare("llama-3.1-8b", "l4", measured_s=at(0.5, "llama-3.1-8b", "l4", ctx=4096), ctx=4096))
    assert "power" not in kinds(compare("llama-3.1-8b", "l4", measured_s=at(0.35, "llama-3.1-8b", "l4", **slow), **slow))


def test_what_a_rate_has_counted_is_not_suspected_again() -> None:
    asked = {"ctx": 1024, "dtype": "fp8"}
    slow = at(0.8, "llama-3.1-8b", "l4", batch=32, **asked)
    assert "batch" in kinds(compare("llama-3.1-8b", "l4", measured_s=slow, **asked))
    assert "batch" not in kinds(compare("llama-3.1-8b", "l4", measured_s=slow, told="rate", **asked))
    assert "batch" in kinds(compare("llama-3.1-8b", "l4", measured_s=slow, told="rate/user", **asked))
    with pytest.raises(InvalidInput, match="told"):
        compare("llama-3.1-8b", "l4", measured_s=slow, told="tokens", **asked)  # type: ignore[arg-type]


def test_the_rate_of_one_given_as_that_of_all() -> None:
    step = at(0.8, "llama-3.1-8b", "l4", ctx=1024, batch=8)
    c = compare("llama-3.1-8b", "l4", measured_s=8 * step, ctx=1024, batch=8, told="rate")
    assert (kinds(c)[0], c.suspects[0].read_s) == ("aggregate", pytest.approx(step))
    assert f"{1 / step:.4g}tok/s/user" in c.suspects[0].action
    assert "aggregate" not in kinds(compare("llama-3.1-8b", "l4", measured_s=8 * step, ctx=1024, batch=8, told="rate/user"))
    eager = compare("llama-3.1-8b", "h100", measured_s=8 / 59, ctx=1024, batch=8, told="rate")  # 16.95 ms each, of a light of 4.8
    assert kinds(eager) == ["aggregate"]


def test_a_measured_time_at_light_itself_makes_nothing_likeliest() -> None:
    bound = at(1.0, "llama-3.1-8b", "thor", ctx=2048)
    c = compare("llama-3.1-8b", "thor", measured_s=bound, ctx=2048, dtype="fp8")
    assert "bf16" not in c.suspects[0].title
    assert all(s.limit_s / s.read_s <= 0.92 for s in c.suspects)
    only = compare("qwen2.5-7b", "h100", measured_s=floor("qwen2.5-7b", "h100", ctx=2048).latency_s * 1000, ctx=2048)
    assert "milliseconds given as seconds" not in [s.title for s in only.suspects]  # 4.256 ms is light itself


# Too fast


def test_a_time_per_token_of_all_sequences() -> None:
    measured = at(0.7, "llama-3.1-8b", "h100", ctx=1024, batch=64) / 64
    c = compare("llama-3.1-8b", "h100", measured_s=measured, ctx=1024, batch=64)
    assert (c.verdict, kinds(c)[0]) == ("impossible", "aggregate")
    assert "70 % of light" in c.suspects[0].evidence


def test_a_narrower_format_than_was_said() -> None:
    c = compare("llama-3.1-8b", "h100", measured_s=at(0.8, "llama-3.1-8b", "h100", ctx=1024, dtype="fp8"), ctx=1024)
    assert kinds(c)[0] == "precision"
    assert "fp8, not bf16" in c.suspects[0].title


def test_drafts_and_devices_and_clocks() -> None:
    c = compare("qwen2.5-7b", "h100", measured_s=3e-3, ctx=2048)
    assert "1.42 tokens or more accepted of a step that verifies 2" in next(s.evidence for s in c.suspects if s.kind == "speculation")
    assert "1,367 eager kernels" in next(s.evidence for s in c.suspects if s.kind == "clock")
    two = compare("llama-3.1-70b", "h200", measured_s=at(0.8, "llama-3.1-70b", "h200", ctx=512, tp=2), ctx=512)
    assert any("tp=2" in s.evidence for s in two.suspects)
    pcie = compare("qwen2.5-7b", "h100-pcie", measured_s=at(0.9, "qwen2.5-7b", "h100", ctx=512), ctx=512)
    assert any("h100-sxm" in s.title for s in pcie.suspects)


def test_a_cached_prefix_and_a_shorter_context() -> None:
    asked = {"ctx": 4096, "phase": "prefill"}
    measured = at(0.9, "llama-3.1-8b", "h100", cached_tokens=3072, **asked)
    c = compare("llama-3.1-8b", "h100", measured_s=measured, **asked)
    assert kinds(c)[0] == "prefix"
    enough = float(c.suspects[0].evidence.split(" ")[0].replace(",", ""))
    assert floor("llama-3.1-8b", "h100", cached_tokens=enough, **asked).latency_s <= measured * 1.02
    assert enough <= 3072
    short = compare("llama-3.1-8b", "h100", measured_s=at(0.98, "llama-3.1-8b", "h100", ctx=4096, batch=64, kv_dtype="bf16"),
                    ctx=16_384, batch=64, kv_dtype="bf16")  # fmt: skip
    assert {"ctx", "batch"} <= set(kinds(short))


def test_what_is_possible_has_an_excuse_and_no_suspect_beside() -> None:
    warm = compare("qwen2.5-0.5b", "rtx-4090", measured_s=0.95e-3, ctx=20)
    assert (warm.verdict, kinds(warm)) == ("at the limit", ["cache"])
    skewed = compare("qwen3-30b-a3b", "h200", measured_s=6e-3, ctx=2000, batch=16)
    assert skewed.fraction > 1.0
    assert kinds(skewed) == ["routing"]
    narrow = compare(
        "llama-3.1-8b", "h100", measured_s=at(0.95, "llama-3.1-8b", "h100", ctx=32768, batch=16, kv_dtype="fp8"), ctx=32768, batch=16
    )
    assert kinds(narrow) == ["precision"]


# All of them


CASES = [
    ("qwen2.5-7b", "h100", {"ctx": 2048}), ("qwen3-30b-a3b", "rtx-4090", {"ctx": 4096, "dtype": "w4a16"}),
    ("llama-3.1-70b", "a100", {"ctx": 1024, "tp": 4, "batch": 8}), ("mistral-7b", "apple-m2-max", {"ctx": 4096}),
    ("llama-3.1-8b", "mi300x", {"ctx": 2048, "phase": "prefill"}), ("deepseek-v3", "h200", {"ctx": 2048, "dp": 8, "ep": 8, "batch": 64}),
    ("qwen2.5-7b", "epyc-9654", {"ctx": 64}), ("llama-3.1-70b", "l4", {"ctx": 128}), ("qwen2.5-7b", "groq-lpu", {"ctx": 64}),
    ("jamba-1.5-mini", "tpu-v5e", {"ctx": 1024}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "gpu", "asked"), CASES)
@pytest.mark.parametrize("ratio", [1e-4, 0.3, 0.97, 1.0, 1.3, 2.5, 8.0, 60.0, 4e3])
def test_every_answer_is_whole(model: str, gpu: str, asked: dict[str, float], ratio: float) -> None:
    bound = floor(model, gpu, **{**asked, "batch": [asked.get("batch", 1.0)]}).latency_s[0]
    c = compare(model, gpu, measured_s=bound * ratio, **asked)
    doc = json.loads(json.dumps(c.to_dict(), allow_nan=False))
    assert doc["outputs"]["verdict"] == c.verdict
    assert [s["kind"] for s in doc["outputs"]["suspects"]] == kinds(c)
    weights = [s.weight for s in c.suspects]
    assert weights == sorted(weights, reverse=True)
    assert len(weights) <= SHOWN
    for s in c.suspects:
        assert all((s.title, s.evidence, s.takes, s.action))
        assert any(ch.isdigit() for ch in s.evidence), f"no number in the evidence: {s.evidence}"
    if 0.85 <= c.fraction <= 1.0 and c.floor.fits is not False:
        assert not c.suspects
    for width in (80, 120):
        assert max(map(len, c.to_text(width).splitlines())) <= width
    html = c._repr_html_()
    assert c.verdict in html
    assert "<script" not in html
    assert repr(c).count("\n") == 0
