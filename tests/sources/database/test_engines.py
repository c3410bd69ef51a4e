"""The engines: every number sourced, names exact, the traps of versions kept in sight."""

from __future__ import annotations

import pytest

from sol import UnknownName, load_engine, show
from sol.sources.database.engines import engine_ids


@pytest.mark.contract
@pytest.mark.parametrize("engine_id", engine_ids())
def test_every_number_has_a_source_and_a_version(engine_id: str) -> None:
    engine = load_engine(engine_id)
    assert engine.version
    assert engine.cites["block_tokens"].value == engine.block_tokens
    assert ("memory_fraction" in engine.cites) == (engine.memory_fraction is not None)
    assert all(c.evidence == "A" and c.printed and c.source.url and c.source.checked for c in engine.cites.values())
    assert engine.block_tokens == 2 ** (int(engine.block_tokens).bit_length() - 1)
    assert engine.name in show(engine_id).to_text(120)


@pytest.mark.truth
def test_fractions_are_of_different_things() -> None:
    assert {i: (load_engine(i).budget, load_engine(i).memory_fraction) for i in engine_ids()} == {
        "vllm": ("total", 0.92), "sglang": ("static", None), "tensorrt-llm": ("free", 0.9), "llama.cpp": ("asked", None),
    }  # fmt: skip


def test_names() -> None:
    assert load_engine("TRT-LLM").id == "tensorrt-llm"
    assert load_engine("llama_cpp").id == "llama.cpp"
    with pytest.raises(UnknownName, match="known: vllm, sglang"):
        load_engine("vlm")
