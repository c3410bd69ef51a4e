"""A seeded search over devices, models, formats and splits: more work is never faster, fewer bits are never slower."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import SolError, floor, load_link, load_model
from sol.physics.network.collectives import floor_s
from sol.sources.database.database import gpu_ids, model_ids
from sol.specs.links import Topology

pytestmark = [pytest.mark.law, pytest.mark.slow]

ROUNDING = 1e-9
MODELS, GPUS = st.sampled_from(model_ids()), st.sampled_from(gpu_ids())
SPLITS = st.sampled_from(
    [
        {}, {"tp": 2}, {"tp": 8}, {"pp": 2}, {"pp": 3}, {"pp": 8}, {"tp": 2, "pp": 4}, {"dp": 4, "ep": 4}, {"dp": 3, "ep": 3},
        {"tp": 4, "dp": 2, "ep": 8}, {"tp": 16, "cp": 2}, {"tp": 8, "cp": 8}, {"pp": 2, "dp": 2, "ep": 2},
    ]
)  # fmt: skip
FORMATS = st.sampled_from([None, "bf16", "fp16", "fp8", "int8", "w8a16", "w4a16", "q8_0", "q4_k_m", "nvfp4", "mxfp4-experts"])
CACHES = st.sampled_from([None, "bf16", "fp16", "fp8", "int8"])
PHASES = st.sampled_from(["decode", "prefill"])
ROUTINGS = st.sampled_from(["min", "expected", "max"])
EXAMPLES = settings(max_examples=1200, deadline=None, derandomize=True)


def latency(model: str, gpu: str, batch: int, split: dict[str, Any], **asked: Any) -> float | None:
    """The floor of one point, fitting or not; None where the question is refused or a rate has no source."""
    network = {"network": "infiniband-ndr"} if split else {}
    try:
        f = floor(model, gpu, batch=[batch], **network, **split, **asked)
    except SolError:
        return None
    assert f.latency_s.item() <= f.serial_s.item()
    return None if f.compute_s is None else f.latency_s.item()  # without a sourced rate it is a floor of memory only


@given(
    MODELS, GPUS, SPLITS, PHASES, FORMATS, CACHES, st.integers(1, 300), st.integers(1, 20_000), st.sampled_from(["min", "expected", "max"])
)
@EXAMPLES
def test_one_sequence_more_and_one_token_more_are_never_faster(
    model: str, gpu: str, split: dict[str, Any], phase: str, dtype: str | None, kv_dtype: str | None, batch: int, ctx: int, routing: str
) -> None:  # fmt: skip
    asked = {"phase": phase, "dtype": dtype, "kv_dtype": kv_dtype, "routing": routing}
    least = latency(model, gpu, batch, split, ctx=ctx, **asked)
    if least is None:
        return
    more_of: list[dict[str, int]] = [{"batch": batch + 1}, {"batch": batch * 2 + 1}]
    if not any(getattr(block, "chunk", None) for block in load_model(model).blocks):  # a new chunk sees nothing of the last
        more_of += [{"ctx": ctx + 1}, {"ctx": 2 * ctx + 1}]
    for more in more_of:
        other = latency(model, gpu, more.get("batch", batch), split, ctx=more.get("ctx", ctx), **asked)
        assert other is not None
        assert other >= least * (1 - ROUNDING), more


NARROWER = [
    ("bf16", "w8a16"), ("fp16", "w8a16"), ("w8a16", "w4a16"), ("bf16", "w4a16"), ("bf16", "nf4"),
    ("bf16", "mxfp4-experts"), ("fp16", "q8_0"),
]  # fmt: skip
"""A weight format, and one that takes no more bits of any tensor and may be computed wherever the first is."""


@given(MODELS, GPUS, SPLITS, PHASES, st.sampled_from(NARROWER), CACHES, st.integers(1, 300), st.integers(1, 20_000))
@EXAMPLES
def test_fewer_bits_of_a_weight_are_never_slower(
    model: str, gpu: str, split: dict[str, Any], phase: str, formats: tuple[str, str], kv_dtype: str | None, batch: int, ctx: int
) -> None:  # fmt: skip
    wide, narrow = (latency(model, gpu, batch, split, ctx=ctx, phase=phase, dtype=d, kv_dtype=kv_dtype) for d in formats)
    if wide is not None and narrow is not None:
        assert narrow <= wide * (1 + ROUNDING)


@given(MODELS, GPUS, SPLITS, PHASES, FORMATS, st.integers(1, 300), st.integers(1, 20_000))
@EXAMPLES
def test_fewer_bits_of_the_cache_are_never_slower(
    model: str, gpu: str, split: dict[str, Any], phase: str, dtype: str | None, batch: int, ctx: int
) -> None:  # fmt: skip
    for pair in (("bf16", "fp8"), ("fp16", "fp8"), ("fp16", "int8"), ("bf16", "int8")):
        wide, narrow = (latency(model, gpu, batch, split, ctx=ctx, phase=phase, dtype=dtype, kv_dtype=kv) for kv in pair)
        if wide is not None and narrow is not None:
            assert narrow <= wide * (1 + ROUNDING), pair


@given(st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "send"]), st.sampled_from(["nvlink4", "nvlink5", "nvlink5-nvl72"]),
       st.floats(1.0, 2.0**34), st.integers(2, 300))  # fmt: skip
@EXAMPLES
def test_one_rank_more_is_never_faster(op: Any, inner: str, size: float, ranks: int) -> None:
    """The same message over switched boxes, filled one after the other."""
    links = Topology((load_link(inner), load_link("infiniband-ndr")))
    few, more = (floor_s(op, np.array([size]), np.array([float(n)]), links).item() for n in (ranks, ranks + 1))
    assert more >= few * (1 - ROUNDING)
