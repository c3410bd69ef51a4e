"""The shipped records: complete, sourced, resolved exactly, and the same however they are read."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from sol import BadFile, InvalidInput, Link, NumberFormat, UnknownName, floor, load_calibration, load_format, load_gpu
from sol.errors import SolError
from sol.sources.database import database
from sol.sources.database.tomlfiles import TomlRecords, data_root
from sol.specs.hardware import DeviceRecord
from sol.specs.record import Source

FIRST_TWELVE = [
    "h100-sxm", "h200-sxm", "b200-sxm", "a100-sxm-80gb", "l40s", "l4", "rtx-4090", "rtx-3090", "jetson-agx-orin-64gb", "mi300x",
    "apple-m2-ultra", "epyc-9654",
]  # fmt: skip
FILES = sorted(data_root().glob("*/*.toml"))
RECORD_FILES = [f for f in FILES if f.parent.name in ("gpus", "models", "formats")]


@pytest.mark.contract
def test_the_first_twelve_devices_are_there() -> None:
    assert set(FIRST_TWELVE) <= set(database.gpu_ids())


@pytest.mark.contract
@pytest.mark.parametrize("path", RECORD_FILES, ids=lambda p: p.name)
def test_a_record_cut_out_of_its_file_is_the_record_of_the_whole_file(path: Path) -> None:
    whole = tomllib.loads(path.read_text(encoding="utf-8"))
    sources = whole.pop("sources")
    file = TomlRecords(path)
    names = dict(file.ids())
    assert list(names) == list(whole)
    used = set()
    for record_id, aliases in names.items():
        table, cited = file.load(record_id)
        assert table == whole[record_id]
        assert all(sources[k] == v for k, v in cited.items())
        assert aliases == whole[record_id].get("aliases", [])
        used |= set(cited)
    assert used == set(sources), "a source that no number names"


@pytest.mark.contract
@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_source_has_a_title_and_can_be_found(path: Path) -> None:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    for key, source in data.get("sources", data if path.parent.name in ("measured", "pools", "serving") else {}).items():
        checked = Source(**source)
        assert checked.title, key
        assert checked.checked is not None, key
        assert checked.url is None or checked.url.startswith(("https://", "http://")), key
        assert "fate-oracle" not in (checked.url or "")


@pytest.mark.contract
@pytest.mark.parametrize("gpu_id", database.gpu_ids())
def test_every_device_loads_with_a_source_for_every_number(gpu_id: str) -> None:
    gpu = load_gpu(gpu_id)  # loading parses every printed word and recomputes every formula
    numbers = {"memory_bytes_per_s": gpu.memory_bytes_per_s}
    numbers |= {f"flops_per_s.{k}": v for k, v in gpu.flops_per_s.items()}
    numbers |= {f"ceiling_flops_per_s.{k}": v for k, v in gpu.ceiling_flops_per_s.items()}
    other = ("last_level_cache_bytes", "sm_count", "clock_hz", "max_clock_hz", "tdp_w")
    numbers |= {k: v for k in other if (v := getattr(gpu, k)) is not None}
    for field, value in numbers.items():
        cite = gpu.cites[field]
        assert cite.value == value
        assert cite.evidence in "ABCD"
        assert (cite.formula is None) == (cite.printed is not None)
    assert not gpu.lacks & set(gpu.flops_per_s), "a format both lacking and rated"
    for compute, ceiling in gpu.ceiling_flops_per_s.items():
        assert ceiling >= (gpu.peak(compute) or 0.0)
    for mode in gpu.power_modes:
        slower = load_gpu(f"{gpu_id}@{mode}")
        assert slower.id == f"{gpu_id}@{mode}"
        assert slower.clock_hz
        assert gpu.clock_hz
        speed = slower.clock_hz * (slower.sm_count or 1) / (gpu.clock_hz * (gpu.sm_count or 1))
        for compute, rate in slower.flops_per_s.items():
            assert rate == pytest.approx(gpu.flops_per_s[compute] * speed, rel=0.02), "a mode's rate follows its clock and units"


@pytest.mark.contract
def test_no_name_stands_for_two_things_in_any_letter_case() -> None:
    for folder in ("gpus", "models", "formats"):
        names: dict[str, str] = {}
        for path in sorted((data_root() / folder).glob("*.toml")):
            file = TomlRecords(path)
            for record_id, aliases in file.ids():
                for name in (record_id, *aliases):
                    assert names.setdefault(database.fold(name), record_id) == record_id, f"{name} is {names[database.fold(name)]} too"


@pytest.mark.truth
def test_the_traps_peers_fell_into() -> None:
    h100, a100, rtx = load_gpu("h100"), load_gpu("a100"), load_gpu("4090")
    assert h100.flops_per_s["bf16"] == 989.4e12  # dense; 1,979 is sparse
    assert h100.memory_bytes == 81559 * 2**20  # as the driver says; not 80e9, not 80 GiB
    assert "fp8" in a100.lacks
    assert a100.memory_bytes_per_s == 2.039e12  # the 80 GB card, not the 40 GB card's 1.555e12
    assert rtx.flops_per_s["fp16"] == 165.2e12  # fp32 accumulation
    assert rtx.ceiling("fp16") == pytest.approx(330.3e12 * 3150 / 2520, rel=1e-3)  # fp16 accumulation, at the maximum clock
    assert h100.link is not None
    assert h100.link.per_direction_bytes_per_s == 450e9  # 900 is both directions
    assert load_gpu("orin").flops_per_s["int8"] < 90e12  # the headline 275 is sparse and counts the DLA
    assert load_gpu("mi300x").flops_per_s["bf16"] == 1307.4e12  # already dense: not halved again


@pytest.mark.parametrize("name", ["5070", "h100-smx", "h100-sx", "h100sxm", "h", "", "h100@30w", "orin@20w", "rtx", "100"])
def test_nothing_resolves_to_a_neighbour(name: str) -> None:
    with pytest.raises(UnknownName) as error:
        load_gpu(name)
    assert "\n" not in str(error.value)


def test_exact_names_resolve_after_folding_case() -> None:
    assert load_gpu("H100_SXM") is load_gpu("h100") is load_gpu("h100-sxm")
    assert load_gpu("h200").id == "h200-sxm"
    assert load_format("GPTQ") is load_format("w4a16")


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(UnknownName, match=r"no gpu 'h100-smx'; did you mean 'h100-sxm'"):
        load_gpu("h100-smx")


MINE = """
[sources.sheet]
title = "NPU data sheet, rev 3"
kind = "datasheet"
document = "NPU-DS-3"

