"""Times alone, on top of the rates of a device's kernels: what one model's rows can tell."""

from __future__ import annotations

import numpy as np
import pytest

from sol import BadMeasurement, Calibration, InvalidInput, Measurement, MissingSpec, calibrate, estimate, load_calibration, save_calibration
from sol.answers.calibrate.accuracy import score
from sol.sources.database.calibrations import kernel_rates, shipped
from sol.sources.database.measured import measured_rows

STEPS = ((1, 512), (4, 2048), (16, 1024), (64, 512), (128, 1024))


def server(**times: float) -> Calibration:
    """An engine that adds these times to the kernels of an H100."""
    given = Calibration(gpu="h100-sxm", engine="vllm", **times)
    return kernel_rates("h100-sxm").model_copy(update={"engine": "vllm", **{k: getattr(given, k) for k in times}})


def rows(truth: Calibration, model: str = "llama-3.1-8b", dtype: str | None = None) -> list[Measurement]:
    return [
        Measurement(model=model, gpu="h100-sxm", phase="decode", ctx=c, batch=b, engine="vllm", dtype=dtype,
                    measured_s=estimate(model, "h100", ctx=c, batch=b, dtype=dtype, calibration=truth).latency_s)
        for b, c in STEPS
    ]  # fmt: skip


@pytest.mark.law
def test_one_models_rows_tell_times_that_serve_every_other() -> None:
    truth = server(step_s=1.5e-3, sequence_s=6e-5)
    c = calibrate(rows(truth) + rows(truth, dtype="fp8"), kernels=True)
    assert isinstance(c, Calibration)
    assert c.step_s.value == pytest.approx(1.5e-3, rel=1e-3)
    assert c.sequence_s.value == pytest.approx(6e-5, rel=1e-3)
    assert c.rates == kernel_rates("h100-sxm").rates
    for model, asked in (("qwen3-30b-a3b", {}), ("llama-3.1-70b", {"tp": 4, "dtype": "fp8"}), ("qwen2.5-7b", {"phase": "prefill"})):
        mine, theirs = (estimate(model, "h100", ctx=1000, batch=8, calibration=x, **asked) for x in (c, truth))
        assert mine.latency_s == pytest.approx(theirs.latency_s, rel=1e-3)


@pytest.mark.law
def test_only_what_the_rows_show() -> None:
    """A time per step alone, and rows that only a few sequences share: no time per sequence is made up."""
    alone = calibrate(rows(server(step_s=2e-3)), kernels=True)
    assert (alone.form, alone.sequence_s.value) == ("M1", 0.0)
    assert alone.step_s.value == pytest.approx(2e-3, rel=1e-4)
    noisy = [
        m.model_copy(update={"measured_s": m.measured_s * f})
        for m, f in zip(rows(server(step_s=2e-3)), (1.01, 0.99, 1, 1.01, 0.99), strict=True)
    ]
    assert calibrate(noisy, kernels=True).step_s.value == pytest.approx(2e-3, rel=0.1)


@pytest.mark.truth
@pytest.mark.parametrize(
    ("gpu", "engine", "model", "most"),
    [
        ("a100-sxm-80gb", "vllm-0.6", "qwen2.5-1.5b", 0.08),
        ("h100-sxm", "tensorrt-llm", "llama-3.1-8b", 0.08),
        ("h100-sxm", "vllm-0.11", "qwen3-8b", 0.12),
    ],
)
def test_published_servers_fitted_on_one_model(gpu: str, engine: str, model: str, most: float) -> None:
    """The other models' published steps, dense and routed, split and not, in 16, 8 and 4 bits: median |error|."""
    mine, others = [], []
    for r in measured_rows():
        if (r.gpu, r.engine) == (gpu, engine) and r.phase != "request":
            (mine if r.model == model else others).append(r)
    steps = [
        Measurement(model=r.model, gpu=r.gpu, phase=r.phase, measured_s=r.measured_s, dtype=r.dtype, kv_dtype=r.kv_dtype, tp=r.tp,
                    batch=r.batch,
                    ctx=r.ctx, engine=r.engine)
        for r in mine
    ]  # fmt: skip
    c = calibrate(steps, kernels=True)
    off = [abs(score(r, c).error) for r in others]
    assert len({r.model for r in others}) >= 3
    assert np.median(off) <= most


def test_a_file_keeps_it(tmp_path) -> None:
    c = calibrate(rows(server(step_s=1e-3)), kernels=True)
    save_calibration(c, tmp_path / "mine.toml")
    again = load_calibration(tmp_path / "mine.toml")
    asked = {"ctx": 777, "batch": 3}
    assert (
        estimate("llama-3.1-8b", "h100", calibration=again, **asked).latency_s
        == estimate("llama-3.1-8b", "h100", calibration=c, **asked).latency_s
    )
    assert "aic-kernels" in again.sources


@pytest.mark.contract
def test_what_cannot_be_fitted_on_kernels_says_so() -> None:
    plain = Calibration(gpu="rtx-4090", engine="vllm", mbu=0.8, step_s=1e-3)
    unknown = [
        Measurement(
            model="llama-3.1-8b", gpu="rtx-4090", phase="decode", ctx=c, batch=b, engine="vllm",
            measured_s=estimate("llama-3.1-8b", "4090", ctx=c, batch=b, calibration=plain).latency_s,
        )
        for b, c in STEPS[:3]
    ]  # fmt: skip
    with pytest.raises(MissingSpec, match="no rates of the kernels of rtx-4090 are known; they are of a100-sxm-80gb"):
        calibrate(unknown, kernels=True)
    with pytest.raises(InvalidInput, match="leave mbu and mfu out"):
        calibrate(rows(server(step_s=1e-3)), kernels=True, mbu=0.8)
    with pytest.raises(BadMeasurement, match="one row"):
        calibrate(rows(server(step_s=1e-3))[:1], kernels=True)
    assert {c.gpu for c in shipped().values() if c.engine == "kernels"} == {
        "a100-sxm-80gb", "b200-sxm", "b300-sxm", "gb200", "gb300", "h100-sxm", "h200-sxm", "l40s", "rtx-pro-6000-server",
    }  # fmt: skip
