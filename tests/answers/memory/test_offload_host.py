"""A host that computes: bytes by hand, published runs that no bound may exceed, laws over placements."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers.question.sixteen import MODELS
from hypothesis import given, settings
from hypothesis import strategies as st

from sol import GPU, DoesNotFit, InvalidInput, Link, UnknownName, floor, load_gpu, memory, offload

RUNS = list(csv.DictReader((Path(__file__).parents[2] / "fixtures" / "host_runs.csv").read_text().splitlines()))
HOSTS = st.sampled_from(["epyc-9654", "xeon-8480", "ryzen-7950x"])
ROUTINGS = st.sampled_from(["min", "expected", "max"])
RTX_2080 = GPU(
    id="rtx-2080", name="RTX 2080", memory_bytes=8 * 2**30, memory_bytes_per_s=448e9, source="github.com/AlexsJones/llmfit/pull/755"
)


def flat(answer: Any) -> str:
    """Its text without line breaks."""
    return " ".join(str(answer).split())


def cpu(run: dict[str, str]) -> GPU:
    rate = int(run["channels"]) * int(run["mt_per_s"]) * 1e6 * 8
    return GPU(id="its-host", name=run["cpu"], kind="cpu", memory_bytes_per_s=rate, source=run["source"])


def least(run: dict[str, str], routing: str) -> Any:
    asked: dict[str, Any] = {"ctx": int(run["ctx"]), "batch": int(run["batch"]), "dtype": run["dtype"], "routing": routing}
    sockets = int(run["sockets"])
    if not run["gpu"]:
        one = cpu(run)
        return floor(run["model"], one.model_copy(update={"memory_bytes_per_s": sockets * one.memory_bytes_per_s}), **asked).latency_s
    gpu = RTX_2080 if run["gpu"] == "rtx-2080" else run["gpu"]
    where = {name: float(run[name]) for name in ("n_cpu_moe", "host_bytes") if run[name]}
    return offload(run["model"], gpu, host=cpu(run), host_sockets=sockets, link=run["link"], **asked, **where).bound_s


@pytest.mark.truth
@pytest.mark.parametrize("routing", ["min", "expected"])
@pytest.mark.parametrize("run", RUNS, ids=[r["id"] for r in RUNS])
def test_no_published_run_is_faster_than_its_bound(run: dict[str, str], routing: str) -> None:
    measured_s = int(run["batch"]) / float(run["tok_s"])
    assert least(run, routing) <= measured_s


@pytest.mark.truth
def test_streaming_is_slower_than_what_was_published() -> None:
    """Why streaming is no bound: three reports beat it, and none beats the bound of their host."""
    kt = next(r for r in RUNS if r["id"] == "kt-0.2.1-969")
    o = offload("deepseek-v3", "rtx-4090", ctx=969, dtype="q4_k_m", host="xeon-8480", host_sockets=2)
    assert 1 / o.streamed_s == pytest.approx(2.70, abs=0.01)
    assert o.bound_s < 1 / float(kt["tok_s"]) < o.streamed_s
    for name in ("kt-1914-969", "kt-314-1024", "llmfit-755"):
        run = next(r for r in RUNS if r["id"] == name)
        gpu = RTX_2080 if run["gpu"] == "rtx-2080" else run["gpu"]
        where = {key: float(run[key]) for key in ("n_cpu_moe", "host_bytes") if run[key]}
        streamed = offload(run["model"], gpu, ctx=int(run["ctx"]), dtype=run["dtype"], link=run["link"], **where)
        assert streamed.placement == "streamed"
        assert streamed.streamed_s > 1 / float(run["tok_s"]), name
        assert streamed.bound_s < 1 / float(run["tok_s"]), name


@pytest.mark.truth
def test_a_dense_model_by_hand() -> None:
    # Llama-3.1-70B, 60 GB on the host: all of it but the input table (128,256 · 8,192 · 2 B, a row of it) is read from DRAM
    o = offload("llama-3.1-70b", "h100", ctx=2048, host_bytes=60e9, host="epyc-9654")
    read = 60e9 - 128_256 * 8192 * 2 + 8192 * 2
    assert o.host_s == pytest.approx(read / (12 * 4800e6 * 8), rel=1e-12)
    assert o.bound_s == o.host_s
    assert (o.bound, o.placement) == ("host", "computed")
    assert o.link_bytes == 2 * 8192 * 2  # one token's activations in 16 bits, there and back once
    assert o.link_s == pytest.approx(2 * 8192 * 2 / 64e9, rel=1e-12)
    assert o.serial_s == pytest.approx(o.device_s + o.host_s + o.link_s, rel=1e-12)
    assert o.streamed_s == pytest.approx(read / 64e9, rel=1e-12)
    two = offload("llama-3.1-70b", "h100", ctx=2048, host_bytes=60e9, host="epyc-9654", host_sockets=2)
    assert two.host_s == pytest.approx(o.host_s / 2, rel=1e-12)
    assert two.streamed_s == o.streamed_s


@pytest.mark.truth
def test_experts_of_so_many_layers_by_hand() -> None:
    # Qwen3-30B-A3B: 48 layers of 128 experts of 3 · 2,048 · 768 weights of 16 bits, 8 a token
    one = 3 * 2048 * 768 * 2
    o = offload("qwen3-30b-a3b", "rtx-4090", ctx=1024, dtype="bf16", n_cpu_moe=36, host="ryzen-7950x")
    assert o.host_bytes == pytest.approx(36 * 128 * one, rel=1e-12)
    assert o.host_read_bytes == pytest.approx(36 * 8 * one, rel=1e-12)
    assert o.host_s == pytest.approx(36 * 8 * one / 83.2e9, rel=1e-12)
    assert o.link_bytes == 36 * 2 * 2048 * 2  # every such layer sends its activations there and gets them back
    assert o.n_cpu_moe == 36
    more = offload("qwen3-30b-a3b", "rtx-4090", ctx=1024, dtype="bf16", n_cpu_moe=99)
    assert (more.n_cpu_moe, more.host_bytes) == (48, pytest.approx(48 * 128 * one, rel=1e-12))
    # DeepSeek-V3 has experts in 58 of its 61 layers: 256 of 3 · 7,168 · 2,048, 8 a token
    v3 = offload("deepseek-v3", "h200", ctx=0, dtype="fp8", n_cpu_moe=58, host="epyc-9654", routing="min")
    assert v3.host_read_bytes == pytest.approx(58 * 8 * 3 * 7168 * 2048, rel=1e-2)


@pytest.mark.truth
def test_experts_in_both_memories_by_hand() -> None:
    """28 of 128 experts a layer on the device: tokens may choose 8 of these, and then the host reads nothing of them."""
    one, table = 3 * 2048 * 768 * 2, 151_936 * 2048 * 2
    away = 48 * 100 * one + table
    asked: dict[str, Any] = {"ctx": 969, "dtype": "bf16", "host_bytes": away, "host": "epyc-9654"}
    even = offload("qwen3-30b-a3b", "rtx-5090", **asked)
    assert even.host_read_bytes == pytest.approx(48 * 8 * (100 / 128) * one + 2048 * 2, rel=1e-9)
    assert not even.is_bound
    assert "tokens may choose the experts that lie on the device" in flat(even)
    best = offload("qwen3-30b-a3b", "rtx-5090", routing="min", **asked)
    moved = best.device_read_bytes + best.host_read_bytes
    assert best.bound_s == pytest.approx(moved / (load_gpu("rtx-5090").memory_bytes_per_s + 460.8e9), rel=1e-9)
    # of 4 experts a layer there, 4 of the 8 chosen must come from the host
    few = offload("qwen3-30b-a3b", load_gpu("rtx-5090").model_copy(update={"memory_bytes_per_s": 1e15}), routing="min",
                  ctx=969, dtype="bf16", host_bytes=48 * 124 * one + table, host="epyc-9654")  # fmt: skip
    assert few.bound_s == pytest.approx((48 * 4 * one + 2048 * 2) / 460.8e9, rel=1e-9)


@pytest.mark.law
@given(MODELS, HOSTS, ROUTINGS, st.integers(1, 256), st.integers(0, 50_000), st.floats(0, 1), st.integers(1, 2), st.floats(1e9, 1e12))
@settings(max_examples=120)
def test_no_placement_is_faster_than_the_bound(
    model: str, host: str, routing: str, batch: int, ctx: int, share: float, sockets: int, rate: float
) -> None:
    hosted = share * memory(model, ctx=ctx, batch=batch).weight_bytes
    link = Link(name="l", per_direction_bytes_per_s=rate)
    asked: dict[str, Any] = {"ctx": [ctx], "batch": batch, "routing": routing, "host_bytes": hosted, "link": link}
    o = offload(model, "h100", host=host, host_sockets=sockets, **asked)
    assert o.computed_s is not None
    assert o.computed_serial_s is not None
    for time in (o.streamed_s, o.streamed_serial_s, o.computed_s, o.computed_serial_s, o.overlapped_s, o.serial_s):
        assert o.bound_s[0] <= time[0] * (1 + 1e-12)
    assert o.overlapped_s[0] == o.computed_s[0]
    alone = offload(model, "h100", **asked)
    assert alone.bound_s[0] <= o.bound_s[0]  # a host that is known can only add to what must be waited for
    assert alone.overlapped_s[0] == alone.streamed_s[0]
    assert alone.computed_s is None
    faster = offload(model, "h100", host=host, host_sockets=sockets + 1, **asked)
    assert faster.bound_s[0] <= o.bound_s[0]


@pytest.mark.law
@pytest.mark.parametrize("routing", ["min", "expected", "max"])
@pytest.mark.parametrize("model", ["qwen3-30b-a3b", "deepseek-v3", "mixtral-8x7b", "llama-4-scout", "gpt-oss-120b"])
def test_experts_of_more_layers_are_never_faster_there(model: str, routing: str) -> None:
    """At 64 sequences and at one; where the host's memory binds, each layer more is slower, and no placement passes the bound."""
    o = offload(model, "h100", ctx=512, batch=[[1], [64]], n_cpu_moe=np.arange(0, 62), host="epyc-9654", routing=routing)
    assert o.computed_s is not None
    assert (np.diff(o.host_bytes, axis=1) >= 0).all()
    assert (np.diff(o.streamed_serial_s, axis=1) >= -1e-12).all()
    assert (o.bound_s <= np.minimum(o.streamed_s, o.computed_s) * (1 + 1e-12)).all()
    binds = o.bound[:, :-1] == "host"
    assert (np.diff(o.bound_s, axis=1)[binds] >= -1e-12).all()
    assert o.host_bytes[0, 61] <= memory(model, ctx=512).weight_bytes


