"""What the package promises as a package: light imports, callable names, imports that point down, data in the wheel."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", sol.__all__)
def test_every_public_name_is_callable_in_a_fresh_process(name: str) -> None:
    assert fresh(f"import sol; print(callable(sol.{name}))").strip() == "True"


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="floor"):
        sol.flor  # noqa: B018


def test_imports_point_down() -> None:
    run = subprocess.run([str(Path(sys.executable).parent / "lint-imports")], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stdout


def test_physics_names_no_device_model_or_vendor() -> None:
    for path in (ROOT / "sol" / "physics").glob("*.py"):
        text = path.read_text(encoding="utf-8").lower()
        for word in ("nvidia", "h100", "toml", "click", "import requests"):
            assert word not in text, f"{path.name} says {word}"


def test_files_stay_small() -> None:
    for path in (ROOT / "sol").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 310, path


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
