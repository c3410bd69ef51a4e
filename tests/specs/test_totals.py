"""Every built-in model whose total was published has exactly that many parameters."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from sol import load_model, memory
from sol.sources.database.database import model_ids

PUBLISHED = list(csv.DictReader((Path(__file__).parent.parent / "fixtures" / "model_totals.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.truth
@pytest.mark.parametrize("row", PUBLISHED, ids=[r["id"] for r in PUBLISHED])
def test_parameters_equal_the_published_total(row: dict[str, str]) -> None:
    assert row["source"]
    assert load_model(row["id"]).parameters == int(row["parameters"])
    published = re.match(r"published (\d+) ", row["note"])
    if published:  # what a checkpoint holds besides, each part by name
        parts = [(1 if sign == "plus" else -1) * int(n) for sign, n in re.findall(r"(less|plus) (\d+) \(", row["note"])]
        assert int(published.group(1)) + sum(parts) == int(row["parameters"])


@pytest.mark.truth
def test_layers_for_prediction_ahead_are_those_of_the_published_totals() -> None:
    """What is taken off for them in the fixture is what the model holds for them; GLM-4.5's copies of its tables apart."""
    for name in ("deepseek-v3", "deepseek-v3.2", "qwen3.5-27b", "glm-4.5", "glm-4.6", "glm-5"):
        note = next(r["note"] for r in PUBLISHED if r["id"] == name)
        assert load_model(name).mtp_parameters == int(re.findall(r"less (\d+) \(a layer", note)[0])


@pytest.mark.contract
def test_sixty_models_and_most_with_a_published_total() -> None:
    assert len(model_ids()) >= 60
    assert len(PUBLISHED) >= 0.85 * len(model_ids())
    for name in model_ids():
        model = load_model(name)
        assert load_model(str(model.hf_id)) is model
        assert load_model(str(model.hf_id).upper()) is model


@pytest.mark.truth
def test_bytes_of_published_quantised_checkpoints() -> None:
    """What the files hold, to the byte, by the format their config describes.

    gpt-oss-120b: the bytes of its tensors, 65,248,815,744, in its index (also in public inventories of its files).
    Kimi-K2.5: total_size 595,148,192,736 of its index; 69,120 expert matrices bring their shape as two 32-bit numbers, which nobody
    reads, and 60 layers keep 384 corrections in 32 bits.
    DeepSeek-V3: its files take 688,586,727,753 bytes; 91,991 tensors are named in their headers, some 130 bytes each.
    """
    assert memory("gpt-oss-120b", ctx=0).weight_bytes == 65_248_815_744
    assert memory("kimi-k2.5", ctx=0).weight_bytes == 595_148_192_736 - 60 * 384 * 3 * 8 - 60 * 384 * 2
    headers = 688_586_727_753 - memory("deepseek-v3", ctx=0).weight_bytes
    assert 100 < headers / 91_991 < 160
