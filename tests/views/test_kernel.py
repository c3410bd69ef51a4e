"""In a notebook: text is text, and an answer is shown once. Run in a real Jupyter kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

import sol

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.contract
ANSWERS = {
    "floor": 'sol.floor("qwen2.5-7b", "h100", ctx=2048)',
    "sweep": 'sol.floor("qwen2.5-7b", "h100", ctx=[1, 2048])',
    "estimate": 'sol.estimate("qwen2.5-7b", "h100", ctx=2048)',
    "compare": 'sol.compare("qwen2.5-7b", "h100", measured_s=0.01697, ctx=2048)',
    "memory": 'sol.memory("qwen2.5-7b", "h100", ctx=2048)',
    "offload": 'sol.offload("llama-3.1-70b", "h100", ctx=2048)',
    "plan": 'sol.plan("llama-3.1-8b", "h100", devices=[1, 2], ctx=2048)',
    "deployment": 'sol.plan("llama-3.1-8b", "h100", devices=[1, 2], prompt_tokens=512, output_tokens=128, concurrency=8)',
    "pools": 'sol.pools("llama-3.1-8b", "h100", devices=2, prompt_tokens=512, output_tokens=128)',
    "collective": 'sol.collective("all_reduce", "h100", message_bytes=1e6, ranks=8)',
    "ab": 'sol.ab(sol.read_measurements("hardware_db/measured/pytorch-sessions.csv"))',
    "table": 'sol.table(gpus="h100,l4")',
    "sources": 'sol.floor("qwen2.5-7b", "h100", ctx=2048).sources()',
    "explain": 'sol.floor("qwen2.5-7b", "h100", ctx=2048).explain()',
}
WAYS = ("", "print(answer)", "print(len(str(answer)))", "print(answer.to_text(100))")


@pytest.fixture(scope="module")
def shown() -> dict[str, list[list[Any]]]:
    """What each answer shows at the end of a cell, and by each of `WAYS`."""
    cells = [new_code_cell("import sol")]
    for answer in ANSWERS.values():
        cells += [new_code_cell(f"answer = {answer}\n{way or 'answer'}") for way in WAYS]
    notebook = new_notebook(cells=cells)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = iter(cell.outputs for cell in notebook.cells[1:])
    return {name: [next(outputs) for _ in WAYS] for name in ANSWERS}


def printed(outputs: list[Any]) -> str:
    assert {o.output_type for o in outputs} <= {"stream"}, "rich content from a print"
    return "".join(o.text for o in outputs)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_cell_shows_an_answer_once(shown: dict[str, list[list[Any]]], name: str) -> None:
    (output,) = shown[name][0]
    assert output.output_type == "execute_result"
    assert set(output.data) == {"text/plain", "text/html"}
    assert output.data["text/plain"].strip()
    assert output.data["text/html"].count("<table") == (name != "explain")


@pytest.mark.parametrize("name", ANSWERS)
def test_text_in_a_kernel_is_the_text_of_a_plain_python(
    shown: dict[str, list[list[Any]]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    whole, length, wide = map(printed, shown[name][1:])
    assert int(length) == len(whole) - 1 > 100
    assert wide == eval(ANSWERS[name], {"sol": sol}).to_text(100) + "\n"