@pytest.mark.law
@given(HOSTS, st.integers(0, 128), st.integers(0, 50_000))
@settings(max_examples=60)
def test_whichever_experts_are_chosen_min_is_the_bound(host: str, on_device: int, ctx: int) -> None:
    """So many of 128 experts of every layer on the device: however many of the 8 chosen are among them, no step is faster."""
    layers, one, table = 48, 3 * 2048 * 768 * 2, 151_936 * 2048 * 2
    huge = load_gpu("rtx-5090").model_copy(update={"memory_bytes": 1e15})
    away = layers * (128 - on_device) * one + table
    o = offload("qwen3-30b-a3b", huge, ctx=ctx, dtype="bf16", routing="min", host_bytes=away, host=host)
    rest = o.device_read_bytes + o.host_read_bytes - layers * 8 * one - 2048 * 2  # read on the device in any case
    times = []
    for here in range(max(0, 8 - (128 - on_device)), min(8, on_device) + 1):
        device_s = (rest + layers * here * one) / huge.memory_bytes_per_s
        times.append(max(device_s, (layers * (8 - here) * one + 2048 * 2) / load_gpu(host).memory_bytes_per_s))
    assert o.bound_s <= min(times) * (1 + 1e-9)
    assert o.bound_s >= min(times) / 2  # two memories at once are at most twice as fast as the faster one


