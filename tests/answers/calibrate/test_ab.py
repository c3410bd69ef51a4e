"""Two arms: the ratio is the one that was put in, its interval holds it, and what cannot be compared is said."""

from __future__ import annotations

import csv
import json
from functools import lru_cache
from statistics import median

import numpy as np
import pytest

from sol import BadMeasurement, InvalidInput, Measurement, ab, read_measurements
from sol.sources.database.tomlfiles import data_root

STEP = {"model": "qwen2.5-7b", "gpu": "h100-sxm", "phase": "decode", "ctx": 2048, "engine": "transformers"}


def sessions(ratio: float, n: int = 8, *, seed: int = 0, spread: float = 0.01, base: float = 0.01, **said: object) -> list[Measurement]:
    """`n` sessions, each with both arms; a session's own speed is in both."""
    draw = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        own = np.exp(draw.normal(0.0, 0.03))
        for graphs, factor in ((False, ratio), (True, 1.0)):
            time = base * factor * own * np.exp(draw.normal(0.0, spread))
            rows.append(Measurement(**STEP | said, measured_s=time, cuda_graphs=graphs, session=str(i)))
    return rows


@pytest.mark.law
def test_a_known_ratio_comes_out_exactly_where_nothing_varies() -> None:
    result = ab(sessions(1.259, spread=0.0))
    assert result.ratio == pytest.approx(1.259, rel=1e-12)
    assert (result.low, result.high) == (pytest.approx(1.259), pytest.approx(1.259))
    assert result.labels == (False, True)
    (step,) = result.steps
    assert step.saved_s == pytest.approx(0.259 * step.second_s)
    assert step.saved_s_per_layer == pytest.approx(step.saved_s / 28)
    assert step.saved_s_per_kernel == pytest.approx(step.saved_s / (28 * 48 + 23), rel=0.01)  # eager: 48 a layer, 23 outside
    assert step.sessions == (8, 8)


@lru_cache(maxsize=1)
def held() -> float:
    """The share of 200 experiments whose interval holds the ratio."""
    inside = []
    for seed in range(200):
        result = ab(sessions(1.1, seed=seed))
        assert result.low is not None
        assert result.high is not None
        inside.append(result.low <= 1.1 <= result.high)
    return float(np.mean(inside))


@pytest.mark.slow
@pytest.mark.law
def test_intervals_over_sessions_hold_the_ratio() -> None:
    assert 0.88 <= held() <= 0.995


@pytest.mark.slow
@pytest.mark.law
@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_sessions_have_wide_intervals(n: int) -> None:
    """Draws of two sessions hold the ratio in 43 of 100 experiments, of three in 74."""
    found = [ab(sessions(1.1, n, seed=seed)) for seed in range(200)]
    assert np.mean([r.low <= 1.1 <= r.high for r in found]) >= 0.9
    assert all(r.low <= r.ratio <= r.high for r in found)


@pytest.mark.law
def test_rows_of_a_session_are_one_time_and_more_of_them_narrow_nothing() -> None:
    once = sessions(1.2)
    many = [m.model_copy(update={"measured_s": m.measured_s * f}) for m in once for f in (0.999, 1.0, 1.001)]
    assert (ab(many).low, ab(many).high) == (pytest.approx(ab(once).low), pytest.approx(ab(once).high))


def test_the_first_label_of_other_columns_is_the_first_arm() -> None:
    rows = [
        Measurement(**STEP | {"engine": e}, measured_s=t, session=str(i)) for i in range(3) for e, t in (("vllm", 0.02), ("sglang", 0.01))
    ]
    result = ab(rows, by="engine")
    assert (result.labels, result.ratio) == (("vllm", "sglang"), 2.0)
    assert result.steps[0].saved_s_per_layer is None
    assert ab(rows[::-1], by="engine").ratio == 0.5


def test_several_steps_are_lines_and_their_ratios_have_a_mean() -> None:
    result = ab([*sessions(1.2, spread=0.0), *sessions(1.8, spread=0.0, ctx=8192), sessions(1.0, ctx=512)[0]])
    assert [round(s.ratio, 6) for s in result.steps] == [1.2, 1.8]
    assert result.ratio == pytest.approx((1.2 * 1.8) ** 0.5)
    assert result.low is None
    assert "1 step in one arm only" in result.notes
    assert json.loads(json.dumps(result.to_dict()))["outputs"]["steps"][1]["ratio"] == pytest.approx(1.8)


def test_steps_of_two_devices_say_which() -> None:
    rows = [*sessions(1.2), *(m.model_copy(update={"gpu": "h200-sxm"}) for m in sessions(1.8))]
    assert [s.where.split(" · ")[-1] for s in ab(rows).steps] == [sessions(1.2)[0].gpu, "h200-sxm"]
    assert "h200" not in ab(sessions(1.2)).steps[0].where


def test_one_session_has_a_ratio_and_no_interval() -> None:
    result = ab(sessions(1.2, n=1))
    assert (result.low, result.high) == (None, None)
    assert "no interval with one session" in result.notes[0]
    unnamed = [m.model_copy(update={"session": None}) for m in sessions(1.2)]
    assert ab(unnamed).low is None


REFUSED = {
    "one arm": ([m for m in sessions(1.2) if m.cuda_graphs], "cuda_graphs", "every row has cuda_graphs True"),
    "no label": (sessions(1.2), "dtype", "no row has dtype"),
    "three labels": (sessions(1.2, n=3), "session", r"session has 3 labels \(0, 1, 2\)"),
    "nothing in common": (
        [Measurement(**STEP | {"ctx": c}, measured_s=0.01, cuda_graphs=g) for c, g in ((512, True), (1024, False))], "cuda_graphs",
        "no step has both no graphs and graphs",
    ),
    "nothing": ([], "cuda_graphs", "no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_said(case: str) -> None:
    rows, by, said = REFUSED[case]
    with pytest.raises(BadMeasurement, match=said):
        ab(rows, by=by)


@pytest.mark.truth
@pytest.mark.parametrize("gpu", ["h100-sxm", "h200-sxm"])
def test_graphs_gain_on_hopper_in_every_one_of_eight_sessions(gpu: str) -> None:
    path = data_root() / "measured" / "pytorch-sessions.csv"
    with path.open(newline="", encoding="utf-8") as lines:
        told = [r for r in csv.DictReader(lines) if r["gpu"] == gpu]
    arms = [[float(r["measured_s"]) for r in told if r["cuda_graphs"] == label] for label in ("false", "true")]
    result = ab([m for m in read_measurements(path) if m.gpu == gpu])
    assert result.steps[0].sessions == (8, 8)
    assert result.ratio == pytest.approx(median(arms[0]) / median(arms[1]))
    assert result.low > 1.3


def test_a_column_that_is_none_is_said() -> None:
    with pytest.raises(InvalidInput, match="by='speed' is not a column"):
        ab(sessions(1.2), by="speed")
