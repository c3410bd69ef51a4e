"""The KV cache of every kind of attention, to the byte, against published and hand-derived figures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sol import kv_bytes_per_token, load_format, load_model, memory
from sol.physics.memory.cache import kv_bytes
from sol.sources.database.database import model_ids

BF16 = load_format("bf16")
# 16-bit bytes that a token adds below every window, and beyond all of them: layers·k·(dk + dv)·2 by hand from the published configs.
PER_TOKEN = {
    "gemma-2-9b": (344_064, 172_032),  # 42 layers, every other with a window of 4,096
    "gemma-3-1b": (26_624, 4_096),  # 5 of 6 layers with a window of 512
    "gemma-3-4b": (139_264, 20_480),
    "gemma-3-27b": (507_904, 81_920),
    "gpt-oss-120b": (73_728, 36_864),  # every other with a window of 128
    "llama-4-scout": (196_608, 49_152),  # 3 of 4 layers in chunks of 8,192
    "llama-4-maverick": (196_608, 49_152),
    "mistral-7b": (131_072, 0),  # all with a window
    "mistral-7b-v0.3": (131_072, 131_072),
    "phi-3-mini-4k": (393_216, 0),
    "deepseek-v2": (69_120, 69_120),  # (512 + 64)·2·60: independent of the heads
    "deepseek-v3": (70_272, 70_272),
    "deepseek-v3.2": (70_272 + 61 * 132, 70_272 + 61 * 132),  # and an index key of 8 bits with its scale
    "kimi-k2.5": (70_272, 70_272),
    "qwen3-next-80b-a3b": (24_576, 24_576),  # 12 of 48 layers attend
    "jamba-1.5-mini": (16_384, 16_384),  # 4 of 32
    "nemotron-h-56b": (40_960, 40_960),  # 10 of 118
    "nemotron-3-nano-30b-a3b": (6_144, 6_144),
    "falcon-7b": (8_192, 8_192),  # one KV head of 64
    "falcon-180b": (163_840, 163_840),
    "mamba-codestral-7b": (0, 0),
    "llama-3-70b": (327_680, 327_680),
    "qwen2.5-7b": (57_344, 57_344),
}


@pytest.mark.truth
@pytest.mark.parametrize("name", PER_TOKEN)
def test_bytes_a_token_adds_below_and_beyond_every_window(name: str) -> None:
    first, later = PER_TOKEN[name]
    assert kv_bytes_per_token(name) == first
    far = kv_bytes(load_model(name), np.array([10_000_000.0, 10_000_001.0]), BF16)
    assert far[1] - far[0] == later


@pytest.mark.truth
def test_the_published_table_of_heads() -> None:
    """Llama-3-70B: 8 of 64 heads; 32k and 128k tokens; a batch of 64 × 2k. gemma-3-1b with its windows, and without."""
    gib = 2**30
    for ctx, grouped, full in ((32_768, 10, 80), (131_072, 40, 320)):
        m = memory("llama-3-70b", ctx=ctx)
        assert (m.kv_bytes, m.kv_bytes_as_mha) == (grouped * gib, full * gib)
    assert memory("llama-3-70b", ctx=2048, batch=64).kv_bytes == 40 * gib
    assert kv_bytes_per_token(load_model("llama-3-70b").as_mha()) == 2_621_440
    assert memory("gemma-3-1b", ctx=32_768).kv_bytes == 22 * 512 * 1024 + 4 * 32_768 * 1024  # 139 MiB
    assert kv_bytes_per_token("gemma-3-1b") * 32_768 == 832 * 2**20
    assert kv_bytes_per_token(load_model("deepseek-v3").as_mha()) == 61 * 128 * (192 + 128) * 2


@pytest.mark.law
@pytest.mark.parametrize("name", model_ids())
def test_the_cache_is_piecewise_affine(name: str) -> None:
    """Between two neighbouring windows every token adds the same; a bend only at a window."""
    model = load_model(name)
    spans = sorted({b.span for g in model.groups for b in g.blocks if getattr(b, "span", None)})
    edges = [0, *spans, (spans[-1] if spans else 0) + 1000]
    slopes = []
    for low, high in itertools.pairwise(edges):
        points = kv_bytes(model, np.linspace(low, high, 9), BF16)
        steps = np.diff(points)
        assert np.allclose(steps, steps[0], rtol=1e-9, atol=1e-3)
        slopes.append((points[-1] - points[0]) / (high - low))
    assert all(a >= b - 1e-6 for a, b in itertools.pairwise(slopes))