@pytest.mark.law
@given(MODELS, ROUTINGS, st.integers(1, 64), st.integers(0, 9000), st.floats(0, 1))
@settings(max_examples=40)
def test_a_sweep_cell_is_its_point(model: str, routing: str, batch: int, ctx: int, share: float) -> None:
    hosted = share * memory(model, ctx=ctx, batch=batch).weight_bytes
    asked: dict[str, Any] = {"routing": routing, "host": "xeon-8480", "host_sockets": 2}
    sweep = offload(model, "b200", ctx=[[ctx, ctx + 5]], batch=[[batch], [batch + 2]], host_bytes=hosted, **asked)
    huge = load_gpu("b200").model_copy(update={"memory_bytes": 1e15})
    one = offload(model, huge, ctx=ctx + 5, batch=batch + 2, host_bytes=hosted, **asked)
    for field in ("bound_s", "bound", "is_bound", "overlapped_s", "serial_s", "streamed_s", "computed_s", "host_s", "link_s", "link_bytes"):
        assert getattr(sweep, field)[1, 1] == getattr(one, field), field


@pytest.mark.law
@given(MODELS, HOSTS, ROUTINGS, st.integers(1, 256), st.integers(0, 50_000))
@settings(max_examples=60)
def test_nothing_on_the_host_is_the_floor_exactly(model: str, host: str, routing: str, batch: int, ctx: int) -> None:
    o = offload(model, "a100", ctx=[ctx], batch=batch, routing=routing, dtype="fp16", host_bytes=0, host=host)
    f = floor(model, "a100", ctx=[ctx], batch=batch, routing=routing, dtype="fp16")
    assert o.bound_s[0] == o.overlapped_s[0] == o.serial_s[0] == f.latency_s[0]
    assert o.bound[0] == f.bound[0]
    assert o.link_bytes[0] == 0.0


