"""safetensors headers: exact bytes of every tensor; every lie a header can tell refused in one line, quickly, in bounded memory."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sources.tensors.headers import entry, framed, fuzzed, mutated, saved

import sol
from sol import BadFile
from sol.sources.tensors import safetensors_file
from sol.sources.tensors import tensor_files as stored
from sol.sources.tensors.safetensors_file import BITS, read_safetensors
from sol.sources.tensors.tensor_files import StoredTensor


@pytest.mark.truth
def test_every_dtype_takes_its_bits(tmp_path: Path) -> None:
    sizes = {
        "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1,
        "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
        "F4": 0.5, "F6_E2M3": 0.75, "F6_E3M2": 0.75,
    }  # fmt: skip
    assert sizes.keys() == BITS.keys()
    path = saved(tmp_path / "all.safetensors", {d: (d, [3, 8]) for d in sizes}, __metadata__={"format": "pt", "x": '{"a}": [1]}'})
    assert {t.name: t.bytes for t in read_safetensors(path)} == {d: 24 * size for d, size in sizes.items()}
    assert all(t.elements == 24 and t.shape == (3, 8) and t.dtype == t.name for t in read_safetensors(path))


def test_scalars_empty_tensors_spaces_escapes_and_order(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    first, empty, last = '{"shape":[],"dtype":"F32","data_offsets":[8,12]}', entry("F16", [0, 7], 0, 0), entry("I64", [1], 0, 8)
    header = f'{{ "é\\u0062" :\n{first} , "e":{json.dumps(empty)},"a":{json.dumps(last)},"__metadata__":{{}}}}   '
    path.write_bytes(framed(header, 12))
    assert read_safetensors(path) == [
        StoredTensor("éb", "F32", (), 4), StoredTensor("e", "F16", (0, 7), 0), StoredTensor("a", "I64", (1,), 8),
    ]  # fmt: skip
    path.write_bytes(framed("{}", 0))
    assert read_safetensors(path) == []


def sharded(folder: Path, **change: Any) -> Path:
    folder.mkdir(exist_ok=True)
    a = saved(folder / "model-00001-of-00002.safetensors", {"model.embed_tokens.weight": ("BF16", [10, 4])})
    b = saved(folder / "model-00002-of-00002.safetensors", {"lm_head.weight": ("BF16", [10, 4]), "model.norm.weight": ("F32", [4])})
    weight_map = {"model.embed_tokens.weight": a.name, "lm_head.weight": b.name, "model.norm.weight": b.name}
    index = {"metadata": {"total_size": 176.0, "x": "y"}, "weight_map": {**weight_map, **change}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    return folder


def test_a_folder_is_its_index_and_shards(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    saved(folder / "consolidated.safetensors", {"output.weight": ("BF16", [10, 4])})  # not of the index: not of the checkpoint
    tensors = read_safetensors(folder)
    assert [t.name for t in tensors] == ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"]
    assert sum(t.bytes for t in tensors) == 80 + 80 + 16
    assert tensors == read_safetensors(folder / "model.safetensors.index.json")


def test_show_lists_a_folder_by_parts(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    table = sol.show(f"{folder}/")
    assert {r["part"]: (r["stored_bytes"], r["elements"], r["dtypes"]) for r in table.to_dicts()} == {
        "embedding": (80, 40, "BF16"), "lm_head": (80, 40, "BF16"), "norm": (16, 4, "F32"),
    }  # fmt: skip
    assert table.total is not None
    assert table.total[1:4] == (176, 1.0, 84)
    assert sum(r["share"] for r in table.to_dicts()) == pytest.approx(1)
    saved(tmp_path / "odd.safetensors", {"model.embed_tokens.weight": ("BF16", [10, 4]), "what.is.this": ("F32", [2])})
    shown = sol.show(str(tmp_path / "odd.safetensors"))
    assert "1 tensors that belong to no known part, the first is what.is.this" in str(shown)
    with pytest.raises(BadFile, match=r"no file '.*none\.gguf'"):
        sol.show(str(tmp_path / "none.gguf"))


def test_shards_may_be_links_as_in_the_hubs_cache(tmp_path: Path) -> None:
    folder, blobs = sharded(tmp_path / "m"), tmp_path / "blobs"
    blobs.mkdir()
    for file in folder.glob("*.safetensors"):
        file.rename(blobs / file.name)
        file.symlink_to(blobs / file.name)
    assert len(read_safetensors(folder)) == 3


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    saved(tmp_path / "b.safetensors", {"b": ("F32", [2])})
    saved(tmp_path / "a.safetensors", {"a": ("F32", [1])})
    assert [t.bytes for t in read_safetensors(tmp_path)] == [4, 8]
    saved(tmp_path / "model.safetensors", {"c": ("F32", [3])})
    assert [t.name for t in read_safetensors(tmp_path)] == ["c"]


# safetensors: what is refused

GOOD = entry("F32", [2, 2], 0, 16)
LIES = {
    "shape": ({"a": entry("F32", [2, 3], 0, 16)}, "takes 192 bits, data_offsets give 16 bytes"),
    "half a byte": ({"a": entry("F4", [3], 0, 16)}, "takes 12 bits"),
    "dtype": ({"a": entry("F31", [2, 2], 0, 16)}, "dtype 'F31' is not one of the format's"),
    "dtype kind": ({"a": {**GOOD, "dtype": ["F32"]}}, "dtype ['F32']"),
    "negative": ({"a": entry("F32", [-2, -2], 0, 16)}, "shape [-2, -2]"),
    "fraction": ({"a": {**GOOD, "shape": [2.0, 2]}}, "shape [2.0, 2]"),
    "true": ({"a": {**GOOD, "shape": [True, 4]}}, "shape [True, 4]"),
    "text": ({"a": {**GOOD, "shape": "22"}}, "shape '22'"),
    "NaN": ('{"a":{"dtype":"F32","shape":[NaN,2],"data_offsets":[0,16]}}', "shape [nan, 2]"),
    "infinite": ('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,16]}}', "shape [inf]"),
    "huge": ({"a": entry("F32", [2**63 - 1] * 20, 0, 16)}, "data_offsets give 16"),
    "huger": ({"a": entry("F32", [2**64], 0, 16)}, "shape [18446744073709551616]"),
    "dimensions": ({"a": entry("F32", [1] * 999, 0, 16)}, "is not a short list"),
    "digits": ('{"a":{"dtype":"F32","shape":[' + "9" * 4090 + '],"data_offsets":[0,16]}}', "nested deeper"),
    "out of range": ({"a": entry("F32", [4, 2], 0, 32)}, "not a range within the 16 bytes"),
    "backwards": ({"a": entry("F32", [0], 16, 0)}, "not a range"),
    "three offsets": ({"a": {**GOOD, "data_offsets": [0, 8, 16]}}, "not a range"),
    "overlap": ({"a": GOOD, "b": entry("F32", [2], 8, 16)}, "of 'b' overlap the tensor before: they begin at 8, it ends at 16"),
    "hole": ({"a": entry("F32", [1], 0, 4), "b": entry("F32", [2], 8, 16)}, "leave a hole"),
    "left over": ({"a": entry("F32", [1], 0, 4)}, "its tensors take 4 bytes, but it holds 16"),
    "duplicate": ('{"a":' + json.dumps(GOOD) + ',"\\u0061":' + json.dumps(GOOD) + "}", "'a' is there twice"),
    "duplicate key": ('{"a":{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}}', "exactly one dtype, shape and data_offsets"),
    "missing key": ({"a": {"dtype": "F32", "shape": [4]}}, "exactly one dtype"),
    "extra key": ({"a": {**GOOD, "x": 1}}, "exactly one dtype"),
    "nested": ({"a": {"b": GOOD}}, "nested deeper"),
    "not an entry": ({"a": "b"}, "exactly one dtype"),
    "a number": ('{"a":NaN}', "exactly one dtype"),
    "deep": ('{"a":' * 100_000, "nested deeper"),
    "deep lists": ('{"a":{"dtype":"F32","shape":' + "[" * 3000 + "]" * 1000 + "}}", "'a' is not JSON"),
    "array": ("[]", "not an object"),
    "zeros": (b"\0" * 100, "not an object"),
    "open": ('{"a":' + json.dumps(GOOD), "neither ',' nor '}'"),
    "comma": ('{"a":' + json.dumps(GOOD) + ",}", "is not JSON"),
    "after": ('{"a":' + json.dumps(GOOD) + "} {}", "holds more after"),
    "metadata": ({"__metadata__": {"a": 1}, "a": GOOD}, "__metadata__ is not an object of texts"),
    "bytes": (b'{"a\xff":' + json.dumps(GOOD).encode() + b"}", "is not JSON"),
    "surrogate": ('{"\\ud800":' + json.dumps(GOOD) + "}", "cannot be printed"),
    "line break": ({"a\nb": GOOD}, "cannot be printed"),
    "long name": ({"a" * 5000: GOOD}, "longer than 256 characters"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_is_refused(tmp_path: Path, refused: Callable[..., str], lie: str) -> None:
    header, words = LIES[lie]
    path = tmp_path / "x.safetensors"
    path.write_bytes(framed(header, 16))
    assert words in refused(read_safetensors, path)


def test_lengths_are_not_believed(tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "x.safetensors"
    for claimed in (3, 2**31, 2**63, 2**64 - 1):
        path.write_bytes(framed("{}", 0, claimed=claimed))
        assert f"{claimed} bytes is beyond the end" in refused(read_safetensors, path)
    for raw in (b"", b"\x02", b"\x02\0\0\0\0\0\0"):
        path.write_bytes(raw)
        refused(read_safetensors, path)
    with path.open("wb") as file:  # sparse: the bytes are there, and are zeros
        file.write(struct.pack("<Q", 100 * 2**20 + 1))
        file.truncate(2**28)
    assert "beyond the 100 MiB" in refused(read_safetensors, path)
    with path.open("r+b") as file:
        file.write(struct.pack("<Q", 100 * 2**20) + b'{"a":')
    assert "is not JSON" in refused(read_safetensors, path)


def test_an_index_that_lies_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    outside = saved(tmp_path / "outside.safetensors", {"x": ("F32", [1])})
    for shard in (
        "../outside.safetensors",
        str(outside),
        "..\\outside.safetensors",
        "c:outside.safetensors",
        "a\n.safetensors",
        "x.bin",
        "",
    ):
        with pytest.raises(BadFile, match=r"not a \.safetensors file of this folder"):
            read_safetensors(sharded(tmp_path / "m", x=shard))
    path = tmp_path / "m" / "model.safetensors.index.json"

    def read(_: Path) -> Any:
        return read_safetensors(path.parent)

    sharded(tmp_path / "m", x="model-00003-of-00003.safetensors")
    assert "names the shard 'model-00003-of-00003.safetensors', which is not in the folder" in refused(read, path)
    sharded(tmp_path / "m", x="model-00001-of-00002.safetensors")
    assert "places tensor 'x' in 'model-00001-of-00002.safetensors', which does not hold it" in refused(read, path)
    twice = '"a": "model-00001-of-00002.safetensors"'
    for text in (
        "", "{", "[]", "{}", "[" * 99_999, '{"a":' * 99_999, '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "b"',
        f'{{"weight_map": {{{twice}, {twice}}}}}', f'{{"weight_map": {{{twice}}}, "weight_map": {{{twice}}}}}',
    ):  # fmt: skip
        path.write_text(text)
        refused(read, path)


def test_more_than_any_checkpoint_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    folder = sharded(tmp_path / "m")
    os.truncate(folder / "model.safetensors.index.json", 2**27)  # sparse
    assert "not an index" in refused(lambda _: read_safetensors(folder), folder / "model.safetensors.index.json")
    sharded(tmp_path / "m")
    monkeypatch.setattr(stored, "MAX_TENSORS", 2)
    with pytest.raises(BadFile, match="more than 2 tensors so far"):
        read_safetensors(folder)
    monkeypatch.setattr(safetensors_file, "MAX_TENSORS", 1)
    assert "more than 1 names" in refused(read_safetensors, folder / "model-00002-of-00002.safetensors")


def test_what_is_not_a_checkpoint(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "no file" in refused(read_safetensors, tmp_path / "none.safetensors")
    assert "no .safetensors file in this folder" in refused(read_safetensors, tmp_path)
    pointer = tmp_path / "p.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in refused(read_safetensors, pointer)
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "is not a file" in refused(read_safetensors, tmp_path / "pipe.safetensors")
    with pytest.raises(BadFile):
        read_safetensors(Path("a\0b"))
    for name in ("a.safetensors", "b.safetensors"):
        saved(tmp_path / name, {"same": ("F32", [1])})
    pointer.unlink()
    (tmp_path / "pipe.safetensors").unlink()
    with pytest.raises(BadFile, match=r"b\.safetensors: tensor 'same' is also in another file"):
        read_safetensors(tmp_path)


@pytest.mark.slow
@pytest.mark.law
def test_mutated_safetensors_are_read_or_refused(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "x.safetensors", {f"model.layers.{i}.mlp.up_proj.weight": ("BF16", [i, 3]) for i in range(4)}, __metadata__={"a": "b"}
    )
    assert fuzzed(read_safetensors, path.read_bytes(), path, 4000) > 2000


@pytest.mark.law
def test_mutated_indices_are_read_or_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    path = folder / "model.safetensors.index.json"
    good, dice, refusals = path.read_bytes(), random.Random(5), 0
    for _ in range(1000):
        path.write_bytes(mutated(good, dice))
        try:
            read_safetensors(folder)
        except BadFile:
            refusals += 1
    assert refusals > 500
