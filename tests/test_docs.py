"""README and docs tell the truth: every `>>>` and every `$ sol …` prints what the page says it prints."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from sol.views.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "hardware_db" / "README.md"]
NOTATION = ROOT / "docs" / "notation.md"
FORMULA = re.compile(r"Σ|\bmax\(|\bmin\(|\(n ?− ?1\)|\d·|·\(|\)·|/\(|\)/")
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
WIDTH = "100"


def sessions(page: Path) -> list[tuple[str, str]]:
    """Each command of a page's console blocks with the output the page shows."""
    found = []
    for block in CONSOLE.findall(page.read_text(encoding="utf-8")):
        for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = piece.partition("\n")
            found.append((command, output.rstrip()))
    return found


def with_checkpoints(folder: Path) -> Path:
    """A folder with the files the pages speak of: the headers of published ones, and as many zeros as those have bytes of weights."""
    from sources.checkpoints.laying import lay_folder, lay_gguf
    from sources.checkpoints.test_gguf_models import QWEN_7B, dense, q4_k_m
    from sources.checkpoints.test_stored_models import CONFIG, FP8, QUANT, quantised, rest

    lay_gguf(folder / "Qwen2.5-Coder-7B-Instruct-Q4_K_M.gguf", dense("qwen2.5-coder-7b", "qwen2"), q4_k_m(**QWEN_7B))
    lay_folder(folder / "tiny-fp8", {**CONFIG, "quantization_config": QUANT["fp8"]}, quantised(FP8) + rest())
    return folder


COMMANDS = [(page, *session) for page in PAGES for session in sessions(page)]


@pytest.mark.contract
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_examples(page: Path) -> None:
    failed, _ = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


@pytest.mark.contract
@pytest.mark.parametrize(("page", "command", "shown"), COMMANDS, ids=[f"{p.name}: {c}" for p, c, _ in COMMANDS])
def test_commands(
    page: Path, command: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", WIDTH)
    if "./" in command:
        monkeypatch.chdir(with_checkpoints(tmp_path))
    name, *args = shlex.split(command)
    assert name == "sol"
    main(args)
    assert capsys.readouterr().out.rstrip() == shown, f"{page.name} is stale: {command}"


@pytest.mark.contract
@pytest.mark.parametrize(
    "page", [p for p in PAGES if p != NOTATION and FORMULA.search(p.read_text(encoding="utf-8"))], ids=lambda p: p.name
)
def test_a_page_with_a_formula_links_the_notation(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert NOTATION in [(page.parent / link).resolve() for link in links], f"{page.name} has a formula and no link to the notation page"


@pytest.mark.contract
def test_every_figure_of_a_floor_is_on_the_notation_page() -> None:
    from sol import floor

    page = NOTATION.read_text(encoding="utf-8")
    one, sweep = floor("llama-3.1-8b", "h100", ctx=2048, tp=2), floor("llama-3.1-8b", "h100", ctx=2048, tp=[1, 2, 3])
    outputs = one.to_dict()["outputs"]
    inputs = one.to_dict()["inputs"]
    keys = {*outputs, *sweep.to_dict()["outputs"], *outputs["operators"][0], *inputs} - {"model", "gpu"}
    assert "latency_s" in keys
    assert sorted(key for key in keys if f"`{key}`" not in page) == []


@pytest.mark.contract
def test_no_page_names_a_script_under_docs() -> None:
    stale = [page.name for page in PAGES if re.search(r"\bdocs/\w+\.py\b", page.read_text(encoding="utf-8"))]
    assert stale == []


@pytest.mark.contract
def test_every_path_of_the_layout_page_exists() -> None:
    text = (ROOT / "docs" / "layout.md").read_text(encoding="utf-8")
    roots = (ROOT, ROOT / "sol" / "physics", ROOT / "sol" / "answers", ROOT / "sol" / "views")
    paths = re.findall(r"`([\w./-]+/[\w./-]*)`", text)
    assert len(paths) > 40
    assert [p for p in paths if not any((root / p).exists() for root in roots)] == []


@pytest.mark.contract
def test_docstring_examples() -> None:
    import importlib
    import pkgutil

    import sol

    tried = 0
    for info in pkgutil.walk_packages(sol.__path__, "sol."):
        if info.name == "sol.__main__":
            continue
        result = doctest.testmod(importlib.import_module(info.name))
        assert result.failed == 0, info.name
        tried += result.attempted
    assert tried >= 10