@pytest.mark.law
def test_a_host_that_multiplies_slowly_binds() -> None:
    """FLOPs of a host count where its most is sourced: 64 sequences' share of a dense model at 1 TFLOP/s."""
    slow = GPU(id="slow", name="slow", kind="cpu", memory_bytes_per_s=1e12, flops_per_s={"int8": 1e12},
               ceiling_flops_per_s={"int8": 1e12}, source="x")  # fmt: skip
    free = GPU(id="free", name="free", kind="cpu", memory_bytes_per_s=1e12, source="x")
    asked: dict[str, Any] = {"ctx": 128, "batch": 64, "host_bytes": 80e9}
    a, b = (offload("llama-3.1-70b", "h100", host=host, **asked) for host in (slow, free))
    there = (80e9 - 128_256 * 8192 * 2) / 2  # weights it multiplies: all there but the input table
    assert a.host_s == pytest.approx(64 * 2 * there / 1e12, rel=1e-3)
    assert b.host_s == pytest.approx((80e9 - 128_256 * 8192 * 2) / 1e12, rel=1e-3)
    assert b.bound_s <= a.bound_s < a.streamed_s * (1 + 1e-12)
    assert a.bound_s < a.computed_s  # the device may take some of it over


def test_is_bound_says_what_may_be_faster() -> None:
    asked: dict[str, Any] = {"ctx": 4096, "dtype": "w4a16"}
    o = offload("llama-3.1-70b", "rtx-4090", host="ryzen-7950x", **asked)
    assert o.is_bound is True
    assert "no placement of these bytes is faster" in flat(o)
    dark = load_gpu("xeon-8480").model_copy(update={"last_level_cache_bytes": None})
    unknown = offload("llama-3.1-70b", "rtx-4090", host=dark, **asked)
    assert unknown.is_bound is False
    assert "no source gives xeon-8480 a last-level cache" in flat(unknown)
    cached = offload("qwen3-30b-a3b", "rtx-4090", ctx=1024, dtype="q4_k_m", n_cpu_moe=36, host="ryzen-7950x")
    assert np.all(cached.loosened["host_cache"])  # 67 MB against 0.8 GB
    assert not np.any(cached.loosened["host_experts"])
    assert not np.any(cached.loosened["routing"])  # one token's experts are k


