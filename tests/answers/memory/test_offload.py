"""A step over two tiers: hand arithmetic, the floor at one end, laws between."""

from __future__ import annotations

import json

import numpy as np
import pytest
from answers.question.sixteen import MODELS
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import GPU, DoesNotFit, InvalidInput, Link, MissingSpec, UnknownName, floor, load_gpu, load_model, memory, offload
from sol.answers.question.ask import ask
from sol.physics.memory.capacity import resident_weight_bytes
from sol.physics.time.tiers import weight_parts

GPUS = st.sampled_from(["h100", "rtx-4090", "mi300x", "t4", "a100"])
ROUTINGS = st.sampled_from(["min", "expected", "max"])


@pytest.mark.truth
def test_a_dense_model_by_hand() -> None:
    # Llama-3.1-70B: 60 GB on the host, first the input table (128,256 · 8,192 · 2 B, of which a step reads one row), then layers
    o = offload("llama-3.1-70b", "h100", ctx=2048, host_bytes=60e9)
    table = 128_256 * 8192 * 2
    read = 60e9 - table + 8192 * 2
    assert o.host_read_bytes == pytest.approx(read, rel=1e-12)
    assert o.link_s == pytest.approx(read / 64e9, rel=1e-12)  # PCIe 5.0 x16, one direction
    streamed = 2 * (70_553_706_496 - 128_256 * 8192) + 8192 * 2 + 327_680 * 2049  # weights without the table, a row of it, the cache
    assert o.device_read_bytes == pytest.approx(streamed - read, rel=1e-12)
    assert o.device_s == pytest.approx((streamed - read) / 3.35e12, rel=1e-9)
    assert o.overlapped_s == o.link_s
    assert o.serial_s == o.link_s + o.device_s
    assert o.placement == "streamed"
    assert (o.bound, o.bound_s) == ("memory", o.device_s)  # without a host only the device's part is known to take its time


@pytest.mark.truth
def test_only_touched_experts_cross_the_link() -> None:
    # Qwen3-30B-A3B: 48 layers of 128 experts of 3 · 2,048 · 768, 8 of them a token; the input table is 151,936 · 2,048
    assert 48 * 128 * 3 * 2048 * 768 * 2 > 40e9
    o = offload("qwen3-30b-a3b", "rtx-4090", ctx=1024, host_bytes=40e9)
    table = 151_936 * 2048 * 2
    assert o.host_read_bytes == pytest.approx(2048 * 2 + (40e9 - table) * 8 / 128, rel=1e-12)
    assert not o.is_bound


@pytest.mark.truth
def test_weights_first_then_cache() -> None:
    m = load_model("llama-2-7b")
    weights = 2 * m.parameters
    o = offload("llama-2-7b", "rtx-4090", ctx=4096, batch=8, host_bytes=weights + 1e9)
    assert (o.host_weight_bytes, o.host_kv_bytes) == (weights, 1e9)
    past = 4096 / 4097  # of the cache a step holds, all but the new token is read
    assert o.host_read_bytes == pytest.approx(weights - 32000 * 4096 * 2 + 8 * 4096 * 2 + 1e9 * past, rel=1e-12)


@pytest.mark.truth
def test_by_default_what_does_not_fit() -> None:
    o = offload("llama-3.1-70b", "h100", ctx=2048)
    assert o.device_bytes == pytest.approx(85_520_809_984, rel=1e-12)
    assert o.host_bytes + o.device_bytes == pytest.approx(floor("llama-3.1-70b", "h100", ctx=[2048]).resident_bytes[0], rel=1e-12)
    assert o.fits
    assert offload("llama-3.1-8b", "h100", ctx=2048).host_bytes == 0


