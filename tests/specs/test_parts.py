"""Parts of many splits side by side: what is asked of them is asked of each, and every part is a record of whole numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from sol import load_model
from sol.physics.network.sharding import device_model
from sol.specs.blocks import Block
from sol.specs.mixers import Attention
from sol.specs.parts import Parts, side_by_side
from sol.specs.split import Split

TP = np.array([1, 2, 8])
SPLITS = [Split(tp=1), Split(tp=2), Split(tp=2, ep=2), Split(tp=4, ep=2, dp=2), Split(tp=8, ep=8)]


@pytest.mark.truth
def test_a_number_over_many_splits() -> None:
    """Llama-3.1-70B: 64 query heads, 8 KV heads, a dense width of 28,672, 128,256 tokens."""
    parts = device_model(load_model("llama-3.1-70b"), Split(tp=TP))
    attention, mlp = parts.groups[0].blocks
    assert attention.kind is Attention
    assert attention.heads.tolist() == [64, 32, 8]
    assert attention.kv_heads.tolist() == [8, 4, 1]
    assert mlp.ffn.tolist() == [28672, 14336, 3584]
    assert parts.vocab.tolist() == [128256, 64128, 16032]
    assert parts.hidden == 8192  # the same of all: itself
    down = mlp.matrices(8192)[-1]
    assert (down.tensor, down.rows, down.columns.tolist()) == ("down_proj", 8192, [28672, 14336, 3584])
    assert not attention.heads.flags.writeable


@pytest.mark.law
@pytest.mark.parametrize("name", ["deepseek-v3", "gpt-oss-120b", "qwen3-next-80b-a3b", "mixtral-8x7b"])
def test_parts_side_by_side_are_the_parts_one_by_one(name: str) -> None:
    model = load_model(name)
    many = device_model(model, Split(*np.array(SPLITS).T[:, :, None]))
    for i, split in enumerate(SPLITS):
        one = device_model(model, split)
        for these, own in zip(many.groups, one.groups, strict=True):
            for block, alone in zip(these.blocks, own.blocks, strict=True):
                for field in ("norm_elements", "vector_elements", "experts_held", "indivisible"):
                    shown = np.broadcast_to(getattr(block, field), (len(SPLITS), 1))
                    assert shown[i, 0] == getattr(alone, field)
                for side, matrix in zip(block.matrices(model.hidden), alone.matrices(model.hidden), strict=True):
                    sizes = np.broadcast_arrays(np.zeros((len(SPLITS), 1), int), side.rows, side.columns, side.biases, side.weights)
                    assert [s[i, 0] for s in sizes[1:]] == [matrix.rows, matrix.columns, matrix.biases, matrix.weights]


@pytest.mark.law
def test_no_record_holds_an_array() -> None:
    parts = device_model(load_model("deepseek-v3"), Split(*np.array(SPLITS).T[:, :, None]))
    assert isinstance(parts, Parts)
    blocks = [block for part in parts._parts for group in part.groups for block in group.blocks]
    assert len(parts._parts) == len(SPLITS)
    for block in blocks:
        assert isinstance(block, Block)
        assert not any(isinstance(value, np.ndarray) for value in dict(block).values())


class Pair(NamedTuple):
    name: str
    size: int | None


@pytest.mark.contract
def test_what_stands_side_by_side() -> None:
    which = np.array([[0, 1], [1, 0]])
    assert side_by_side(["a", "a"], which) == "a"
    assert side_by_side([None, None], which) is None
    assert side_by_side([3, 3], which) == 3
    assert side_by_side([3, 4], which).tolist() == [[3, 4], [4, 3]]
    pair, three = side_by_side([(Pair("x", 1), 3), (Pair("x", 2), 3)], which)
    assert (pair.kind, pair.name, pair.size.tolist(), three) == (Pair, "x", [[1, 2], [2, 1]], 3)
