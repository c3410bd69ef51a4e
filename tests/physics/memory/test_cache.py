"""KV bytes to the byte, against published figures."""

from __future__ import annotations

import numpy as np
import pytest

from sol import load_format, load_model
from sol.physics.memory.cache import kv_bytes

BF16 = load_format("bf16")


def at(name: str, ctx: float) -> float:
    return kv_bytes(load_model(name), np.array([float(ctx)]), BF16).item()


@pytest.mark.truth
@pytest.mark.parametrize(
    ("name", "per_token"), [("llama-3.1-70b", 327_680), ("qwen2.5-7b", 57_344), ("mixtral-8x7b", 131_072), ("llama-2-7b", 524_288)]
)
def test_bytes_per_token(name: str, per_token: int) -> None:
    assert at(name, 1) == per_token
    assert at(name, 2048) == 2048 * per_token


@pytest.mark.truth
def test_llama_70b_holds_10_gib_at_32k_and_as_mha_eight_times_that() -> None:
    assert at("llama-3.1-70b", 32_768) == 10 * 2**30
    assert at("llama-3.1-70b", 131_072) == 40 * 2**30
    mha = load_model("llama-3.1-70b").as_mha()
    assert kv_bytes(mha, np.array([131_072.0]), BF16).item() == 320 * 2**30


@pytest.mark.truth
def test_a_window_caps_the_cache() -> None:
    assert at("mistral-7b", 4096) == at("mistral-7b", 100_000) == 4096 * 131_072
