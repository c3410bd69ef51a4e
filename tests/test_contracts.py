"""What the package promises as a package: light imports, callable names, imports that point down, data in the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sol

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.contract


def fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_sol_is_light() -> None:
    heavy = "{'matplotlib', 'scipy', 'huggingface_hub', 'click', 'rich', 'numpy', 'pydantic'}"
    assert fresh(f"import sys, sol; print(sorted({heavy} & set(sys.modules)))").strip() == "[]"


def test_an_answer_in_python_pulls_no_chart_terminal_or_network_library() -> None:
    heavy = "{'matplotlib', 'scipy', 'huggingface_hub', 'click', 'rich'}"
    code = f"import sys, sol; sol.floor('qwen2.5-7b', 'h100', ctx=1).to_dict(); print(sorted({heavy} & set(sys.modules)))"
    assert fresh(code).strip() == "[]"


FORKED = """
import os, sys
import numpy, pydantic
import sol
for name in sol.__all__:
    if os.fork() == 0:
        print(name, callable(getattr(sol, name)), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def first_uses() -> dict[str, str]:
    """Whether each public name is callable, each in a process that has used no other."""
    return dict(line.split() for line in fresh(FORKED).splitlines())


@pytest.mark.parametrize("name", sol.__all__)
def test_every_public_name_is_callable_in_a_fresh_process(first_uses: dict[str, str], name: str) -> None:
    assert first_uses[name] == "True"


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="floor"):
        sol.flor  # noqa: B018


def test_imports_point_down() -> None:
    run = subprocess.run([str(Path(sys.executable).parent / "lint-imports")], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stdout


def test_no_import_leads_back_to_where_it_stands() -> None:
    """Imports inside functions and for types alone count too."""
    import grimp

    graph = grimp.build_graph("sol", cache_dir=None)
    imports = [(module, other) for module in graph.modules for other in graph.find_modules_directly_imported_by(module)]
    assert len(imports) > 500
    assert [pair for pair in imports if graph.find_shortest_chain(importer=pair[1], imported=pair[0])] == []


def test_physics_names_no_device_model_or_vendor() -> None:
    files = list((ROOT / "sol" / "physics").rglob("*.py"))
    assert len(files) > 20
    for path in files:
        text = path.read_text(encoding="utf-8").lower()
        for word in ("nvidia", "h100", "toml", "click", "import requests"):
            assert word not in text, f"{path.name} says {word}"


LONGEST = 300
LONGER: dict[str, str] = {}
"""Files of sol with more lines than that, and why."""
CROWDED = {
    "sol/specs": "one file per kind of record, which every floor shares",
    "sol/views/cli": "one file per command",
    "sol/sources/benchmarks/tools": "one file per tool",
}


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_stay_small() -> None:
    long = {str(p.relative_to(ROOT)): lines(p) for p in (ROOT / "sol").rglob("*.py") if lines(p) > LONGEST}
    assert long.keys() == LONGER.keys(), long


def test_a_folder_holds_one_kind_of_thing() -> None:
    """Past 15 modules it is two kinds, except where it is one file per command or a tool."""
    folders = {p.parent for p in (ROOT / "sol").rglob("*.py")}
    held = {str(f.relative_to(ROOT)): sum(p.name != "__init__.py" for p in f.glob("*.py")) for f in folders}
    assert {folder for folder, count in held.items() if count > 15} <= CROWDED.keys(), held


def test_tests_stand_in_the_rooms_of_what_they_test() -> None:
    """Every folder of tests below a floor of the library is a room of that floor."""
    for floor in ("physics", "specs", "sources", "answers", "views"):
        rooms = {p.name for p in (ROOT / "sol" / floor).iterdir() if p.is_dir()}
        assert {p.parent.name for p in (ROOT / "tests" / floor).glob("*/test_*.py")} <= rooms


def test_no_file_of_tests_names_a_path_of_some_machine() -> None:
    places = re.compile(r"(?<![\w.])/(home|Users|root|work|tmp|opt|mnt|var)/\w")
    found = {
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "tests").rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if places.search(line)
    }
    assert not found


@pytest.mark.slow
@pytest.mark.parametrize("how", ["from the sdist"])
def test_the_wheel_built_from_the_sdist_carries_the_data(tmp_path: Path, how: str) -> None:
    build = [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)]  # sdist first, then the wheel from it
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "hardware_db").rglob("*"):
        if path.is_file():
            assert f"sol/hardware_db/{path.relative_to(ROOT / 'hardware_db')}" in names
    assert "sol/py.typed" in names
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    answer = "import sol; print(sol.__file__, sol.floor('qwen2.5-7b', 'h100', ctx=2048).latency_s)"
    where, latency = fresh(f"import sys; sys.path.insert(0, {str(target)!r}); {answer}").split()
    assert where.startswith(str(target))
    assert float(latency) == sol.floor("qwen2.5-7b", "h100", ctx=2048).latency_s
