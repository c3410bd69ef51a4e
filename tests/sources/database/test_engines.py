"""The engines: every number sourced, names exact, the traps of versions kept in sight."""

from __future__ import annotations

import re

import pytest

from sol import UnknownName, load_engine, show
from sol.sources.database.engines import engine_ids
from sol.sources.database.pools import pool_rows


@pytest.mark.contract
@pytest.mark.parametrize("engine_id", engine_ids())
def test_every_number_has_a_source_and_a_version(engine_id: str) -> None:
    engine = load_engine(engine_id)
    assert engine.version
    assert engine.cites["block_tokens"].value == engine.block_tokens
    assert ("memory_fraction" in engine.cites) == (engine.memory_fraction is not None)
    for cite in engine.cites.values():  # read in the engine's own source or log, or fitted to logs, and then it says to which
        read = cite.evidence == "A" and cite.printed and cite.source.url and cite.source.checked
        fitted = cite.evidence == "D" and cite.formula and cite.source.kind == "derived"
        assert read or fitted
    assert engine.block_tokens == 2 ** (int(engine.block_tokens).bit_length() - 1)
    assert engine.name in show(engine_id).to_text(120)


@pytest.mark.truth
def test_fractions_are_of_different_things() -> None:
    assert {i: (load_engine(i).budget, load_engine(i).memory_fraction) for i in engine_ids()} == {
        "vllm": ("total", 0.92), "sglang": ("static", None), "tensorrt-llm": ("free", 0.9), "llama.cpp": ("asked", None),
    }  # fmt: skip


@pytest.mark.truth
def test_versions_are_ranges() -> None:
    """vLLM's fraction is 0.9 to 0.19 and 0.92 after; graphs are taken off since 0.21; V1 is the default since 0.8."""
    fractions = {v: load_engine(f"vllm@{v}").memory_fraction for v in ("0", "0.8.2", "0.16.1", "0.19.0", "0.20.0", "0.33", "0.99")}
    assert fractions == {"0": 0.9, "0.8.2": 0.9, "0.16.1": 0.9, "0.19.0": 0.9, "0.20.0": 0.92, "0.33": 0.92, "0.99": 0.92}
    assert [load_engine(f"vllm@{v}").deducts_graphs for v in ("0.20.2", "0.21.0")] == [False, True]
    assert [load_engine(f"vllm@{v}").chunked_from is None for v in ("0.7.3", "0.8.0")] == [False, True]
    assert (load_engine("vllm@0.16").id, load_engine("VLLM@0.16").version) == ("vllm@0.16", "0.16")
    assert load_engine("sglang@0.5.5").runtime_bytes == load_engine("sglang").runtime_bytes


@pytest.mark.contract
def test_what_was_fitted_used_no_row_that_is_held_out() -> None:
    held_out = {row.id for row in pool_rows() if row.use == "held_out"}
    for name in engine_ids():
        for version in load_engine(name).versions:
            for cite in load_engine(f"{name}@{version}").cites.values():
                assert not held_out & set(re.findall(r"POOL-\d+", f"{cite.formula} {cite.note}")), cite.formula


def test_names() -> None:
    assert load_engine("TRT-LLM").id == "tensorrt-llm"
    assert load_engine("llama_cpp").id == "llama.cpp"
    with pytest.raises(UnknownName, match="known: vllm, sglang"):
        load_engine("vlm")
