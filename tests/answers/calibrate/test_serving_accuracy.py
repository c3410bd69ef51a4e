"""The scorer of servers under load, on predictions whose score is known before."""

from __future__ import annotations

import dataclasses
import math

import pytest

from sol.sources.database.serving import ServingRow, serving_rows
from tools import serving_accuracy as report
from tools.serving_accuracy import Prediction, Scored, figures_of, scored_rows

ROW = next(r for r in serving_rows() if r.metric == "tpot_s")
RATE = next(r for r in serving_rows() if r.metric == "output_tokens_per_s")


def test_a_prediction_that_is_the_measurement_has_no_error() -> None:
    found = figures_of(scored_rows(lambda r: r.value))
    assert (found["n"], found["none"], found["median_error"], found["p90_error"]) == (len(serving_rows()), 0, 0.0, 0.0)
    assert found["held"] is found["beyond"] is None


def test_errors_are_relative_to_the_measurement_and_their_spread_is_told() -> None:
    """Ten rows off by 10, 20, … 100 %: the median is 55 %, nine of ten are within 90 %."""
    factors = iter([1.1, 0.8, 1.3, 0.6, 1.5, 0.4, 1.7, 0.2, 1.9, 2.0])
    found = figures_of(scored_rows(lambda r: r.value * next(factors), serving_rows()[:10]))
    assert found["median_error"] == pytest.approx(0.55)
    assert found["p90_error"] == pytest.approx(0.9)


def test_no_answer_is_counted_and_not_scored() -> None:
    found = figures_of(scored_rows(lambda r: r.value if r.split == "fit" else None))
    assert found["n"] == sum(r.split == "fit" for r in serving_rows())
    assert found["none"] == sum(r.split == "holdout" for r in serving_rows())
    assert figures_of(scored_rows(lambda r: None, [ROW])) == {
        "n": 0, "none": 1, "median_error": None, "p90_error": None, "held": None, "beyond": None,
    }  # fmt: skip


@pytest.mark.parametrize("row", [ROW, RATE], ids=lambda r: r.metric)
def test_an_interval_holds_what_is_in_it(row: ServingRow) -> None:
    v = row.value
    inside, below, above = (Scored(row, Prediction(v, v * low, v * high)).held for low, high in ((0.9, 1.1), (1.01, 2.0), (0.5, 0.99)))
    assert (inside, below, above) == (True, False, False)
    assert Scored(row, Prediction(v)).held is None


@pytest.mark.parametrize(("row", "good"), [(ROW, 0.9), (RATE, 1.1)], ids=["time", "rate"])
def test_a_time_below_its_bound_or_a_rate_above_it_is_beyond(row: ServingRow, good: float) -> None:
    v = row.value
    assert Scored(row, Prediction(v, bound=v * good)).beyond is False
    assert Scored(row, Prediction(v, bound=v / good)).beyond is True
    assert Scored(row, Prediction(v)).beyond is None


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_prediction_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=rf"{ROW.id}: the prediction"):
        scored_rows(lambda r: value, [ROW])


def test_every_row_is_in_one_group_of_every_cut() -> None:
    rows = scored_rows(lambda r: None)
    for cut in report.CUTS:
        assert sum(f["none"] for f in report.by(rows, cut).values()) == len(rows), cut
    assert set(report.by(rows, "load")) == {"concurrency", "concurrency, requests wait", "arrivals", "offline", "overloaded"}
    assert set(report.by(rows, "model")) == {"dense", "mixture of experts"}


@pytest.mark.parametrize(
    ("concurrency", "prompt", "output", "requests", "tokens"),
    [
        (4, 1024, 1024, "to 4", "to 8"),
        (16, 1024, 1024, "4–16", "8–32"),
        (17, 1024, 512, "16–64", "32–128"),
        (300, 8192, 8, "above 256", "above 512"),
    ],
)
def test_bands_are_of_what_the_load_is(concurrency: float, prompt: float, output: float, requests: str, tokens: str) -> None:
    row = dataclasses.replace(ROW, concurrency=concurrency, prompt_tokens=prompt, output_tokens=output)
    assert report.CUTS["concurrent requests"](row) == requests
    assert report.CUTS["prompt tokens a decode step"](row) == tokens


def test_the_report_names_what_is_furthest_off_and_what_is_beyond_the_bound() -> None:
    few = [ROW, dataclasses.replace(ROW, id="FAR-1"), dataclasses.replace(RATE, id="BEYOND-1", split="holdout")]

    def predict(row: ServingRow) -> Prediction:
        return Prediction(row.value * (3.0 if row.id == "FAR-1" else 1.01), bound=row.value * (0.5 if row.id.startswith("BEYOND") else 0.1))

    text = report.report(scored_rows(predict, few))
    held_out, furthest = text.index("## Held out"), text.index("## Furthest off")
    assert held_out < text.index("## Fitted") < furthest < text.index("| FAR-1") < text.index("## Beyond the bound")
    assert text.index("| FAR-1") < text.index(f"| {ROW.id}")
    beyond = text[text.index("## Beyond the bound") : text.index("## Sources")]
    assert "BEYOND-1" in beyond
    assert "FAR-1" not in beyond


def test_bands_are_in_the_order_of_their_numbers() -> None:
    text = report.report(scored_rows(lambda r: r.value))
    names = ["| to 4 |", "| 4–16 |", "| 16–64 |", "| 64–256 |", "| above 256 |", "| arrivals |"]
    part = text[text.index("By concurrent requests") :]
    assert [part.index(n) for n in names] == sorted(part.index(n) for n in names)