@pytest.mark.law
@given(MODELS, ROUTINGS, st.sampled_from(["bf16", "fp8", "w4a16", "q4_k_m"]), st.floats(0.1, 4096))
@settings(max_examples=60)
def test_the_parts_are_the_whole(model: str, routing: str, dtype: str, batch: float) -> None:
    q = ask(model, "h100", ctx=9, batch=batch, dtype=dtype, routing=routing)
    parts = weight_parts(q.model, q.step, q.storage, q.operators())
    held, read = (float(sum(np.asarray(getattr(p, name)).item() for p in parts)) for name in ("holds", "reads"))
    assert held == pytest.approx(resident_weight_bytes(q.model, q.storage), rel=1e-12)
    moved = floor(model, "h100", ctx=[9], batch=batch, dtype=dtype, routing=routing).moved_weight_bytes[0]
    assert read == pytest.approx(moved, rel=1e-12)
    assert all(np.all(np.asarray(p.reads) <= np.asarray(p.holds) * (1 + 1e-12)) for p in parts)


@pytest.mark.law
@given(MODELS, GPUS, ROUTINGS, st.integers(1, 256), st.integers(0, 50_000))
@settings(max_examples=80)
def test_nothing_on_the_host_is_the_floor_exactly(model: str, gpu: str, routing: str, batch: int, ctx: int) -> None:
    o = offload(model, gpu, ctx=[ctx], batch=batch, routing=routing, dtype="fp16", host_bytes=0)
    f = floor(model, gpu, ctx=[ctx], batch=batch, routing=routing, dtype="fp16")
    assert o.overlapped_s[0] == o.serial_s[0] == f.latency_s[0]
    assert o.bound[0] == f.bound[0]
    assert o.fits[0] == f.fits[0]


@pytest.mark.law
@given(MODELS, GPUS, st.integers(1, 256), st.integers(0, 50_000), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=120)
def test_more_on_the_host_is_never_faster(model: str, gpu: str, batch: int, ctx: int, share: float, more: float) -> None:
    """Serial: always, as the link is slower than the memory. Overlapped: from where the link binds on; until then two
    memories read at once beat one, by no more than their rates together allow."""
    most = memory(model, ctx=ctx, batch=batch, dtype="fp16").weight_bytes
    hosted = np.array([share, share + (1 - share) * more]) * most
    o = offload(model, gpu, ctx=ctx, batch=batch, dtype="fp16", host_bytes=hosted)
    assert o.serial_s[1] >= o.serial_s[0] * (1 - 1e-12)
    if o.link_s[0] > o.device_s[0]:
        assert o.overlapped_s[1] >= o.overlapped_s[0] * (1 - 1e-12)
    assert (o.overlapped_s <= o.serial_s).all()
    device = load_gpu(gpu)
    assert device.pcie is not None
    moved = floor(model, gpu, ctx=[ctx], batch=batch, dtype="fp16").moved_bytes[0]
    both = device.memory_bytes_per_s + device.pcie.per_direction_bytes_per_s
    assert (o.overlapped_s >= moved / both * (1 - 1e-9)).all()


@pytest.mark.law
@given(MODELS, st.integers(1, 64), st.integers(0, 9000), st.floats(0, 1), st.floats(1.0, 20.0))
@settings(max_examples=40)
def test_a_faster_link_is_never_slower(model: str, batch: int, ctx: int, share: float, times: float) -> None:
    most = memory(model, ctx=ctx, batch=batch).weight_bytes
    slow, fast = (
        offload(model, "h100", ctx=[ctx], batch=batch, host_bytes=share * most, link=Link(name="l", per_direction_bytes_per_s=rate))
        for rate in (10e9, 10e9 * times)
    )
    assert fast.overlapped_s[0] <= slow.overlapped_s[0]
    assert fast.serial_s[0] <= slow.serial_s[0]


