"""Calibrations: rows in, figures out, refusals that say what to measure, and the stories that others published."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from sol import (
    BadFile,
    BadMeasurement,
    Calibration,
    Calibrations,
    Estimate,
    InvalidInput,
    Measurement,
    calibrate,
    estimate,
    floor,
    load_calibration,
    read_measurements,
    save_calibration,
)
from sol.answers.calibrate.fit_inputs import parts
from sol.answers.calibrate.show import errors
from sol.sources.database.measured import measured_rows
from sol.specs.measurement import Measurements

MODELS = ("qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-3b", "qwen2.5-7b", "qwen2.5-14b")
STEPS = ((512, 1), (2048, 1), (2048, 16), (1024, 64))


def rows(
    machine: Calibration, models: tuple[str, ...] = MODELS, steps: tuple[tuple[int, int], ...] = STEPS, **said: object
) -> list[Measurement]:  # fmt: skip
    """The steps a machine takes, to the last bit."""
    return [
        Measurement(
            model=m, gpu=machine.gpu, phase="decode", ctx=c, batch=b, engine=machine.engine,
            measured_s=estimate(m, machine.gpu, ctx=c, batch=b, calibration=machine, dtype=said.get("dtype")).latency_s, **said,
        )
        for m, (c, b) in itertools.product(models, steps)
    ]  # fmt: skip


def machine(gpu: str = "h100-sxm", engine: str = "vllm", **figures: float | str) -> Calibration:
    return Calibration(gpu=gpu, engine=engine, fusion="kernel", **figures)


FAST = machine(mbu=0.8, mfu=0.8, step_s=2e-3)
WAITING = machine(engine="transformers", host_s=6e-4)


@pytest.mark.law
def test_a_calibration_of_estimates_is_the_machine_that_made_them() -> None:
    c = calibrate(rows(FAST))
    assert (c.form, c.engine, c.gpu, c.dtype, c.n, c.models) == ("M1", "vllm", "h100-sxm", "16-bit", 20, MODELS)
    assert c.mbu.value == pytest.approx(0.8, rel=1e-4)
    assert c.step_s.value == pytest.approx(2e-3, rel=1e-4)
    assert c.launch_s.value == c.host_s.value == 0.0
    assert len(c.to_table()) == 20
    assert max(map(abs, c.to_table()["left_out_error"])) < 1e-3
    for r, m in zip(c.residuals, rows(FAST), strict=True):
        assert r.measured_s == m.measured_s
        assert r.estimated_s == pytest.approx(r.measured_s, rel=1e-4)
        again = estimate(m.model, m.gpu, ctx=m.ctx, batch=m.batch, calibration=c)
        assert again.latency_s == pytest.approx(r.estimated_s, rel=1e-9)
        assert again.floor_s == pytest.approx(r.floor_s)


@pytest.mark.law
def test_prompts_tell_mfu() -> None:
    truth = machine(mbu=0.8, mfu=0.55, step_s=2e-3)
    prompts = [
        Measurement(model=m, gpu="h100-sxm", phase="prefill", ctx=c, engine="vllm",
                    measured_s=estimate(m, "h100", ctx=c, phase="prefill", calibration=truth).latency_s)
        for m in MODELS for c in (1024, 4096)
    ]  # fmt: skip
    c = calibrate(rows(truth) + prompts)
    assert (c.mbu.value, c.mfu.value) == (pytest.approx(0.8, rel=1e-4), pytest.approx(0.55, rel=1e-4))
    alone = calibrate(rows(truth, steps=((512, 1), (2048, 1), (8192, 1))))
    assert alone.mfu.value == alone.mbu.value
    assert "set to mbu" in alone.mfu.note
    with pytest.raises(BadMeasurement, match=r"compute-bound.*measure decode steps of batch 1"):
        calibrate([m for m in prompts if m.model in MODELS[-2:]])


def test_rows_come_from_a_file_or_a_list_and_the_order_does_not_matter(tmp_path: Path) -> None:
    lines = [f"{m.model},{m.gpu},decode,{m.measured_s!r},{m.batch:g},{m.ctx:g},vllm" for m in rows(FAST)]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(["model,gpu,phase,measured_s,batch,ctx,engine", *lines]) + "\n")
    read = calibrate(read_measurements(path))
    turned = calibrate(rows(FAST)[::-1])
    assert "20 rows of runs.csv" in next(iter(read.sources.values())).title
    assert read.mbu.value == pytest.approx(turned.mbu.value, rel=1e-6)


@pytest.mark.slow
def test_several_engines_devices_and_formats_give_one_calibration_each() -> None:
    other = machine(gpu="a100-sxm-80gb", engine="sglang", mbu=0.7, mfu=0.7, step_s=1e-3)
    found = calibrate(rows(FAST) + rows(other) + rows(FAST, dtype="fp8") + rows(other, steps=((512, 1),), models=MODELS[:1], dtype="fp16"))
    assert isinstance(found, Calibrations)
    assert [(c.engine, c.gpu, c.dtype) for c in found] == [
        ("vllm", "h100-sxm", "16-bit"), ("sglang", "a100-sxm-80gb", "16-bit"), ("vllm", "h100-sxm", "fp8")
    ]  # fmt: skip
    assert [round(c.mbu.value, 3) for c in found] == [0.8, 0.7, 0.8]
    part = calibrate(rows(FAST) + rows(other, steps=((512, 1),), models=MODELS[:1]))
    assert [c.engine for c in part] == ["vllm"]
    assert "one row" in part.refused[0][1]
    assert "refused: sglang" in str(part)


def test_graphs_and_no_graphs_are_two_engines() -> None:
    found = calibrate(rows(FAST, cuda_graphs=True) + rows(machine(mbu=0.8, mfu=0.8, step_s=4e-3), cuda_graphs=False))
    assert [(c.cuda_graphs, round(c.step_s.value * 1e3, 2)) for c in found] == [(True, 2.0), (False, 4.0)]


def test_the_class_of_an_engine_says_where_the_fixed_time_of_one_model_goes() -> None:
    many = tuple((512, b) for b in (1, 4, 16, 32, 64, 96))
    step = calibrate(rows(FAST, models=("llama-3.1-8b",), steps=many))
    assert step.step_s.value == pytest.approx(2e-3, rel=1e-3)
    own = calibrate(rows(machine(engine="pytorch", mbu=0.8, mfu=0.8, launch_s=6e-6), models=("llama-3.1-8b",), steps=many))
    assert own.launch_s.value == pytest.approx(6e-6, rel=1e-3)
    assert step.within_95 is own.within_95 is None
    assert "three models are needed" in step.note


# Refusals


def one_model(ctx: tuple[int, ...], batch: tuple[int, ...] = (1,)) -> list[Measurement]:
    return rows(FAST, models=("llama-3.1-8b",), steps=tuple(itertools.product(ctx, batch)))


REFUSED = {
    "contexts of one model": (  # 3,584 tokens of 131,072 B in 15.08e9
        lambda: one_model((512, 1024, 2048, 4096)), r"ctx 512…4,096, batch 1 of llama-3.1-8b: .* differs by 3.1 %.*another size",
    ),
    "one row": (lambda: one_model((512,)), r"one row .*llama-3.1-8b.*measure"),
    "the same step": (lambda: one_model((512,)) * 3, r"all 3 rows ask the same step"),
    "nothing": (list, r"no rows"),
    "the host alone": (
        lambda: rows(WAITING, steps=((512, 1), (1024, 1))), r"10 rows of 5 models all wait for the host \(600 µs a layer\).*give mbu=",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_rows_cannot_tell_is_refused_with_what_would(case: str) -> None:
    make, said = REFUSED[case]
    with pytest.raises(BadMeasurement, match=said):
        calibrate(make())


def test_averages_are_no_rows() -> None:
    with pytest.raises(BadMeasurement, match="no rows; what is needed are times of single steps"):
        calibrate(Measurements("x.csv", "own", ()))


def test_a_rate_known_from_elsewhere_settles_it() -> None:
    waiting = rows(WAITING, steps=((512, 1), (1024, 1)))
    c = calibrate(waiting, mbu=0.8)
    assert (c.form, c.mbu.value, c.mbu.note) == ("M3", 0.8, "given")
    assert c.host_s.value == pytest.approx(6e-4, rel=1e-3)
    with pytest.raises(InvalidInput, match="fraction"):
        calibrate(waiting, mbu=80)


@pytest.mark.law
def test_a_step_faster_than_light_is_named_and_one_at_the_limit_is_not() -> None:
    least = floor("llama-3.1-8b", "h100", ctx=2048, batch=8).latency_s
    warm = 50e6 / 3.35e12  # what an H100's 50 MB of cache may hold back
    for factor, impossible in ((0.98, True), (1.0 - 0.9 * warm / least, False)):
        said = {"kv_dtype": "bf16", "engine": "vllm", "measured_s": factor * least}
        odd = Measurement(model="llama-3.1-8b", gpu="h100-sxm", phase="decode", ctx=2048, batch=8, **said)
        if impossible:
            with pytest.raises(
                BadMeasurement, match=r"faster than the optimistic floor: llama-3.1-8b · decode · batch 8 · ctx 2,048.*possible"
            ):
                calibrate([*rows(FAST), odd])
        else:
            assert calibrate([*rows(FAST), odd]).n == 21


def test_a_mixture_is_impossible_only_below_its_least_routing() -> None:
    expected = floor("qwen3-30b-a3b", "h100", ctx=512, batch=16).latency_s
    shared = floor("qwen3-30b-a3b", "h100", ctx=512, batch=16, routing="min").latency_s
    assert shared < 0.7 * expected
    between = Measurement(model="qwen3-30b-a3b", gpu="h100-sxm", phase="decode", ctx=512, batch=16, engine="x", measured_s=0.7 * expected)
    parts([between])
    with pytest.raises(BadMeasurement, match="faster than the optimistic floor"):
        parts([between.model_copy(update={"measured_s": 0.9 * shared})])


def test_what_is_no_measurement_is_said() -> None:
    for wrong in (None, 3, "runs.csv", [1.0], [{"model": "x"}]):
        with pytest.raises(InvalidInput, match="Measurement"):
            calibrate(wrong)
    with pytest.raises(InvalidInput, match="fusion"):
        calibrate(rows(FAST), fusion="fused")


def test_a_fit_needs_no_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert isinstance(calibrate(rows(FAST)), Calibration)


# Files


def test_a_saved_calibration_is_read_back_exactly(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.03, 20)
    c = calibrate(
        [m.model_copy(update={"measured_s": m.measured_s * math.exp(e), "source": "a log"}) for m, e in zip(rows(FAST), noise, strict=True)]
    )
    path = tmp_path / "c.toml"
    save_calibration(c, path)
    back = load_calibration(path)
    assert back.model_dump() == c.model_dump()
    assert "a log" in next(iter(back.sources.values())).title
    here = estimate("qwen2.5-7b", "h100", ctx=2048, calibration=c)
    there = estimate("qwen2.5-7b", "h100", ctx=2048, calibration=path)
    assert (here.latency_s, here.low_s, here.high_s) == (there.latency_s, there.low_s, there.high_s)
    assert here.floor_s <= here.low_s < here.latency_s < here.high_s


def test_several_calibrations_share_a_file(tmp_path: Path) -> None:
    found = calibrate(rows(FAST) + rows(machine(engine="sglang", mbu=0.6, mfu=0.6, step_s=1e-3)))
    path = tmp_path / "c.toml"
    save_calibration(found, path)
    assert [load_calibration(path, c.id).model_dump() for c in found] == [c.model_dump() for c in found]
    with pytest.raises(InvalidInput, match="2 calibrations; there are vllm"):
        load_calibration(path)
    with pytest.raises(InvalidInput, match="no calibration 'x'"):
        load_calibration(path, "x")
    with pytest.raises(InvalidInput, match="two calibrations"):
        save_calibration([found[0], found[0]], path)
    with pytest.raises(BadFile, match="cannot be written"):
        save_calibration(found, tmp_path / "no" / "c.toml")


def test_an_estimate_in_another_format_than_the_rows_warns() -> None:
    c = calibrate(rows(FAST))
    assert estimate("qwen2.5-7b", "h100", ctx=2048, calibration=c, dtype="fp16").warnings == ()
    assert "of 16-bit weights, not fp8" in estimate("qwen2.5-7b", "h100", ctx=2048, calibration=c, dtype="fp8").warnings[-1]


# What others published, and what was measured for this database


def published(engine: str, gpu: str, *, dtype: str = "bf16", **where: object) -> list[Measurement]:
    """The database's steps of an engine on a device."""
    fields = (
        "model",
        "gpu",
        "phase",
        "measured_s",
        "dtype",
        "kv_dtype",
        "batch",
        "ctx",
        "new_tokens",
        "tp",
        "pp",
        "ep",
        "dp",
        "engine",
        "source",
    )
    return [
        Measurement(**{f: getattr(r, f) for f in fields}, cuda_graphs={"yes": True, "no": False}.get(r.cuda_graphs))
        for r in measured_rows()
        if (r.engine, r.gpu, r.dtype) == (engine, gpu, dtype) and r.phase != "request" and all(getattr(r, k) == v for k, v in where.items())
    ]


