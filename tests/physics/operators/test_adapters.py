"""LoRA adapters against the counts their trainers print."""

from __future__ import annotations

import pytest

from sol import load_model
from sol.physics.operators.adapters import DENSE, adapter_elements

# Llama-7B (the shapes of Llama-2-7B). Rank 8 on q and v: the total printed in github.com/ymcui/Chinese-LLaMA-Alpaca/issues/189.
# Rank 64 on every linear layer: the elements of each half printed in github.com/ChenDelong1999/polite-flamingo/issues/3.
SQUARE, WIDE = 262_144 + 262_144, 262_144 + 704_512
PRINTED = (
    ("llama-2-7b", 8, ("q_proj", "v_proj"), 4_194_304),
    ("llama-2-7b", 64, DENSE, 32 * (4 * SQUARE + 3 * WIDE)),
)


@pytest.mark.truth
@pytest.mark.parametrize("row", PRINTED, ids=lambda row: f"{row[0]}-r{row[1]}")
def test_elements_are_those_the_trainer_counts(row: tuple) -> None:
    name, rank, targets, expected = row
    assert adapter_elements(load_model(name), rank, targets) == expected


@pytest.mark.law
def test_experts_are_adapted_one_by_one() -> None:
    """128 experts of 2,048 × 768 in 48 layers, gate, up and down."""
    model = load_model("qwen3-30b-a3b")
    assert adapter_elements(model, 4, ("experts_up", "experts_down")) == 48 * 128 * 3 * 4 * (2048 + 768)
    assert adapter_elements(model, 8) == 2 * adapter_elements(model, 4)
