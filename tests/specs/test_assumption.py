"""Assumptions as data: every line of an answer has a kind, which survives copying and stands in the JSON document."""

from __future__ import annotations

import copy
import pickle
from typing import Any, get_args

import pytest

from sol import collective, compare, estimate, floor, memory, offload, plan, pools
from sol.specs.assumption import Assumption, AssumptionKind

pytestmark = pytest.mark.contract
ANSWERS = {
    "floor": lambda: floor("llama-3.1-8b", "h100", ctx=2048),
    "floor over devices": lambda: floor("mixtral-8x7b", "h100", ctx=2048, batch=8, tp=2, pp=2, ep=2, dtype="fp8"),
    "estimate": lambda: estimate("llama-3.1-8b", "h100", ctx=2048, engine="vllm"),
    "compare": lambda: compare("llama-3.1-8b", "h100", ctx=2048, measured_s=0.02),
    "memory": lambda: memory("llama-3.1-8b", "h100", ctx=2048, engine="vllm"),
    "offload": lambda: offload("llama-3.1-70b", "h100", ctx=2048),
    "collective": lambda: collective("all_reduce", "h100", message_bytes=1e6, ranks=8),
    "plan": lambda: plan("llama-3.1-70b", "h100", devices=4, ctx=2048),
    "pools": lambda: pools("llama-3.1-8b", "h100", devices=2, prompt_tokens=1024, output_tokens=128),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_assumption_of_every_answer_has_a_kind(name: str) -> None:
    answer: Any = ANSWERS[name]()
    assert answer.assumptions
    for line in answer.assumptions:
        assert isinstance(line, Assumption), line
        assert line.kind in get_args(AssumptionKind)
    document = answer.to_dict()
    assert document["assumptions"] == list(answer.assumptions)
    assert document["assumption_kinds"] == [line.kind for line in answer.assumptions]
    assert all(type(line) is str for line in document["assumptions"])


def test_memory_is_of_no_step_so_it_assumes_nothing_of_one() -> None:
    of_step = {"cold_cache", "no_skipped_work"}
    assert of_step <= {a.kind for a in floor("llama-3.1-8b", "h100", ctx=2048).assumptions}
    assert not of_step & {a.kind for a in memory("llama-3.1-8b", "h100", ctx=2048).assumptions}


def test_the_kind_of_weights_says_whether_they_were_asked_for() -> None:
    assert floor("llama-3.1-8b", "h100", ctx=1, dtype="fp8").assumptions[0].kind == "asked_weights"
    assert floor("llama-3.1-8b", "h100", ctx=1).assumptions[0].kind == "weights"


def test_a_copy_keeps_text_and_kind() -> None:
    line = floor("llama-3.1-8b", "h100", ctx=1).assumptions[0]
    for again in (pickle.loads(pickle.dumps(line)), copy.deepcopy(line), copy.copy(line)):
        assert (again, again.kind) == (line, line.kind)
