"""The bound of a server: above what the engine's scheduler makes of it at the speed of light, and a law by hand."""

import numpy as np
import pytest

from sol import arrivals, floor, load_gpu, replay, serve

CASES = [
    ("llama-3.1-8b", "h100", {}, 512, 256), ("llama-3.1-8b", "l40s", {}, 2048, 64), ("gemma-2-9b", "h100", {}, 6000, 300),
    ("qwen3-30b-a3b", "h200", {}, 1024, 128), ("llama-3.1-70b", "h100", {"tp": 8}, 4096, 128),
    ("mixtral-8x7b", "h100", {"tp": 2}, 128, 128),
]  # fmt: skip
NAMES = [case[0] + case[1] for case in CASES]


@pytest.mark.law
@pytest.mark.parametrize(("model", "gpu", "split", "prompt", "output"), CASES, ids=NAMES)
def test_no_schedule_of_floors_serves_more(model, gpu, split, prompt, output):
    n = 400
    at = arrivals(n, request_rate=1e6, kind="constant")
    load = {"arrival_s": at, "prompt_tokens": np.full(n, prompt), "output_tokens": np.full(n, output)}
    run = replay(load, model, gpu, on="floor", engine="vllm", **split)
    ends = np.asarray(run.requests["arrival_s"]) + np.asarray(run.requests["e2e_s"])
    bound = serve(model, gpu, prompt_tokens=prompt, output_tokens=output, concurrency=n, engine="vllm", **split).bound
    assert n / ends.max() <= bound.requests_per_s
    assert min(run.requests["ttft_s"]) >= bound.ttft_s * (1 - 1e-9)
    assert min(t for t in run.requests["tpot_s"] if t is not None) >= bound.tpot_s * (1 - 1e-9)


@pytest.mark.law
def test_the_bound_by_hand():
    """Llama-3.1-8B in bf16 on one H100, 64 users of 1,024 in and 257 out: bytes of a step against 3.35 TB/s."""
    gpu = load_gpu("h100")
    weights, token = 2 * 7_504_924_672, 131_072  # every matrix but the input table, and norms; 2·32·8·128·2
    step = (weights + 64 * 4096 * 2 * 0 + 64 * token * (1024 + 255 / 2 + 1)) / gpu.memory_bytes_per_s
    bound = serve("llama-3.1-8b", "h100", prompt_tokens=1024, output_tokens=257, concurrency=64, engine="vllm").bound
    assert bound.requests_per_s == pytest.approx(64 / (256 * step), rel=1e-3)
    assert bound.e2e_s == pytest.approx(64 / bound.requests_per_s)
    assert bound.output_tokens_per_s == pytest.approx(257 * bound.requests_per_s)


@pytest.mark.law
def test_the_bound_is_that_of_any_scheduler():
    """Engines that reserve a whole output hold fewer requests, which bounds nobody else."""
    bounds = [
        serve("llama-3.1-8b", "h100", prompt_tokens=1024, output_tokens=8192, concurrency=1e5, engine=engine).bound.requests_per_s
        for engine in ("vllm", "tensorrt-llm")
    ]
    assert bounds[0] == bounds[1]


@pytest.mark.law
def test_prompts_that_compute_binds_bound_the_rate():
    """With 8 output tokens after 4,096, the prompt's FLOPs bind: requests/s = 1 / (prompt + 7 decode steps of one sequence)."""
    prompt = floor("llama-3.1-8b", "l40s", ctx=4096, phase="prefill").compute_s
    decode = floor("llama-3.1-8b", "l40s", ctx=4096 + 3, batch=16).compute_s / 16
    bound = serve("llama-3.1-8b", "l40s", prompt_tokens=4096, output_tokens=8, concurrency=16, engine="vllm").bound
    assert bound.requests_per_s == pytest.approx(1 / (prompt + 7 * decode), rel=1e-3)
