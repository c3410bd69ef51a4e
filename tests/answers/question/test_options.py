"""Options are the same in every question: one default, one meaning, and a name that is none of them is answered with the right one."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sol
from sol.answers.question import options
from sol.answers.question.ask import ask

ASKED: dict[str, dict[str, Any]] = {
    "floor": {"ctx": 2048},
    "estimate": {"ctx": 2048},
    "compare": {"ctx": 2048, "measured_s": 0.01},
    "memory": {"ctx": 2048},
    "offload": {"ctx": 2048},
    "table": {"ctx": 2048},
    "plan": {"ctx": 2048, "devices": 2},
    "pools": {"prompt_tokens": 512, "output_tokens": 128, "devices": 2},
}
TAKEN = {
    "floor": options.StepOptions,
    "estimate": options.EstimateOptions,
    "compare": options.StepOptions,
    "memory": options.MemoryOptions,
    "offload": options.OffloadOptions,
    "table": options.TableOptions,
    "plan": options.PlanOptions,
    "pools": options.PlanOptions,
}


def asked(name: str, **more: Any) -> Any:
    function: Callable[..., Any] = getattr(sol, name)
    return function("llama-3.1-70b" if name == "offload" else "llama-3.1-8b", "h100", **ASKED[name], **more)


@pytest.mark.contract
@pytest.mark.parametrize("name", ASKED)
def test_a_name_that_is_no_option_is_one_clear_line(name: str) -> None:
    with pytest.raises(sol.InvalidInput) as error:
        asked(name, kv_dtyp="fp8")
    assert str(error.value) == f"kv_dtyp: is not an option of {name}; use kv_dtype"


@pytest.mark.contract
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("tp_size", "tp"), ("tensor_parallel_size", "tp"), ("batch_size", "batch"), ("max_num_seqs", "batch"), ("context", "ctx"),
        ("quantization", "dtype"), ("phse", "phase"), ("max-model-len", "ctx"),
    ],
)  # fmt: skip
def test_the_name_that_is_meant(wrong: str, right: str) -> None:
    with pytest.raises(sol.InvalidInput) as error:
        asked("floor", **{wrong: 1})
    assert str(error.value) == f"{wrong}: is not an option of floor; use {right}"


@pytest.mark.contract
@pytest.mark.parametrize(
    ("name", "other"), [("offload", "tp"), ("estimate", "fusion"), ("plan", "tp"), ("table", "tp"), ("memory", "routing")]
)
def test_an_option_of_another_question_is_answered_with_those_of_this_one(name: str, other: str) -> None:
    with pytest.raises(sol.InvalidInput) as error:
        asked(name, **{other: 1})
    assert str(error.value).startswith(f"{other}: is not an option of {name}; its options are model, ")


@pytest.mark.contract
@pytest.mark.parametrize("name", ASKED)
def test_help_names_every_option_with_the_default_it_has(name: str) -> None:
    function = getattr(sol, name)
    shown = inspect.signature(function).parameters
    assert all(p.kind is not p.VAR_KEYWORD for p in shown.values())
    taken = set(TAKEN[name].__optional_keys__)
    assert taken <= set(shown)
    of_ask = inspect.signature(ask).parameters
    assert {key: shown[key].default for key in taken} == {key: of_ask[key].default for key in taken}
    written_out = asked(name, **{key: shown[key].default for key in taken})
    assert str(written_out) == str(asked(name))  # what is shown as the default is the default


@pytest.mark.contract
def test_a_step_has_every_option_there_is() -> None:
    of_ask = {name for name, p in inspect.signature(ask).parameters.items() if p.default is not p.empty} - {
        "ctx"
    }  # each question has its own
    assert options.StepOptions.__optional_keys__ == of_ask
    text = inspect.getdoc(sol.floor) or ""
    heads = {word.strip() for line in text.splitlines() if " : " in line for word in line.partition(" : ")[0].split(",")}
    assert of_ask | {"model", "gpu", "ctx"} <= heads


@pytest.mark.contract
def test_vllms_names_are_those_of_the_notation() -> None:
    page = (Path(sol.__file__).parent.parent / "docs" / "notation.md").read_text(encoding="utf-8")
    for theirs in options.OTHER_NAMES:
        assert f"`--{theirs.replace('_', '-')}`" in page, theirs


@pytest.mark.contract
def test_it_is_no_bug_to_a_program() -> None:
    code = "import sol\ntry: sol.floor('qwen2.5-7b', 'h100', ctx=1, tp_size=2)\nexcept sol.SolError as e: print(e.to_dict()['kind'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "InvalidInput"