@pytest.mark.law
@given(MODELS, ROUTINGS, st.integers(1, 64), st.integers(0, 9000), st.floats(0, 1))
@settings(max_examples=40)
def test_a_sweep_cell_is_its_point(model: str, routing: str, batch: int, ctx: int, share: float) -> None:
    hosted = share * memory(model, ctx=ctx, batch=batch).weight_bytes
    sweep = offload(model, "b200", ctx=[[ctx, ctx + 5]], batch=[[batch], [batch + 2]], routing=routing, host_bytes=hosted)
    huge = load_gpu("b200").model_copy(update={"memory_bytes": 1e15})  # so that one point is not refused for its size
    one = offload(model, huge, ctx=ctx + 5, batch=batch + 2, routing=routing, host_bytes=hosted)
    for field in ("overlapped_s", "serial_s", "device_s", "link_s", "host_read_bytes", "device_read_bytes", "device_bytes", "bound"):
        assert getattr(sweep, field)[1, 1] == getattr(one, field), field


def test_faces() -> None:
    o = offload("llama-3.1-70b", "rtx-4090", ctx=2048)
    sweep = offload("llama-3.1-70b", "rtx-4090", ctx=2048, host_bytes=[120e9, 130e9, 1e9])
    assert "streamed in" in repr(o)
    assert "3 points" in repr(sweep)
    assert sweep.fits.tolist() == [True, True, False]
    assert "pcie4-x16" in str(o)
    assert o.sources().to_dicts()[-1]["value"] == 32e9
    doc = json.loads(json.dumps(o.to_dict(), allow_nan=False, default=str))
    assert doc["outputs"]["overlapped_s"] == o.overlapped_s
    assert doc["inputs"]["link_bytes_per_s"] == 32e9
    with pytest.raises(ValueError, match="read-only"):
        sweep.overlapped_s[0] = 0
    by_hand = GPU(
        id="mine", name="mine", memory_bytes=16e9, memory_bytes_per_s=1e12, pcie=Link(name="usb", per_direction_bytes_per_s=1e9), source="x"
    )
    slow = offload("llama-3.1-8b", by_hand, ctx=1)
    assert slow.link_s == pytest.approx(slow.host_read_bytes / 1e9)
    assert "memory only" in str(slow)


@pytest.mark.parametrize(
    ("gpu", "asked", "error", "words"),
    [
        ("m2-max", {}, InvalidInput, "no second tier"),
        ("orin", {}, InvalidInput, "no second tier"),
        ("epyc-9654", {}, InvalidInput, "no second tier"),
        ("rtx-4080", {}, MissingSpec, "link='pcie4-x16'"),
        ("h100", {"host_bytes": 1e9}, DoesNotFit, "on its host"),
        ("h100", {"host_bytes": 1e12}, InvalidInput, "more than weights and cache"),
        ("h100", {"host_bytes": -1}, InvalidInput, "host_bytes=-1"),
        ("h100", {"host_bytes": [1.0, 2.0], "batch": [1, 2, 3]}, InvalidInput, "broadcast"),
        ("h100", {"link": "nvlink4"}, InvalidInput, "known ones that do: nvlink-c2c"),
        ("h100", {"link": "pcie9"}, UnknownName, "sol links"),
        ("h100", {"link": 5}, InvalidInput, "neither a name nor a Link"),
    ],
)
def test_what_has_no_answer_is_one_line(gpu: str, asked: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as refused:
        offload("llama-3.1-70b", gpu, ctx=1, **asked)
    assert "\n" not in str(refused.value)
    assert offload("llama-3.1-70b", "gh200-96gb", ctx=1, link="nvlink-c2c").link_s < offload("llama-3.1-70b", "h100", ctx=1).link_s


def test_an_unknown_capacity_asks() -> None:
    blank = GPU(id="blank", name="b", memory_bytes_per_s=1e12, pcie=Link(name="p", per_direction_bytes_per_s=1e9), source="x")
    with pytest.raises(MissingSpec, match="host_bytes"):
        offload("llama-3.1-8b", blank, ctx=1)
    assert offload("llama-3.1-8b", blank, ctx=1, host_bytes=1e9).fits is None