[my-npu]
name = "My NPU"
vendor = "me"
kind = "accelerator"
aliases = ["npu"]
memory_bytes_per_s = { value = 200e9, printed = "200 GB/s", source = "sheet", evidence = "A" }
"""


def test_a_user_file_adds_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text(MINE)
    assert load_gpu("NPU", folder=tmp_path).id == "my-npu"
    assert load_gpu("my-npu", folder=tmp_path / "mine.toml").cites["memory_bytes_per_s"].source.title == "NPU data sheet, rev 3"
    with pytest.raises(UnknownName):
        load_gpu("my-npu")
    monkeypatch.setenv("SOL_GPUS", str(tmp_path))
    assert load_gpu("my-npu").memory_bytes_per_s == 200e9
    assert "my-npu" in database.gpu_ids()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[my-npu]", "[my-npu"), ["mine.toml", "not valid TOML"]),
        (("200e9", "300e9"), ["mine.toml", "[my-npu]", "memory_bytes_per_s", "200 GB/s"]),
        (('source = "sheet"', 'source = "sheets"'), ["mine.toml", "[my-npu] memory_bytes_per_s", "no source 'sheets'"]),
        (('evidence = "A"', 'evidence = "Z"'), ["mine.toml", "memory_bytes_per_s.evidence"]),
        (("memory_bytes_per_s =", "memory_gbps ="), ["mine.toml", "[my-npu]"]),
        (('"npu"', '"h100"'), ["mine.toml", "'h100' is taken by the built-in h100-sxm; choose another id or alias"]),
        (("200e9", '"200e9"'), ["mine.toml: [my-npu]", "memory_bytes_per_s.value", "without quotes (got '200e9')"]),
        (("200e9", "true"), ["mine.toml: [my-npu]", "memory_bytes_per_s.value"]),
        (('document = "NPU-DS-3"', ""), ["mine.toml", "url or a document"]),
        (("[my-npu]\n", "[h100-sxm]\n"), ["mine.toml", "taken"]),
        (("200e9", "nan"), ["mine.toml", "value"]),
        (("[my-npu]", "[all]"), ["mine.toml", "[all]", "not an id"]),
        (("[my-npu]", '["my@npu"]'), ["mine.toml", "not an id"]),
        (('["npu"]', '["npu"]\n[my_npu]'), ["mine.toml"]),
        (
            (
                'source = "sheet", evidence = "A" }\n',
                'source = "sheet", evidence = "A" }\n[my-npu.power_modes.low]\n'
                'clock_hz = { value = 1e9, printed = "1GHz", source = "zz", evidence = "A" }\n',
            ),
            ["low clock_hz", "'zz'"],
        ),
    ],
)
def test_a_broken_user_file_is_one_line_with_file_and_key(tmp_path: Path, change: tuple[str, str], words: list[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace(*change))
    with pytest.raises(SolError) as error:
        load_gpu("my-npu", folder=tmp_path)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x = [" * 4000, b"x = 1", b""])
def test_a_file_that_holds_no_devices(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.toml").write_bytes(content)
    with pytest.raises(SolError) as error:
        load_gpu("my-npu", folder=tmp_path)
    assert "\n" not in str(error.value)


def test_two_devices_may_not_share_a_name(tmp_path: Path) -> None:
    second = MINE.partition("[my-npu]")[2]
    (tmp_path / "mine.toml").write_text(f"{MINE}\n[other-npu]{second}")
    with pytest.raises(BadFile, match="'npu' is taken"):
        load_gpu("my-npu", folder=tmp_path)


@pytest.mark.parametrize("taken", ["h100", "h100-sxm"])
def test_a_device_under_a_built_in_name_is_refused_where_the_built_in_is_asked_for(
    taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its id or an alias, in a folder or by the environment: never ignored."""
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace("[my-npu]", f"[{taken}]"))
    refused = rf"mine.toml: \[{taken}\] the name '{taken}' is taken by the built-in h100-sxm; choose another id"
    for folder in (path, tmp_path):
        with pytest.raises(BadFile, match=refused):
            load_gpu(taken, folder=folder)
    monkeypatch.setenv("SOL_GPUS", str(tmp_path))
    with pytest.raises(BadFile, match=refused):
        floor("qwen2.5-7b", "h100", ctx=1)


