"""Every built-in model whose total was published has exactly that many parameters."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sol import load_model
from sol.sources.database import model_ids

PUBLISHED = list(csv.DictReader((Path(__file__).parent.parent / "fixtures" / "model_totals.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.truth
@pytest.mark.parametrize("row", PUBLISHED, ids=[r["id"] for r in PUBLISHED])
def test_parameters_equal_the_published_total(row: dict[str, str]) -> None:
    assert row["source"]
    assert load_model(row["id"]).parameters == int(row["parameters"])


@pytest.mark.contract
def test_sixty_models_and_most_with_a_published_total() -> None:
    assert len(model_ids()) >= 60
    assert len(PUBLISHED) >= 0.85 * len(model_ids())
    for name in model_ids():
        model = load_model(name)
        assert load_model(str(model.hf_id)) is model
        assert load_model(str(model.hf_id).upper()) is model
