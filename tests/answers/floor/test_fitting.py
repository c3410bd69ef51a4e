"""What does not fit is refused by one rule, in the same words whoever asks."""

from __future__ import annotations

from typing import Any

import pytest

from sol import DoesNotFit, estimate, floor, memory

TOO_LARGE: list[dict[str, Any]] = [
    {"model": "llama-3.1-70b", "gpu": "h100", "ctx": 2048},
    {"model": "llama-3.1-70b", "gpu": "h100", "ctx": 131_072, "batch": 64, "tp": 4},
]


@pytest.mark.law
@pytest.mark.parametrize("asked", TOO_LARGE)
def test_a_floor_and_an_estimate_refuse_what_does_not_fit_in_the_same_words(asked: dict[str, Any]) -> None:
    refused = []
    for answer in (floor, estimate):
        with pytest.raises(DoesNotFit) as error:
            answer(**asked)
        refused.append(str(error.value))
    assert refused[0] == refused[1]
    held = memory(**asked, max_step_tokens=1)
    assert f"weights {held.weight_bytes / 1e9:.1f}, kv {held.kv_bytes / 1e9:.1f}" in refused[0]


@pytest.mark.law
def test_the_parts_of_what_does_not_fit_are_those_it_must_hold() -> None:
    with pytest.raises(DoesNotFit) as error:
        floor("llama-3.1-70b", "h100", ctx=2048)
    needed = float(str(error.value).split("fit: ")[1].split(" GB")[0])
    assert needed * 1e9 == pytest.approx(floor("llama-3.1-70b", "h100", ctx=[2048]).resident_bytes[0], abs=5e7)
