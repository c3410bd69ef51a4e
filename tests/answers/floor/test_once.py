"""Each answer builds and prices its operator rows once; what prints it prices nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sol import compare, estimate, floor, plan
from sol.answers.question import records
from sol.physics.network import sharding
from sol.physics.operators import forward_pass
from sol.physics.time import roofline

ASKED: dict[str, Any] = {"model": "qwen2.5-7b", "gpu": "h100", "ctx": 2048}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many lists of rows were built, and how many rows were priced."""
    found: Counter[str] = Counter()
    build, price = forward_pass.step_operators, roofline.price

    def built(*args: Any) -> Any:
        found["lists"] += 1
        rows = build(*args)
        found["rows"] += len(rows)
        return rows

    def priced(*args: Any) -> Any:
        found["priced"] += 1
        return price(*args)

    for module in (forward_pass, sharding):
        monkeypatch.setattr(module, "step_operators", built)
    monkeypatch.setattr(roofline, "price", priced)
    return found


ANSWERS: dict[str, Callable[[], Any]] = {
    "a floor": lambda: floor(**ASKED),
    "a small sweep": lambda: floor(**ASKED | {"ctx": np.array([128, 2048])}),
    "an estimate": lambda: estimate(**ASKED),
    "an estimate of a sweep": lambda: estimate(**ASKED, batch=[1, 8]),
}


@pytest.mark.law
@pytest.mark.parametrize("answer", ANSWERS)
def test_rows_are_built_once_and_priced_once(answer: str, counts: Counter[str]) -> None:
    result = ANSWERS[answer]()
    assert counts["lists"] == 1
    assert counts["priced"] == counts["rows"]
    for show in (str, repr, lambda r: r.to_dict(), lambda r: r._repr_html_(), lambda r: r.operators, lambda r: r.warnings):
        show(result)
    assert counts["lists"] == 1
    assert counts["priced"] == counts["rows"]


@pytest.mark.law
def test_an_explanation_prices_nothing(counts: Counter[str]) -> None:
    f = floor(**ASKED)
    priced = counts["priced"]
    f.explain()
    assert counts["priced"] == priced


@pytest.mark.law
@pytest.mark.parametrize("answer", [lambda: compare(**ASKED, measured_s=0.01), lambda: plan(**ASKED, devices=[1, 2, 4])])
def test_showing_prices_nothing(answer: Callable[[], Any], counts: Counter[str]) -> None:
    result = answer()
    lists = counts["lists"]
    for show in (str, repr, lambda r: r.to_dict(), lambda r: r._repr_html_()):
        show(result)
    assert counts["lists"] == lists


@pytest.mark.law
def test_a_comparison_reads_no_device_but_its_own_relatives_and_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    from sol.sources.database import database

    read: list[str] = []
    shipped = database._shipped_gpu.__wrapped__
    monkeypatch.setattr(database, "_shipped_gpu", lambda gpu_id, mode: read.append(gpu_id) or shipped(gpu_id, mode))
    compare(**ASKED, measured_s=0.5)
    others = set(read) - {"h100-sxm"}
    assert all(records.resolve_gpu(i).kind == "cpu" or i.startswith("h100") for i in others), others
