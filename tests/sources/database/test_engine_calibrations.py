"""Which calibration is meant: an engine at a version, a version without rows, no engine at all."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from sol import Calibration, InvalidInput, MissingSpec, UnknownName, estimate, load_calibration, save_calibration
from sol.answers.calibrate.accuracy import score
from sol.sources.database import engine_calibrations as module
from sol.sources.database.calibrations import by_device, default_engines, engine_classes
from sol.sources.database.engine_calibrations import default_calibration, engine_class, shipped_calibration
from sol.sources.database.measured import MeasuredRow, measured_rows
from tools import derive_defaults, version_epochs

AGES = {"0.6.3": "0.8.5", "0.12": "0.15.1", "0.18": "0.20.1"}
"""The first and the last version of three calibrations of one engine."""


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> list[Calibration]:
    """A database of one engine on one device, timed at three ages, and of one that was named with its version."""
    ages = [Calibration(id=f"h-{a}", gpu="h100-sxm", engine="vllm", versions=(a, b), mbu=0.5) for a, b in AGES.items()]
    old = Calibration(id="old", gpu="h100-sxm", engine="vllm-0.4", mbu=0.4)
    of_class = Calibration(id="class", gpu="h100-sxm", engine="graph")
    found = {"h100-sxm": {"vllm": ages, "vllm-0.4": [old], "graph": [of_class]}}
    monkeypatch.setattr(module, "ages_by_device", lambda: found)
    monkeypatch.setattr(module, "by_device", lambda: {g: {e: a[-1] for e, a in engines.items()} for g, engines in found.items()})
    return ages


@pytest.mark.law
@pytest.mark.parametrize(
    ("asked", "first", "told"),
    [
        ("vllm", "0.18", ""), ("vllm@0.15", "0.12", ""), ("vllm@0.15.1", "0.12", ""), ("vllm@0.20", "0.18", ""), ("VLLM@0.8", "0.6.3", ""),
        ("vllm@0.18.1", "0.18", ""), ("vllm@0.21", "0.18", "no rows of vllm 0.21 on h100-sxm: those of 0.18 to 0.20.1, the nearest"),
        ("vllm@0.16", "0.18", "no rows of vllm 0.16 on h100-sxm: those of 0.18 to 0.20.1"),
        ("vllm@0.15.2", "0.18", "no rows of vllm 0.15.2"), ("vllm@0.5", "0.6.3", "those of 0.6.3 to 0.8.5, the nearest"),
    ],
)  # fmt: skip
def test_a_version_is_of_the_rows_that_hold_it_or_of_the_nearest(aged: list[Calibration], asked: str, first: str, told: str) -> None:
    found = shipped_calibration("h100-sxm", asked)
    assert found.versions[0] == first
    assert found.engine == asked.lower()
    assert told in found.stands_for
    assert bool(told) == bool(found.stands_for)


@pytest.mark.law
def test_an_engine_named_with_its_version_is_that_version(aged: list[Calibration]) -> None:
    assert shipped_calibration("h100-sxm", "vllm@0.4").id == "old"
    assert shipped_calibration("h100-sxm", "vllm@0.4.2").id == "h-0.6.3"
    assert "0.4" in shipped_calibration("h100-sxm", "vllm@0.2").stands_for
    class_of_it = shipped_calibration("h100-sxm", "sglang@0.4.6")
    assert class_of_it.id == "class"
    assert "graph engines stand for sglang 0.4.6" in class_of_it.stands_for


@pytest.mark.contract
def test_the_first_assumption_says_what_stands_for_what_was_asked() -> None:
    e = estimate("llama-3.1-8b", "h100", ctx=2048, engine="vllm@0.99")
    lines = [a for a in e.assumptions if a.kind == "calibration"]
    assert "0.99" in lines[0]
    assert e.latency_s == estimate("llama-3.1-8b", "h100", ctx=2048, engine="vllm").latency_s
    assert e.to_dict()["inputs"]["engine"] == "vllm@0.99"
    with pytest.raises(UnknownName, match=r"^no version 'main' of vllm; give one such as vllm@0\.15$"):
        shipped_calibration("h100-sxm", "vllm@main")
    with pytest.raises(MissingSpec, match="no calibration of vllm on rtx-4090"):
        shipped_calibration("rtx-4090", "vllm@0.15")
    assert [engine_class(n) for n in ("vllm@0.15", "transformers@4.46", "nothing@1")] == ["graph", "eager", None]


@pytest.mark.contract
def test_a_calibration_keeps_its_versions_in_a_file(tmp_path: Path) -> None:
    c = Calibration(id="own", gpu="h100-sxm", engine="vllm", versions=("0.12", "0.20"), mbu=0.5, stands_for="something asked")
    save_calibration(c, tmp_path / "own.toml")
    assert load_calibration(tmp_path / "own.toml").model_dump() == c.model_dump() | {"stands_for": ""}
    for wrong in (("0.20", "0.12"), ("main", "0.12"), ("0.12",)):
        with pytest.raises(InvalidInput, match="versions"):
            Calibration(gpu="h100-sxm", engine="vllm", versions=wrong)


@pytest.mark.truth
def test_no_engine_named_is_no_worse_than_the_best_that_could_be() -> None:
    """On the rows of all servers of a device the default's median error is within a percentage point of the best calibration's."""
    said = default_engines()
    for gpu, engines in by_device().items():
        found = {c.engine: c.error for c in derive_defaults.candidates(gpu)}
        if len(found) < 2:
            assert gpu not in said
            continue
        used = default_calibration(gpu)
        rows = derive_defaults.servers_rows(gpu)
        own = median(abs(score(r, used).error) for r in rows)
        assert own == pytest.approx(found[used.engine], rel=1e-9)
        assert own <= min(found.values()) + 0.01, f"{gpu}: run python -m tools.derive_defaults"
        assert used.engine in engines
        assert engine_classes()[used.engine] == "graph"
        assert used.stands_for.startswith(f"no engine is named: {used.engine}")


def row(id: str, version: str, batch: float = 8.0, **changed: object) -> MeasuredRow:
    """A row like those of the database, of some version."""
    some = next(r for r in measured_rows() if r.phase == "decode" and r.engine == "vllm")
    return replace(some, id=id, version=version, batch=batch, ctx=1000.0, source="here", **changed)  # type: ignore[arg-type]


def epochs_of(slower: dict[str, float], batches: dict[str, float] | None = None) -> list[tuple[str, str, int]]:
    """The epochs of four rows of each version that take so much longer than the oldest [1]."""
    rows = [row(f"{v}-{i}", v, (batches or {}).get(v, 8.0)) for v in slower for i in range(4)]
    errors = {r.id: -math.log1p(slower[r.version]) + 0.01 * (int(r.id[-1]) - 1.5) for r in rows}
    return [(e.first, e.last, len(e.rows)) for e in version_epochs.epochs(rows, errors)]


@pytest.mark.law
def test_versions_part_where_rows_of_one_setting_differ() -> None:
    assert epochs_of({"0.9": 0.0, "0.10": 0.05, "0.15": -0.05}) == [("0.9", "0.15", 12)]
    assert epochs_of({"0.9": 0.0, "0.10": 0.02, "0.15": -0.15}) == [("0.9", "0.10", 8), ("0.15", "0.15", 4)]
    assert epochs_of({"0.9": 0.0, "0.10": 0.4, "0.15": 0.0}) == [("0.9", "0.9", 4), ("0.10", "0.10", 4), ("0.15", "0.15", 4)]
    assert epochs_of({"0.9": 0.0, "0.15": -0.5}, {"0.15": 64.0}) == [("0.9", "0.15", 8)]  # another setting is no evidence
    assert epochs_of({"0.9": 0.0, "": 0.0, "0.15": -0.5}) == [("0.9", "0.9", 4), ("0.15", "0.15", 8)]
    assert epochs_of({"": 0.0, "NIM 1.8": 0.4}) == [("", "", 8)]
