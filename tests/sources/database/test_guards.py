"""Guards over the whole database: what follows from it is fresh, lines only get faster, independent tables agree."""

from __future__ import annotations

import csv
import json
import tomllib
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from sol import load_gpu
from sol.sources.database.database import gpu_ids
from sol.sources.database.tomlfiles import data_root
from tools import generate

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests" / "fixtures"


@pytest.mark.contract
@pytest.mark.parametrize("path", generate.generated(), ids=lambda p: str(p.relative_to(ROOT)))
def test_what_follows_from_the_data_is_fresh(path: Path) -> None:
    text, expected = path.read_text(encoding="utf-8"), generate.generated()[path]
    same = json.loads(text) == json.loads(expected) if path.suffix == ".json" else text == expected
    assert same, f"{path.relative_to(ROOT)} is stale; run python -m tools.generate and look at what changed"


TOML_FILES = sorted(data_root().glob("*/*.toml"))
SCHEMA_OF = {
    "gpus": "device", "engines": "engine", "formats": "format", "links": "link", "models": "model", "calibrations": "calibration",
    "kernels": "kernel", "reported": "reported", "measured": "source", "pools": "source", "serving": "source",
    "engine-classes": "engine-class", "totals": "total", "defaults": "default-engine", "collectives": "library", "prompts": "prompt-times",
}  # fmt: skip
OF_ITS_OWN = ("engine-classes", "totals", "defaults", "prompts")  # files with another schema than their folder's


