"""What mypy and pyright see of `sol`: a user's script is right, each mistake is red, and the façade's three lists agree."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

import sol

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIGHT, WRONG = HERE / "downstream.py", HERE / "wrong.py"

Red = dict[str, set[int]]
"""The lines with an error, by the name of the file."""


def ran(*command: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-m", *command, str(RIGHT), str(WRONG)], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 1, done.stdout + done.stderr  # 1: errors of types; more: the checker itself failed
    return done.stdout


def mypy(tmp_path: Path) -> Red:
    options = ["--strict", "--config-file=", "--cache-dir", str(tmp_path / "cache"), "--show-absolute-path", "--no-error-summary"]
    found: Red = {RIGHT.name: set(), WRONG.name: set()}
    # `sol` is not installed everywhere the tests run; of its own files nothing is reported, as of an installed package
    for line in ran("mypy", *options, "--follow-imports=silent", cwd=ROOT).splitlines():
        error = re.match(r"(?P<file>.+?):(?P<line>\d+): error:", line)
        if error:
            found[Path(error["file"]).name].add(int(error["line"]))
    return found


def pyright(tmp_path: Path) -> Red:
    found: Red = {RIGHT.name: set(), WRONG.name: set()}
    told = json.loads(ran("pyright", "--outputjson", "--pythonpath", sys.executable, cwd=ROOT))
    for error in told["generalDiagnostics"]:
        if error["severity"] == "error":
            found[Path(error["file"]).name].add(error["range"]["start"]["line"] + 1)
    return found


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_users_script_is_right_and_each_mistake_is_red(checker: Callable[[Path], Red], tmp_path: Path) -> None:
    """`.ci/run` sees to it that neither checker is missing there."""
    if find_spec(checker.__name__) is None:
        pytest.skip(f"{checker.__name__} is not installed: pip install -e '.[lint]'")
    red = {number for number, line in enumerate(WRONG.read_text(encoding="utf-8").splitlines(), 1) if line.endswith("# red")}
    assert len(red) > 20
    assert checker(tmp_path) == {RIGHT.name: set(), WRONG.name: red}


@pytest.mark.contract
def test_what_a_checker_sees_is_what_there_is() -> None:
    """The names of `_HOME`, of `__all__` and `dir`, and those imported for checkers alone: the same, from the same modules."""
    tree = ast.parse((ROOT / "sol" / "__init__.py").read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for name in node.names:
            assert name.name == name.asname, f"{name.name} is not exported: write it with `as {name.name}`"
            assert name.name not in seen
            seen[name.name] = node.module
    assert seen == sol._HOME
    assert sol.__all__ == sorted(sol._HOME)
    assert set(dir(sol)) == {*sol._HOME, "__version__"}


@pytest.mark.contract
def test_every_class_that_a_public_function_returns_is_public() -> None:
    functions = [f for f in (getattr(sol, name) for name in sol.__all__) if not isinstance(f, type)]
    returned = {word for f in functions for word in re.findall(r"[A-Za-z]+", f.__annotations__["return"])}
    methods = ("explain", "report", "sources", "table", "to_table")
    kinds = [kind for name in returned & set(sol.__all__) if isinstance(kind := getattr(sol, name), type)]
    assert len(kinds) > 12
    for kind in kinds:
        of = [getattr(kind, name) for name in methods if callable(getattr(kind, name, None))]
        returned |= {word for f in of for word in re.findall(r"[A-Za-z]+", f.__annotations__["return"])}
    assert returned - set(sol.__all__) == {"None", "float", "Axes", "Array"}


def said_any(module: str, names: set[str]) -> list[str]:
    """The public signatures and fields of these names that say `Any` on a line without a reason (`# any: …`)."""
    path = ROOT / (module.replace(".", "/") + ".py")
    text = path.read_text(encoding="utf-8")
    found = []
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name not in names:
            continue
        for part in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(part, ast.FunctionDef) and (not part.name.startswith("_") or part.name in ("__init__", "__getitem__")):
                given = (*part.args.posonlyargs, *part.args.args, *part.args.kwonlyargs, part.args.vararg, part.args.kwarg)
                said, last = [part.returns, *(a.annotation for a in given if a is not None)], part.body[0].lineno - 1
            elif isinstance(part, ast.AnnAssign) and not ast.unparse(part.target).startswith("_"):
                said, last = [part.annotation], part.lineno
            else:
                continue
            reason = "# any: " in "\n".join(text.splitlines()[part.lineno - 1 : last])
            if not reason and any(note is not None and re.search(r"\bAny\b", ast.unparse(note)) for note in said):
                found.append(f"{path.name}:{part.lineno}")
    return found


@pytest.mark.contract
def test_no_public_signature_says_any_without_a_reason() -> None:
    homes = {module: {name for name, home in sol._HOME.items() if home == module} for module in sol._HOME.values()}
    homes |= {"sol.answers.report.shown": {"Shown"}, "sol.specs.record": {"HandMade"}}  # what results and records are made of
    assert [where for module, names in homes.items() for where in said_any(module, names)] == []
