"""Whatever rows are given: a calibration whose numbers are numbers, or one line that says what is missing."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from sol import BadMeasurement, Calibration, Calibrations, InvalidInput, Measurement, calibrate
from sol.answers.calibrate.fit_inputs import parts
from sol.answers.estimate.estimate import estimate_of
from sol.answers.floor.optimistic import optimistic_s
from sol.answers.question import ask as door
from sol.answers.question.ask import ask
from sol.sources.database.engine_calibrations import shipped_calibration

MODELS = ("qwen2.5-0.5b", "qwen2.5-7b", "llama-3.1-8b", "qwen3-30b-a3b", "llama-3.2-1b", "mixtral-8x7b")
KINDS = ("noise", "constant", "huge", "least", "by batch", "random", "mixed")


def times(kind: str, n: int, draw: np.random.Generator, least: np.ndarray, likely: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Times of a kind [s], none below what is possible."""
    if kind == "mixed":
        picked = [times(k, n, draw, least, likely, batch) for k in KINDS[:-1]]
        return np.choose(draw.integers(len(picked), size=n), picked)
    found = {
        "noise": likely * np.exp(draw.choice([0.0, 1e-9, 0.05, 3.0]) * draw.standard_normal(n)),
        "constant": np.ones(n), "huge": np.minimum(likely * 10 ** draw.uniform(3, 11, n), 9e8), "least": least, "by batch": 1e-3 * batch,
        "random": 10 ** draw.uniform(-6, 8, n),
    }  # fmt: skip
    return np.maximum(found[kind], least * (1 + 1e-9))


def some_rows(seed: int) -> tuple[list[Measurement], dict[str, float | bool]]:
    """Rows of some models with times of some kind, and what is given besides."""
    draw = np.random.default_rng(seed)
    known, rows = shipped_calibration("h100-sxm", "vllm"), []
    models, n = draw.choice(MODELS, draw.integers(1, 5), replace=False), int(draw.choice([2, 3, 4, 6, 12, 30]))
    one_batch, one_ctx, phases = draw.random() < 0.3, draw.random() < 0.3, ("decode",) if draw.random() < 0.5 else ("decode", "prefill")
    kind, engine = KINDS[seed % len(KINDS)], str(draw.choice(["vllm", "transformers", "of my own"]))
    for model in models:
        for phase in phases:
            count = max(n // len(models) // len(phases), 1)
            batch = np.ones(count) if one_batch else 2.0 ** draw.integers(0, 9, count)
            ctx = np.full(count, 512.0) if one_ctx else draw.integers(1, 20000, count) * 1.0
            q = ask(str(model), "h100-sxm", ctx=ctx, batch=batch, phase=phase, fusion="kernel")
            least, likely = np.broadcast_to(optimistic_s(q), count), np.broadcast_to(estimate_of(q, known).latency_s, count)
            for c, b, s in zip(ctx, batch, times(kind, count, draw, least, likely, batch), strict=True):
                rows.append(Measurement(model=str(model), gpu="h100-sxm", phase=phase, measured_s=float(s), ctx=float(c), batch=float(b),
                                        engine=engine))  # fmt: skip
    given: dict[str, float | bool] = {}
    if draw.random() < 0.3:
        given["mbu"] = float(draw.choice([1e-6, 0.3, 0.8, 1.0]))
    if not given and draw.random() < 0.2:
        given["kernels"] = True
    return rows, given


def fitted_or_told(rows: list[Measurement], given: dict[str, float | bool]) -> tuple[tuple[Calibration, ...], str]:
    """The calibrations, or the line; any other error is a fault."""
    try:
        found = calibrate(rows, **given)  # type: ignore[arg-type]
    except (BadMeasurement, InvalidInput) as error:
        return (), str(error)
    return (found.calibrations if isinstance(found, Calibrations) else (found,)), ""


@pytest.mark.law
@pytest.mark.parametrize("block", range(7))
def test_any_rows_give_numbers_or_one_line(block: int) -> None:
    """49 seeded sets of rows: few or many, alike or not, of all sizes of times. Nothing warns, nothing else is raised."""
    fits = 0
    for seed in range(7 * block, 7 * (block + 1)):
        rows, given = some_rows(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found, said = fitted_or_told(rows, given)
        assert "\n" not in said
        assert "scipy" not in said.lower()
        for c in found:
            fits += 1
            for figure in (c.mbu, c.mfu, c.launch_s, c.host_s, c.step_s, c.sequence_s):
                assert all(math.isfinite(v) for v in (figure.value, figure.low, figure.high) if v is not None)
            assert all(math.isfinite(r.estimated_s) for r in c.residuals)
    assert fits


@pytest.mark.law
def test_two_rows_of_two_models_say_what_to_measure() -> None:
    """Bound by FLOPs, they would have three figures to tell."""
    prompts = [
        Measurement(model=m, gpu="h100-sxm", phase="prefill", measured_s=s, ctx=4096)
        for m, s in (("qwen2.5-7b", 0.2), ("llama-3.1-8b", 9.0))
    ]
    with pytest.raises(BadMeasurement, match="measure"):
        calibrate(prompts)


@pytest.mark.law
def test_a_given_rate_that_every_row_beats_is_refused() -> None:
    rows = [
        Measurement(model="qwen2.5-7b", gpu="h100-sxm", phase="decode", measured_s=6e-3 + 1e-4 * b, ctx=512, batch=b)
        for b in (1.0, 2.0, 4.0)
    ]
    with pytest.raises(BadMeasurement, match=r"^at mbu=0.01 every row would take \d+ times as long as it did, or longer; give a larger"):
        calibrate(rows, mbu=0.01)
    assert isinstance(calibrate(rows, mbu=0.9), Calibration)


@pytest.mark.law
def test_one_question_is_built_for_all_rows_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of rows that differ in batch and context alone is counted at once, however many they are."""
    rows = [
        Measurement(model=m, gpu="h100-sxm", phase="decode", measured_s=1.0, ctx=100.0 + i, batch=1.0 + i % 7)
        for m in ("qwen2.5-7b", "llama-3.1-8b") for i in range(200)
    ]  # fmt: skip
    built: list[int] = []
    inner = door.split_operators

    def counted(*given: object, **named: object) -> object:
        built.append(1)
        return inner(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(door, "split_operators", counted)
    (part,) = parts(rows)
    assert len(part.asked) == 2
    assert part.priced().loads.moved_s.shape[0] == 400
    assert len(built) <= 2 * len(part.asked)
