"""The calibrations of the database: what they rest on, that they are what the script makes of the rows, and files of one's own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sol import BadFile, MissingSpec, estimate, load_gpu
from sol.answers.calibrate.accuracy import score
from sol.sources.database.calibrations import engine_classes, of_steps, read_calibrations, shipped
from sol.sources.database.engine_calibrations import shipped_calibration
from sol.sources.database.measured import measured_rows
from sol.sources.database.tomlfiles import data_root
from tools import derive_engines as script

ROOT = Path(__file__).parents[3]


@pytest.mark.contract
def test_every_calibration_names_its_device_its_engine_and_its_source() -> None:
    assert len(shipped()) >= 55
    for name, c in shipped().items():
        load_gpu(c.gpu)
        assert name == c.id
        assert c.sources, name
        assert c.engine in engine_classes()
        assert c.source is not None or c.base
        if c.n:
            assert c.models
            assert c.within_95 is not None


@pytest.mark.contract
def test_a_class_stands_in_for_an_engine_that_is_not_known() -> None:
    assert shipped_calibration("h100-sxm", "vllm").id == "h100-sxm-vllm"
    assert shipped_calibration("h100-sxm", "VLLM ").id == "h100-sxm-vllm"
    assert shipped_calibration("h100-sxm", "sglang").id == "h100-sxm-graph"
    assert shipped_calibration("gb200", "vllm").engine == "graph"
    based, base = shipped()["h100-sxm-vllm"], shipped()["h100-sxm-kernels"]
    assert based.base == base.id
    assert based.rates["gemm.fp8"] is base.rates["gemm.fp8"]
    assert set(base.sources) <= set(based.sources)
    with pytest.raises(MissingSpec, match=r"rtx-4090 has calm, llama\.cpp"):
        shipped_calibration("rtx-4090", "vllm")


@pytest.mark.truth
@pytest.mark.parametrize(("gpu", "engine"), [("rtx-4090", "calm"), ("h200-sxm", "vllm"), ("rtx-4080", "llama.cpp")])
def test_the_file_is_what_the_script_makes_of_the_rows(gpu: str, engine: str) -> None:
    d = script
    kind = engine_classes()[engine]
    base = d.kernels().get(gpu) if kind in d.BASED else None
    rows = [r for r in measured_rows() if (r.gpu, r.engine, r.split) == (gpu, engine, "fit") and d.rated(r)]
    made = d.EngineRows(tuple(rows), d.start(gpu, engine, kind, base), d.free_figures(rows, base, kind)).fitted()
    kept = of_steps()[f"{gpu}-{engine}"]
    assert kept.n == len(rows)
    for figure in d.BESIDES[kind]:
        assert getattr(made, figure).value == pytest.approx(getattr(kept, figure).value, rel=6e-3)
    for key, rate in kept.rates.items():
        for figure in ("mbu", "mfu"):
            if (there := getattr(rate, figure)) is not None:
                assert getattr(made.rates[key], figure).value == pytest.approx(there.value, rel=6e-3)


@pytest.mark.law
def test_what_was_simulated_is_found_again() -> None:
    """Rows of vLLM on H200, their times replaced by those of a known engine: step and sequence come back within a few per cent."""
    from dataclasses import replace

    d = script
    base = d.kernels()["h200-sxm"]
    known = d.start("h200-sxm", "vllm", "graph", base).model_copy(update={"step_s": d.Calibration(gpu="x", engine="y", step_s=2e-3).step_s})
    known = known.model_copy(update={"sequence_s": d.Calibration(gpu="x", engine="y", sequence_s=8e-5).sequence_s})
    rows = tuple(r for r in measured_rows() if (r.gpu, r.engine, r.split) == ("h200-sxm", "vllm", "fit"))
    first, free = d.start("h200-sxm", "vllm", "graph", base), d.free_figures(rows, base, "graph")
    off = d.EngineRows(rows, first, free).errors(known)
    made_up = tuple(replace(r, measured_s=r.measured_s * float(np.exp(e))) for r, e in zip(rows, off, strict=True))
    simulated = d.EngineRows(made_up, first, free)
    assert np.abs(simulated.errors(known)).max() < 1e-9
    found = simulated.fitted()
    assert found.step_s.value == pytest.approx(2e-3, rel=0.02)
    assert found.sequence_s.value == pytest.approx(8e-5, rel=0.02)


@pytest.mark.law
def test_the_scripts_sum_is_the_estimate() -> None:
    d = script
    for row in [r for r in measured_rows() if r.engine == "vllm" and r.phase == "decode"][::60]:
        c = shipped_calibration(row.gpu, "vllm")
        own = estimate(row.model, row.gpu, ctx=[row.ctx], batch=row.batch, dtype=row.dtype, kv_dtype=row.kv_dtype, tp=row.tp, pp=row.pp,
                       ep=row.ep, dp=row.dp, calibration=c)  # fmt: skip
        base = d.kernels().get(row.gpu)
        asked = d.EngineRows((row,), c, d.free_figures([row], base, "graph"))
        assert np.exp(asked.errors(c)[0]) * row.measured_s == pytest.approx(own.latency_s[0], rel=1e-9)


@pytest.mark.law
@pytest.mark.parametrize(
    ("gpu", "engine"), [("rtx-4090", "calm"), ("rtx-4080", "llama.cpp"), ("mi300x", "vllm"), ("a100-sxm-80gb", "eager")]
)
def test_rows_of_a_fit_are_estimates_whatever_is_free(gpu: str, engine: str) -> None:
    """Times on top of known rates, and rates of kinds and formats; steps, prompts and whole requests."""
    d = script
    classes = engine_classes()
    kind = classes.get(engine, engine)
    base = d.kernels().get(gpu) if kind in d.BASED else None
    rows = [r for r in measured_rows() if r.gpu == gpu and engine in (r.engine, classes.get(r.engine)) and d.rated(r)]
    c = shipped()[f"{gpu}-{engine}"]
    off = d.EngineRows(tuple(rows), d.start(gpu, engine, kind, base), d.free_figures(rows, base, kind)).errors(c)
    for row, error in list(zip(rows, off, strict=True))[:: 1 + len(rows) // 12]:
        near = 1e-3 if row.phase == "request" else 1e-9  # six steps stand for all those of a request
        assert math.exp(error) == pytest.approx(1.0 + score(row, c).error, rel=near), row.id


@pytest.mark.contract
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a]\ngpu = 'h100-sxm'\n", "engine: field required"),
        ("[a]\ngpu = 'h100-sxm'\nengine = 'mine'\nmbu = 2.0\n", "at most 1"),
        ("[a]\ngpu = 'h100-sxm'\nengine = 'mine'\nsource = 'nowhere'\n", "no source 'nowhere' in this file"),
        ("a = 3\n", "is not a table"),
        ("[a\n", "not valid TOML"),
        ("[a]\ngpu = 'h100-sxm'\nengine = 'mine'\nspeed = 1.0\n", "speed"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadFile, match=words) as refused:
        read_calibrations(path)
    assert "\n" not in str(refused.value)
    with pytest.raises(BadFile):
        estimate("qwen2.5-7b", "h100", ctx=1, calibration=path)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[mine]\ngpu = 'h100-sxm'\nengine = 'mine'\nmbu = 0.5\nstep_s = 1e-3\n", encoding="utf-8")
    e = estimate("qwen2.5-7b", "h100", ctx=2048, calibration=str(path))
    assert e.latency_s == pytest.approx(2 * e.floor_s + 1e-3, rel=1e-9)
    assert (data_root() / "calibrations" / "engines.toml").is_file()