def test_two_files_may_not_hold_the_same_id(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(MINE)
    with pytest.raises(BadFile, match=r"b.toml: \[my-npu\] the name 'my-npu' is taken by \[my-npu\] of .*a.toml; choose another id"):
        load_gpu("my-npu", folder=tmp_path)


@pytest.mark.parametrize("line", ['mbu = "0.8"', 'mbu = { value = "0.8" }', 'launch_s = "1e-6"', 'n = "3"', 'within_95 = "0.1"'])
def test_a_number_of_a_calibration_given_as_text_is_refused(line: str, tmp_path: Path) -> None:
    path, good = tmp_path / "mine.toml", {"mbu": "mbu = 0.8", "launch_s": "launch_s = 1e-6", "n": "n = 3", "within_95": "within_95 = 0.1"}
    head = '[mine]\ngpu = "h100-sxm"\nengine = "vllm"\nfusion = "kernel"\n'
    key = line.partition(" ")[0]
    path.write_text(head + "\n".join({**good, "mfu": "mfu = 0.7"}.values()))
    load_calibration(path)
    path.write_text(head + "\n".join({**good, "mfu": "mfu = 0.7", key: line}.values()))
    with pytest.raises(BadFile, match=rf"{key}.*without quotes"):
        load_calibration(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Link(
            name="x",
            per_direction_bytes_per_s="1e9",
        ),
        lambda: NumberFormat(id="w5", name="w5", compute="bf16", bits="5"),
    ],
)
def test_a_number_of_a_record_made_by_hand_given_as_text_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput, match="without quotes"):
        make()


def test_modes_fold_like_names(tmp_path: Path) -> None:
    mode = '\n[my-npu.power_modes.MAXN]\nclock_hz = { value = 1e9, printed = "1GHz", source = "sheet", evidence = "A" }\n'
    (tmp_path / "mine.toml").write_text(MINE + mode)
    assert load_gpu("my-npu@maxn", folder=tmp_path).clock_hz == 1e9


@pytest.mark.parametrize("name", [None, 5, [], b"h100"])
def test_what_is_no_name_is_refused(name: object) -> None:
    for load in (load_gpu, load_format):
        with pytest.raises(SolError):
            load(name)  # type: ignore[arg-type]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="does not exist"):
        load_gpu("my-npu", folder=tmp_path / "nowhere")


@pytest.mark.contract
def test_finite_and_positive_everywhere() -> None:
    for gpu_id in database.gpu_ids():
        for field, cite in load_gpu(gpu_id).cites.items():
            assert isinstance(cite.value, str) or (math.isfinite(cite.value) and cite.value > 0), (gpu_id, field)


def test_the_record_type_refuses_unknown_fields() -> None:
    assert DeviceRecord.model_config["extra"] == "forbid"