def predicted(m: Measurement, c: Calibration) -> Estimate:
    new = {} if m.phase == "prefill" else {"new_tokens": m.new_tokens}
    return estimate(m.model, m.gpu, ctx=m.ctx, batch=m.batch, phase=m.phase, dtype=m.dtype, kv_dtype=m.kv_dtype, tp=m.tp, pp=m.pp,
                    cached_tokens=m.cached_tokens, calibration=c, **new)  # fmt: skip


@pytest.mark.truth
def test_eager_transformers_on_an_a100_cost_time_per_layer() -> None:
    steps = published("transformers", "a100-sxm-80gb", source="qwen2.5-speed")
    c = calibrate(steps)
    assert (c.form, c.fusion) == ("M3", "eager")
    assert 0.84e-3 <= c.host_s.value <= 0.90e-3
    one_gpu = [r for r in c.residuals if "72b" not in r.model]
    assert {"qwen2.5-0.5b", "qwen2.5-32b"} < {r.model for r in one_gpu}  # a factor of 60 in bytes
    assert max(abs(r.estimated_s / r.measured_s - 1) for r in one_gpu) < 0.05


@pytest.mark.truth
def test_eager_transformers_on_an_h20_wait_for_a_faster_host_and_tell_no_rate() -> None:
    steps = [m for m in published("transformers", "h20") if m.model != "qwen3-30b-a3b"]  # experts in a loop: 11 ms per layer
    with pytest.raises(BadMeasurement, match=r"wait for the host \(6\d\d µs a layer\)"):
        calibrate(steps)
    assert 0.595e-3 <= calibrate(steps, mbu=0.8).host_s.value <= 0.616e-3


