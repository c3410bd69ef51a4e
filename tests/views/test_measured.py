"""Calibrations and comparisons as people meet them: two commands and a chart."""

from __future__ import annotations

import json
import math
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

from sol import Calibration, InvalidInput, Measurement, calibrate, estimate, load_calibration, plot_calibration, read_measurements
from sol.specs.calibration import Residual
from sol.views.cli import main

MODELS = ("qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-7b")
FAST = Calibration(gpu="h100-sxm", engine="vllm", fusion="kernel", mbu=0.8, mfu=0.8, step_s=2e-3)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Steps of an engine with graphs, and slower ones without, of three sessions each."""
    lines = ["model,gpu,phase,measured_s,batch,ctx,engine,cuda_graphs,session"]
    for i in range(3):
        for model in MODELS:
            for batch in (1, 16, 64):
                time = estimate(model, "h100", ctx=1024, batch=batch, calibration=FAST).latency_s * (1 + 0.001 * i)
                lines += [f"{model},h100,decode,{t!r},{batch},1024,vllm,{g},{i}" for t, g in ((time, "yes"), (time + 3e-3, "no"))]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[str, str, int]:
    code = 0
    try:
        main([str(a) for a in args])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return captured.out, captured.err, code


def test_calibrate_prints_saves_and_estimates(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "vllm.toml"
    out, err, code = run(capsys, "calibrate", runs, "--save", saved)
    assert (err, code) == ("", 0)
    assert "vllm on h100-sxm · graphs · 16-bit · M1 · 27 rows · 3 models" in out
    assert "95 % intervals from leaving each of 3 models out" in " ".join(out.split())
    assert load_calibration(saved, "vllm-h100-sxm-graphs-16-bit").mbu.value == pytest.approx(0.8, rel=0.01)
    out, err, code = run(capsys, "calibrate", runs, "--json")
    told = json.loads(out)["outputs"]["calibrations"]
    assert [c["cuda_graphs"] for c in told] == [True, False]
    assert len(told[0]["residuals"]) == 27


@pytest.mark.parametrize("width", [80, 120])
def test_no_number_is_cut_at_any_width(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out, _, _ = run(capsys, "ab", runs)
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= width
    assert "3 sessions of each" in out
    out, _, _ = run(capsys, "calibrate", runs)
    assert max(map(len, out.splitlines())) <= width
    one = runs.with_name("one.csv")
    one.write_text("".join(line for line in runs.read_text().splitlines(keepends=True) if ",yes," in line or line.startswith("model")))
    out, _, _ = run(capsys, "calibrate", one)
    assert max(map(len, out.splitlines())) <= width
    assert "vllm on h100-sxm · graphs · 16-bit · M1 · 27 rows · 3 models" in out


def test_ab_of_a_file_is_that_of_python(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err, code = run(capsys, "ab", runs, "--by", "cuda_graphs", "--json")
    assert (err, code) == ("", 0)
    steps = json.loads(out)["outputs"]["steps"]
    assert all(s["saved_s"] == pytest.approx(3e-3, rel=1e-6) for s in steps)
    assert len(steps) == 9


def test_two_files_are_read_together_and_what_is_not_taken_is_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = runs.with_name("bad.csv")
    bad.write_text("model,gpu,phase,measured_s,ctx\nqwen2.5-7b,h100,decode,-1,512\nqwen2.5-7b,h100,decode,0.02,512\n")
    out, err, code = run(capsys, "calibrate", runs, bad)
    assert code == 0
    assert "bad.csv: not taken: line 2" in err
    assert "refused: unknown on h100-sxm" in out


def test_a_split_in_the_file_is_taken_as_it_is(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = runs.with_name("split.csv")
    head, *lines = runs.read_text().splitlines()
    split.write_text("\n".join([f"{head},tp", *(f"{line},2" for line in lines)]) + "\n")
    out, err, code = run(capsys, "calibrate", split, "--json")
    assert (err, code) == ("", 0)
    assert json.loads(out) == json.loads(json.dumps(calibrate(read_measurements(split)).to_dict()))
    out, err, code = run(capsys, "calibrate", split, "--tp", "1")
    assert (out, code, err.count("\n")) == ("", 2, 1)
    assert "54 rows were not taken: split.csv, line 2: tp=2 is recorded, and tp=1 was given" in err


def test_rows_left_out_for_one_reason_are_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = runs.with_name("bad.csv")
    head, *lines = runs.read_text().splitlines()
    bad.write_text("\n".join([head, *lines, *(line.replace("h100", "h101") for line in lines)]) + "\n")
    _, err, code = run(capsys, "calibrate", bad)
    assert (code, err.count("\n")) == (0, 1)
    assert "line 56 and 53 more: no gpu 'h101'" in err


def test_times_that_may_be_milliseconds_are_doubted(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, *lines = runs.read_text().splitlines()
    cells = [line.split(",") for line in lines]
    runs.write_text("\n".join([head, *(",".join([*c[:3], str(float(c[3]) * 1e3), *c[4:]]) for c in cells)]) + "\n")
    out, _, _ = run(capsys, "calibrate", runs)
    assert "if these are milliseconds, divide by 1,000" in " ".join(out.split())


def test_mistakes_are_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = runs.with_name("one.csv")
    one.write_text("model,gpu,phase,measured_s,ctx\nqwen2.5-7b,h100,decode,0.02,512\n")
    for args in (
        ("calibrate", one),
        ("ab", one),
        ("ab", runs, "--by", "speed"),
        ("calibrate", "nowhere.csv"),
        ("calibrate", runs, "--batch", "1,2"),
        ("calibrate", runs, "--gpu", "a100"),
        ("calibrate", runs, "--mbu", "80"),
    ):
        out, err, code = run(capsys, *args)
        assert (out, code) == ("", 2)
        assert err.startswith("sol: ")
        assert err.count("\n") == 1


# The chart


@pytest.fixture(autouse=True)
def _close() -> object:
    yield
    plt.close("all")


def fitted() -> Calibration:
    rows = [
        Measurement(model=m, gpu="h100-sxm", phase="decode", ctx=1024, batch=b, engine="vllm",
                    measured_s=estimate(m, "h100", ctx=1024, batch=b, calibration=FAST).latency_s * (1 + 0.01 * i))
        for i, m in enumerate(MODELS) for b in (1, 16, 64)
    ]  # fmt: skip
    found = calibrate(rows)
    assert isinstance(found, Calibration)
    return found


def test_every_row_is_a_point_and_its_error_stands_below(tmp_path: Path) -> None:
    c = fitted()
    ax = plot_calibration(c)
    below = next(a for a in ax.figure.axes if a is not ax)
    points = {tuple(p) for line in ax.lines for p in zip(*line.get_data(), strict=True)}
    errors = {tuple(p) for line in below.lines for p in zip(*line.get_data(), strict=True)}
    for r in c.residuals:
        assert (r.measured_s * 1e3, r.estimated_s * 1e3) in points
        assert (r.measured_s * 1e3, r.floor_s * 1e3) in points
        assert any(x == r.measured_s * 1e3 and y == pytest.approx(100 * (r.estimated_s / r.measured_s - 1)) for x, y in errors)
    names = {t.get_text() for t in ax.get_legend().get_texts()}
    assert set(MODELS) <= names
    assert (ax.get_xscale(), ax.get_yscale(), below.get_xlim()) == ("log", "log", ax.get_xlim())
    ax.figure.savefig(tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_the_band_is_the_interval() -> None:
    c = fitted()
    (band,) = plot_calibration(c).collections
    low, high = band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()
    left, right = band.get_paths()[0].vertices[:, 0].min(), band.get_paths()[0].vertices[:, 0].max()
    assert (low / left, high / right) == (pytest.approx(math.exp(-c.within_95)), pytest.approx(math.exp(c.within_95)))


def test_it_draws_on_given_axes_and_refuses_what_was_not_fitted() -> None:
    figure, (left, right) = plt.subplots(1, 2)
    assert plot_calibration(fitted(), ax=left) is left
    assert len(figure.axes) == 3
    assert right.get_position().width > 0
    free = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    assert plot_calibration(fitted(), ax=free) is free
    with pytest.raises(InvalidInput, match="not fitted to rows"):
        plot_calibration(FAST)
    with pytest.raises(InvalidInput, match="no Calibration"):
        plot_calibration("x")


def test_a_calibration_of_one_model_has_no_band_and_no_rings() -> None:
    row = Residual(where="a step", model="x", measured_s=0.01, estimated_s=0.011)
    ax = plot_calibration(Calibration(gpu="h100-sxm", engine="vllm", residuals=(row,), n=1, models=("x",)))
    assert not ax.collections
