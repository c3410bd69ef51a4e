"""Tiny models of every kind that is read, against counts taken from transformers' own classes (tests/independent)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sol import floor
from sol.sources.config_json import KINDS, read_config
from sol.specs.model import Model
from sol.specs.record import Source

FIXTURE = Path(__file__).parent.parent / "fixtures" / "transformers_kinds.json"
CASES = [c for c in json.loads(FIXTURE.read_text())["cases"] if c["kind"] in KINDS]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['kind']}-{c['case']}")


def read(config: dict[str, Any]) -> Model:
    return read_config({"torch_dtype": "bfloat16", **config}, "fixture", model_id="tiny", source=Source(title="transformers", kind="user"))


def test_every_kind_that_is_read_has_a_case() -> None:
    assert {c["kind"] for c in CASES} == set(KINDS)


@every_case
def test_parameters_are_those_of_the_class(case: dict[str, Any]) -> None:
    for config in (case["config"], case.get("given")):
        if config is not None:
            assert read(config).parameters == case["parameters"]


@every_case
def test_flops_are_those_of_one_forward_pass(case: dict[str, Any]) -> None:
    """The counter sees the whole square of attention; what is needed is the causal part, (n + 1) / 2n of it."""
    counted = case["flops"]
    n, square = counted["tokens"], counted["attention"]
    f = floor(read(case["config"]), "h100", ctx=n, phase="prefill", logits="all")
    assert f.flops == pytest.approx(counted["total"] - square + square * (n + 1) / (2 * n), rel=1e-12)