@pytest.mark.truth
def test_vllm_on_an_a100_is_a_fixed_time_and_bytes() -> None:
    """About 3.1 ms + bytes/1.53e12 over 0.5B to 14B; the bandwidth is 2.039e12 B/s."""
    c = calibrate([m for m in published("vllm-0.6", "a100-sxm-80gb", source="qwen2.5-speed", cuda_graphs="yes") if m.tp == 1])
    assert c.mbu.low <= 1.53 / 2.039 <= c.mbu.high
    assert {r.model for r in c.residuals} >= {"qwen2.5-0.5b", "qwen2.5-14b"}
    for r in c.residuals:
        story = 3.1e-3 + floor(r.model, "a100-sxm-80gb", ctx=1023.5).moved_bytes / 1.53e12
        assert r.estimated_s == pytest.approx(story, rel=0.2)


@pytest.mark.truth
def test_calm_reaches_92_percent_of_a_4090() -> None:
    c = calibrate(published("calm", "rtx-4090", dtype="fp16"))
    assert c.mbu.low <= 0.92 <= c.mbu.high + 0.01


@pytest.mark.truth
@pytest.mark.parametrize("gpu", ["h100-sxm", "h200-sxm"])
def test_fitted_on_one_model_the_others_are_within_eight_percent(gpu: str) -> None:
    steps = published("pytorch", gpu)
    for model in ("llama-3.2-3b", "llama-3.1-8b", "qwen2.5-14b"):
        c = calibrate([m for m in steps if m.model == model])
        others = [m for m in steps if m.model != model]
        assert len({m.model for m in others}) == 6
        assert np.median([abs(predicted(m, c).latency_s / m.measured_s - 1) for m in others]) <= 0.08