def test_streaming_is_never_called_a_bound() -> None:
    for o in (offload("llama-3.1-70b", "rtx-4090", ctx=2048), offload("llama-3.1-70b", "rtx-4090", ctx=2048, host_bytes=[120e9, 130e9])):
        assert "--host epyc-9654" in flat(o)
        assert "link-bound" not in flat(o) + repr(o)
        assert "no bound" in flat(o)
    with_host = offload("llama-3.1-70b", "rtx-4090", ctx=2048, host="epyc-9654")
    assert "--host" not in flat(with_host)
    assert "placement, streamed over the link" in flat(with_host)
    assert "host-bound" in repr(with_host)


def test_faces() -> None:
    o = offload("llama-3.1-70b", "rtx-4090", ctx=2048, host="epyc-9654", host_sockets=2)
    doc = json.loads(json.dumps(o.to_dict(), allow_nan=False, default=str))
    assert (doc["inputs"]["host"], doc["inputs"]["host_sockets"], doc["inputs"]["host_bytes_per_s"]) == ("epyc-9654", 2, 921.6e9)
    assert doc["outputs"]["placement"] == "computed"
    for name in ("bound_s", "streamed_s", "computed_s", "host_s", "is_bound"):
        assert doc["outputs"][name] == getattr(o, name)
    assert "2×epyc-9654" in str(o)
    assert "2×epyc-9654" in o._repr_html_()
    assert any(r["fact"] == "epyc-9654 memory_bytes_per_s" for r in o.sources().to_dicts())
    sweep = offload("qwen3-30b-a3b", "rtx-4090", ctx=1024, n_cpu_moe=[36, 40, 48], host="epyc-9654")
    assert sweep.to_table().rows[0]
    assert sweep.n_cpu_moe is not None
    assert sweep.n_cpu_moe.tolist() == [36, 40, 48]
    assert np.all(np.diff(sweep.bound_s) > 0)
    assert "36…48 of 48 layers" in flat(sweep)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"host": "h100"}, InvalidInput, "is a gpu, not a CPU; known ones: epyc-9654"),
        ({"host": "epyc-96"}, UnknownName, "epyc-96"),
        ({"host": 5}, InvalidInput, "neither a name nor a GPU"),
        ({"host_sockets": 2}, InvalidInput, "host='epyc-9654'"),
        ({"host": "epyc-9654", "host_sockets": 0}, InvalidInput, "host_sockets"),
        ({"host": "epyc-9654", "host_sockets": 1.5}, InvalidInput, "whole number of sockets"),
        ({"n_cpu_moe": 3}, InvalidInput, "has no experts"),
        ({"n_cpu_moe": 3, "host_bytes": 1e9}, InvalidInput, "give one"),
    ],
)
def test_what_has_no_answer_is_one_line(asked: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as refused:
        offload("llama-3.1-70b", "rtx-4090", ctx=1, **asked)
    assert "\n" not in str(refused.value)


def test_a_host_whose_memory_is_stated_must_hold_its_part() -> None:
    small = GPU(id="small", name="small", kind="cpu", memory_bytes=64e9, memory_bytes_per_s=80e9, source="x")
    asked: dict[str, Any] = {"ctx": 1024, "dtype": "bf16", "host": small}
    # 2 · 70,553,706,496 B of weights and 327,680 · 1,025 of cache, less the 25.76 GB a 4090's driver reports
    with pytest.raises(DoesNotFit, match=r"115\.7 GB on small, whose memory is 64\.0 GB"):
        offload("llama-3.1-70b", "rtx-4090", **asked)
    assert offload("llama-3.1-70b", "rtx-4090", host_sockets=2, **asked).fits  # 2 · 64 GB
    assert offload("llama-3.1-70b", "h100", host_bytes=[60e9, 70e9], **asked).fits.tolist() == [True, False]


def test_experts_that_leave_too_much_on_the_device() -> None:
    with pytest.raises(DoesNotFit, match="leave n_cpu_moe out"):
        offload("qwen3-30b-a3b", "rtx-4090", ctx=1, n_cpu_moe=3)
    with pytest.raises(InvalidInput, match="whole number of layers"):
        offload("qwen3-30b-a3b", "rtx-4090", ctx=1, n_cpu_moe=3.5)
