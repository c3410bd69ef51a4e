"""One request: exact sums of its steps, chunks of its prompt, cached prefixes, and what is expected beside the bound."""

import numpy as np
import pytest

from sol import DoesNotFit, InvalidInput, estimate, floor, request

MODELS = ("llama-3.1-8b", "gemma-2-9b", "qwen3-30b-a3b", "nemotron-h-56b")
"""Full attention, windows, a mixture, and recurrent states."""


@pytest.mark.law
@pytest.mark.parametrize("model", MODELS)
def test_times_are_the_sums_of_the_steps(model):
    r = request(model, "h200", prompt_tokens=5000, output_tokens=40, max_batch_tokens=2048, engine="graph")
    kinds = {"phase": "prefill", "logits": "none"}
    before = [floor(model, "h200", ctx=2048, **kinds), floor(model, "h200", ctx=4096, cached_tokens=2048, **kinds)]
    last = floor(model, "h200", ctx=5000, cached_tokens=4096, phase="prefill")
    ttft = sum(f.latency_s for f in before) + last.latency_s
    assert r.ttft_s == pytest.approx(ttft, rel=1e-12)
    steps = [floor(model, "h200", ctx=5000 + i).latency_s for i in range(39)]
    assert r.tpot_s == pytest.approx(sum(steps) / 39, rel=1e-12)
    assert r.e2e_s == pytest.approx(ttft + sum(steps), rel=1e-12)
    expected = [estimate(model, "h200", ctx=5000 + i, engine="graph").latency_s for i in range(39)]
    assert r.expected is not None
    assert r.expected.tpot_s == pytest.approx(sum(expected) / 39, rel=1e-12)


@pytest.mark.law
@pytest.mark.parametrize("model", MODELS)
def test_a_cell_equals_its_scalar(model):
    prompts, outputs = np.array([[100], [3000]]), np.array([1, 2, 50])
    swept = request(model, "h200", prompt_tokens=prompts, output_tokens=outputs, batch=3, engine="vllm")
    for i in range(2):
        for j in range(3):
            alone = request(model, "h200", prompt_tokens=int(prompts[i, 0]), output_tokens=int(outputs[j]), batch=3, engine="vllm")
            assert swept.ttft_s[i, j] == alone.ttft_s
            assert swept.e2e_s[i, j] == alone.e2e_s
            assert swept.expected.e2e_s[i, j] == alone.expected.e2e_s
            if alone.tpot_s is None:
                assert np.isnan(swept.tpot_s[i, j])
            else:
                assert swept.tpot_s[i, j] == alone.tpot_s


@pytest.mark.law
@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("budget", [None, 512, 8192])
def test_no_bound_is_above_what_is_expected(batch, budget):
    r = request(
        "llama-3.1-8b", "h200", prompt_tokens=[64, 1000, 4097], output_tokens=20, batch=batch, max_batch_tokens=budget, engine="vllm"
    )
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        assert (getattr(r, name) <= getattr(r.expected, name)).all()
        assert (getattr(r.expected, f"low_{name}") <= getattr(r.expected, name)).all()


@pytest.mark.law
def test_cached_tokens_shorten_the_prompt_alone():
    whole = request("llama-3.1-8b", "h100", prompt_tokens=4096, output_tokens=16)
    hits = request("llama-3.1-8b", "h100", prompt_tokens=4096, output_tokens=16, cached_tokens=4000)
    assert hits.tpot_s == whole.tpot_s
    assert hits.ttft_s == floor("llama-3.1-8b", "h100", ctx=4096, cached_tokens=4000, phase="prefill").latency_s < whole.ttft_s / 5


@pytest.mark.law
def test_smaller_steps_are_never_faster_for_a_prompt():
    times = [
        request("llama-3.1-8b", "h100", prompt_tokens=8000, output_tokens=1, max_batch_tokens=n).ttft_s for n in (8192, 2048, 512, 128)
    ]
    assert times == sorted(times)


@pytest.mark.law
def test_prompts_that_start_together_follow_each_other():
    one = request("llama-3.1-8b", "h100", prompt_tokens=2048, output_tokens=8, engine="vllm", max_batch_tokens=2048)
    four = request("llama-3.1-8b", "h100", prompt_tokens=2048, output_tokens=8, batch=4, engine="vllm", max_batch_tokens=2048)
    outside = one.expected.calibration.first_token_s.value
    assert four.expected.ttft_s - outside == pytest.approx(4 * (one.expected.ttft_s - outside), rel=1e-12)


@pytest.mark.law
def test_phases_sum_to_one_and_prefill_is_mostly_feed_forward():
    rows = request("llama-3.1-8b", "h100", prompt_tokens=512, output_tokens=64, engine="vllm").phases.to_dicts()
    for phase in ("prefill", "decode"):
        mine = {r["part"]: r["share"] for r in rows if r["phase"] == phase}
        assert sum(mine.values()) == pytest.approx(1.0)
        # Feed-forward has 5.6 of the 7 G weights of the layers (3·4096·14336 of 4096·(2·4096+2·1024)+3·4096·14336, times 32).
        assert mine["feed-forward"] > mine["attention"] > mine["other"]
    long = request("llama-3.1-8b", "h100", prompt_tokens=100_000, output_tokens=64, engine="vllm").phases.to_dicts()
    assert (
        next(r["share"] for r in long if (r["phase"], r["part"]) == ("decode", "attention")) > 0.5
    )  # 13 GB of cache against 15 GB of weights


@pytest.mark.law
def test_one_output_token_has_no_time_per_token():
    r = request("llama-3.1-8b", "h100", prompt_tokens=512, output_tokens=1)
    assert r.tpot_s is None
    assert r.e2e_s == r.ttft_s


def test_without_a_calibration_the_bound_stands_alone():
    r = request("llama-3.1-8b", "tpu-v5e", prompt_tokens=128, output_tokens=16)
    assert r.expected is None
    assert "no calibration" in r.expected_reason
    assert r.ttft_s > 0


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"prompt_tokens": 0}, "prompt_tokens=0 has no meaning"),
        ({"prompt_tokens": -5}, "prompt_tokens=-5 has no meaning"),
        ({"output_tokens": 0}, "output_tokens=0 has no meaning"),
        ({"prompt_tokens": 10.5}, "is not a whole number of tokens"),
        ({"cached_tokens": 512}, "is not below prompt_tokens=512"),
        ({"output_tokens": 10_000_000}, "are more than"),
        ({"max_batch_tokens": 0}, "max_batch_tokens=0 has no meaning"),
        ({"ctx": 5}, "is not an option of request"),
    ],
)
def test_bad_input_is_one_line(asked, says):
    with pytest.raises(InvalidInput) as error:
        request("llama-3.1-8b", "h100", **{"prompt_tokens": 512, "output_tokens": 16} | asked)
    assert says in str(error.value)


def test_what_does_not_fit_is_said():
    with pytest.raises(DoesNotFit, match="does not fit"):
        request("llama-3.1-70b", "h100", prompt_tokens=512, output_tokens=16)
    swept = request("llama-3.1-8b", "h100", prompt_tokens=[512, 800_000], output_tokens=16)
    assert swept.fits.tolist() == [True, False]