@pytest.mark.slow
@pytest.mark.truth
def test_intervals_hold_the_steps_of_models_that_were_left_out() -> None:
    inside = []
    for engine, gpu in (("pytorch", "h100-sxm"), ("pytorch", "h200-sxm"), ("gpt-fast", "a100-sxm-80gb")):
        steps = published(engine, gpu)
        for model in {m.model for m in steps}:
            c = calibrate([m for m in steps if m.model != model])
            inside += [e.low_s <= m.measured_s <= e.high_s for m in steps if m.model == model for e in [predicted(m, c)]]
    assert len(inside) > 200
    assert 0.90 <= np.mean(inside) <= 0.99


@pytest.mark.slow
@pytest.mark.truth
def test_a_serving_engine_takes_time_for_every_sequence() -> None:
    c = calibrate(published("vllm-0.11", "h100-sxm", cuda_graphs="yes"))
    assert c.sequence_s.value > 0
    assert c.sequence_s.low > 0
    assert errors(c)[1] <= 0.08


@pytest.mark.truth
def test_graphs_gain_where_the_host_is_slower_than_the_device() -> None:
    """arXiv 2605.30571: qwen2.5-7b eager in 16.97 ms on an H100; graphs gain 1.259× there, 1.028× on an L4."""
    shared = {"engine": "transformers", "fusion": "eager", "mbu": 0.9, "mfu": 0.9}
    bare = estimate("qwen2.5-7b", "h100", ctx=2048, calibration=Calibration(gpu="h100-sxm", **shared))
    kernels = sum(op.kernels for op in _operators(bare))
    launch = (16.97e-3 / 1.259 - bare.latency_s) / kernels
    gains = {}
    for gpu in ("h100-sxm", "l4"):
        graph, eager = (Calibration(gpu=gpu, launch_s=launch, host_s=host, **shared) for host in (0.0, 16.97e-3 / 28))
        gains[gpu] = (
            estimate("qwen2.5-7b", gpu, ctx=2048, calibration=eager).latency_s
            / estimate("qwen2.5-7b", gpu, ctx=2048, calibration=graph).latency_s
        )
    assert gains["h100-sxm"] == pytest.approx(1.259, rel=1e-6)
    assert 1.0 <= gains["l4"] <= 1.028


def _operators(e: object) -> list:
    from sol.physics.network.sharding import split_operators

    q = e.question
    return split_operators(q.model, q.step, q.storage, q.routing, q.fusion, q.split)