@lru_cache
def validator(name: str) -> Any:
    """The validator of a schema, built once."""
    jsonschema = pytest.importorskip("jsonschema")  # comes with the notebook tools
    schema = json.loads((data_root() / "schema" / name).read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def dates_as_text(value: Any) -> Any:
    """TOML's dates as text, as editors hand them to a schema."""
    if isinstance(value, dict):
        return {key: dates_as_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [dates_as_text(inner) for inner in value]
    return value.isoformat() if isinstance(value, date) else value


@pytest.mark.contract
@pytest.mark.parametrize("path", TOML_FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_file_satisfies_the_schema_its_first_line_names(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    name = f"{SCHEMA_OF[path.stem if path.stem in OF_ITS_OWN else path.parent.name]}.schema.json"
    assert text.splitlines()[0] == f"#:schema ../schema/{name}"
    assert (path.parent / "../schema" / name).is_file()
    data = dates_as_text(tomllib.loads(text))
    first = next(validator(name).iter_errors(data), None)
    assert first is None, f"{list(first.absolute_path)}: {first.message}"
    records = [key for key in data if key != "sources"]
    assert records
    for record_id in records:
        beside = {"sources": data["sources"]} if "sources" in data else {}
        assert validator(name).is_valid({**beside, record_id: data[record_id]})
        assert not validator(name).is_valid({**beside, record_id: {**data[record_id], "colour": record_id}})


@pytest.mark.contract
@pytest.mark.parametrize(
    ("folder", "field", "wrong"),
    [
        ("gpus", "memory_bytes_per_s", {"value": "3.35e12", "source": "x", "evidence": "A", "printed": "3.35TB/s"}),
        ("gpus", "memory_bytes_per_s", 3.35e12),
        ("links", "per_direction_bytes_per_s", {"value": 0, "source": "x", "evidence": "A", "printed": "0"}),
        ("formats", "bits", "8"),
        ("calibrations", "mbu", "0.8"),
        ("calibrations", "id", "x"),
        ("kernels", "gemm", {"bf16": {"framework": "vllm"}}),
        ("reported", "source", 1),
        ("sources", "x", {"title": "x", "kind": "rumour", "url": "https://example.com"}),
    ],
)
def test_the_schema_of_a_file_refuses_a_wrong_field(folder: str, field: str, wrong: Any) -> None:
    """The record is right as it stands in the file, and wrong with this one field."""
    path = next(p for p in TOML_FILES if p.parent.name == ("gpus" if folder == "sources" else folder) and p.stem not in OF_ITS_OWN)
    data = dates_as_text(tomllib.loads(path.read_text(encoding="utf-8")))
    record_id = "sources" if folder == "sources" else next(key for key in data if key != "sources")
    check = validator(f"{SCHEMA_OF[path.parent.name]}.schema.json")
    assert check.is_valid(data)
    data[record_id] = {**data[record_id], field: wrong}
    assert not check.is_valid(data)


@pytest.mark.contract
def test_newer_parts_are_never_slower_without_a_note() -> None:
    lines: dict[str, list[str]] = {}
    for gpu_id in gpu_ids():
        if line := load_gpu(gpu_id).line:
            lines.setdefault(line, []).append(gpu_id)
    assert len(lines) >= 15
    compared = 0
    for members in lines.values():
        assert len(members) > 1
        for old in map(load_gpu, members):
            for new in map(load_gpu, members):
                if (old.year or 0) >= (new.year or 0):
                    continue
                rates = {"memory_bytes_per_s": (old.memory_bytes_per_s, new.memory_bytes_per_s)}
                rates |= {f"flops_per_s.{c}": (r, new.flops_per_s[c]) for c, r in old.flops_per_s.items() if c in new.flops_per_s}
                for field, (before, after) in rates.items():
                    compared += 1
                    explained = "slower than" in (new.cites[field].note or "")
                    assert after >= before * (1 - 1e-3) or explained, f"{new.id} {field} is slower than {old.id}, and no note says so"
    assert compared > 100


@pytest.mark.contract
def test_no_measurement_exceeds_its_ceiling() -> None:
    rows = list(csv.DictReader((FIXTURES / "achieved.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) >= 40
    for row in rows:
        gpu, measured = load_gpu(row["gpu"]), float(row["measured"])
        field, _, compute = row["field"].partition(".")
        limit = gpu.ceiling(compute) if compute else getattr(gpu, field)
        assert limit is not None, row
        assert measured <= limit, f"{row['gpu']} {row['field']}: {row['printed']} measured, above {limit:g}"
        assert measured >= 0.35 * limit, (
            f"{row['gpu']} {row['field']}: {row['printed']} is so far below {limit:g} that one of them is wrong"
        )


# Dense bf16 peaks [TFLOP/s] as an independent training code has them: github.com/karpathy/nanochat, nanochat/common.py
NANOCHAT = {
    "gb200": 2500, "b200-sxm": 2250, "h200-nvl": 836, "h200-sxm": 989, "h100-nvl": 835, "h100-pcie": 756, "h100-sxm": 989,
    "a100-sxm-80gb": 312, "a800-sxm": 312, "a40": 149.7, "a30": 165, "l40s": 362, "l4": 121, "mi355x": 2500, "mi325x": 1307.4,
    "mi300x": 1307.4, "mi250x": 383, "rtx-5090": 209.5, "rtx-4090": 165.2, "rtx-3090": 71,
}  # fmt: skip


@pytest.mark.truth
@pytest.mark.parametrize("gpu_id", NANOCHAT)
def test_bf16_peaks_agree_with_an_independent_table(gpu_id: str) -> None:
    assert load_gpu(gpu_id).flops_per_s["bf16"] / 1e12 == pytest.approx(NANOCHAT[gpu_id], rel=0.01)


@pytest.mark.contract
def test_key_parts_have_first_hand_evidence_or_say_what_was_looked_for() -> None:
    families = (
        "h100-sxm h100-pcie h100-nvl h200-sxm b200-sxm gb200 b300-sxm a100-sxm-80gb a100-sxm-40gb a100-pcie-80gb a100-pcie-40gb l40s l4 t4",
        "v100-sxm-16gb v100-sxm-32gb v100-pcie rtx-3090 rtx-4090 rtx-5090 rtx-6000-ada jetson-agx-orin-64gb jetson-agx-thor dgx-spark",
        "mi300x mi355x tpu-v5e tpu-v6e apple-m1-max apple-m2-max apple-m3-max apple-m4-max apple-m2-ultra apple-m3-ultra",
        "apple-m5-max apple-m5-ultra",
    )
    key_parts = " ".join(families).split()
    for gpu_id in key_parts:
        gpu = load_gpu(gpu_id)
        fields = [
            "memory_bytes",
            "memory_bytes_per_s",
            "tdp_w",
            *(f"flops_per_s.{c}" for c in ("bf16", "fp16", "fp8", "int8") if gpu.peak(c)),
        ]
        weak = [f for f in fields if f not in gpu.cites or gpu.cites[f].evidence != "A"]
        assert not weak or gpu.note, f"{gpu_id}: {weak} without first-hand evidence, and the record does not say what was looked for"
