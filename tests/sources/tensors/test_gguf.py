"""GGUF headers: exact bytes of every tensor; every lie a header can tell refused in one line, quickly, in bounded memory."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sources.tensors.headers import fuzzed

from sol import BadFile
from sol.sources.tensors import gguf_file
from sol.sources.tensors.gguf_file import read_gguf
from sol.sources.tensors.gguf_types import FILE_TYPES, TYPES
from sol.sources.tensors.tensor_files import StoredTensor


def written(gguf: Any, path: Path, tensors: dict[str, tuple[str, tuple[int, int]]], **options: Any) -> Path:
    """A file by gguf's own writer; shapes are (rows, columns)."""
    np = pytest.importorskip("numpy")
    writer = gguf.GGUFWriter(path, "llama", **options)
    writer.add_block_count(2)
    writer.add_rope_freq_base(500000.0)
    writer.add_head_count_kv([4, 8])
    writer.add_string("general.name", "tiny é")
    writer.add_string("tokenizer.chat_template", "x" * 10_000)
    writer.add_bool("llama.flag", True)
    writer.add_array("general.tags", ["a", "b"])
    writer.add_array("llama.long", list(range(5000)))
    writer.add_token_list([f"t{i}" for i in range(500)])
    writer.add_token_types([1] * 500)
    for name, (dtype, (rows, columns)) in tensors.items():
        kind = gguf.GGMLQuantizationType[dtype]
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor(name, np.zeros((rows, columns // block * block_bytes), np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


BITS_PER_WEIGHT = {
    # As llama.cpp publishes them.
    "F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16, "I16": 16, "I8": 8, "Q4_0": 4.5, "Q4_1": 5, "Q5_0": 5.5, "Q5_1": 6,
    "Q8_0": 8.5, "Q2_K": 2.625, "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625, "IQ2_XXS": 2.0625, "IQ2_XS": 2.3125,
    "IQ3_XXS": 3.0625, "IQ1_S": 1.5625, "IQ4_NL": 4.5, "IQ3_S": 3.4375, "IQ2_S": 2.5625, "IQ4_XS": 4.25, "IQ1_M": 1.75, "TQ1_0": 1.6875,
    "TQ2_0": 2.0625, "MXFP4": 4.25,
}  # fmt: skip


ACTIVATIONS = ("Q8_1", "Q8_K")  # in no file


@pytest.mark.truth
def test_every_gguf_type_takes_its_blocks(tmp_path: Path, gguf: Any) -> None:
    types = [t.name for t in gguf.GGMLQuantizationType if t.name not in ACTIVATIONS]
    path = written(gguf, tmp_path / "all.gguf", {f"blk.0.{t}.weight": (t, (3, 512)) for t in types})
    tensors = {t.dtype: t for t in read_gguf(path)[1]}
    assert tensors.keys() == set(types)
    for name, tensor in tensors.items():
        block, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
        assert (tensor.shape, tensor.elements, tensor.bytes) == ((3, 512), 1536, 1536 * block_bytes // block)
        if name in BITS_PER_WEIGHT:
            assert tensor.bytes * 8 == 1536 * BITS_PER_WEIGHT[name]
    assert len(BITS_PER_WEIGHT.keys() & tensors.keys()) >= 28


@pytest.mark.truth
@pytest.mark.parametrize("big", [False, True])
def test_the_packages_own_reader_sees_the_same(tmp_path: Path, gguf: Any, big: bool) -> None:
    shapes = {"token_embd.weight": ("Q6_K", (32, 256)), "blk.0.ffn_up.weight": ("Q4_K", (64, 512)), "output_norm.weight": ("F32", (1, 256))}
    path = written(gguf, tmp_path / "a.gguf", shapes, **({"endianess": gguf.GGUFEndian.BIG} if big else {}))
    metadata, tensors = read_gguf(path)
    theirs = gguf.GGUFReader(path)
    assert [(t.name, t.tensor_type.name, tuple(reversed(t.shape.tolist())), t.n_bytes) for t in theirs.tensors] == [
        (t.name, t.dtype, t.shape, t.bytes) for t in tensors
    ]
    stepped_over = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.chat_template", "llama.long"}
    assert metadata == {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.") and k not in stepped_over}
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.attention.head_count_kv"] == [4, 8]


def test_a_split_is_one_checkpoint(tmp_path: Path, gguf: Any) -> None:
    shapes = {f"blk.{i}.ffn_up.weight": ("Q8_0", (4, 64)) for i in range(5)}
    written(gguf, tmp_path / "m.gguf", shapes, split_max_tensors=2)
    files = sorted(tmp_path.glob("*.gguf"))
    assert [f.name for f in files] == [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    for file in files:
        metadata, tensors = read_gguf(file)
        assert metadata["llama.block_count"] == 2
        assert {t.name: t.bytes for t in tensors} == dict.fromkeys(shapes, 4 * 68)
    first = files[0].read_bytes()
    key = first.index(b"split.tensors.count") + len(b"split.tensors.count") + 4  # past its type
    files[0].write_bytes(first[:key] + struct.pack("<i", 6) + first[key + 4 :])
    with pytest.raises(BadFile, match=r"hold 5 tensors, not the 6 the first one says"):
        read_gguf(files[2])
    files[0].write_bytes(first)
    files[1].write_bytes(files[2].read_bytes())
    with pytest.raises(BadFile, match=r"00002-of-00003\.gguf: split.no=2 contradicts"):
        read_gguf(files[0])
    files[1].unlink()
    with pytest.raises(BadFile, match=r"no file '.*00002-of-00003\.gguf', one of the 3|no file '.*00002-of-00003\.gguf'"):
        read_gguf(files[0])


@pytest.mark.truth
def test_types_are_those_of_the_package(gguf: Any) -> None:
    theirs = {int(t): (t.name, *gguf.GGML_QUANT_SIZES[t]) for t in gguf.GGMLQuantizationType if t.name not in ACTIVATIONS}
    assert {n: t for n, t in TYPES.items() if n in theirs} == theirs
    names = {int(t): t.name.removeprefix("MOSTLY_").removeprefix("ALL_").lower() for t in gguf.LlamaFileType if t.name != "GUESSED"}
    assert {n: t for n, t in FILE_TYPES.items() if n in names} == names


def test_no_package_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(laid([], [told()]))
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert [t.name for t in read_gguf(path)[1]] == ["a"]


def text(value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def told(name: bytes | str = "a", dims: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def laid(
    pairs: list[bytes],
    tensors: list[bytes],
    data: int = 128,
    magic: bytes = b"GGUF",
    version: int = 3,
    keys: int | None = None,
    count: int | None = None,
) -> bytes:
    head = magic + struct.pack("<IQQ", version, len(tensors) if count is None else count, len(pairs) if keys is None else keys)
    head += b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


def array(kind: int, count: int, rest: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + rest


GGUF_LIES = {
    "magic": (laid([], [], magic=b"GGML"), "does not begin with 'GGUF'"),
    "version 1": (laid([], [], version=1), "GGUF version 1 is not understood"),
    "version 99": (laid([], [], version=99), "GGUF version 99"),
    "tensors": (laid([], [], count=2**63), f"{2**63} tensors are claimed"),
    "keys": (laid([], [], keys=2**64 - 1), f"{2**64 - 1} keys are claimed"),
    "one key more": (laid([], [told()], keys=1), "a tensor's name at byte"),
    "key length": (laid([struct.pack("<Q", 2**62) + b"key"], []), "a key (4611686018427387904 bytes"),
    "text length": (laid([pair("k", 8, struct.pack("<Q", 2**40))], []), "the value of 'k' (1099511627776 bytes"),
    "array length": (laid([pair("k", 9, array(4, 2**62))], []), "the value of 'k'"),
    "texts": (laid([pair("tokenizer.k", 9, array(8, 2**62))], []), "the value of 'tokenizer.k'"),
    "a text of an array": (
        laid([pair("tokenizer.k", 9, array(8, 2, text("a") + struct.pack("<Q", 2**50)))], [], data=0), "goes beyond the end",
    ),
    "an array cut": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair("tokenizer.k", 9, array(8, 3, text("a" * 20) + text("b") + b"\0")),
        "goes beyond the end",
    ),
    "arrays of arrays": (laid([pair("k", 9, array(9, 1, array(4, 0)))], []), "an array of the type 9"),
    "value type": (laid([pair("k", 13, b"")], []), "unknown type 13"),
    "twice": (laid([pair("k", 0, b"\1"), pair("k", 0, b"\1")], []), "'k' is there twice"),
    "not text": (laid([pair("k", 8, text(b"\xff"))], []), "not UTF-8"),
    "unprintable": (laid([pair("k\n", 0, b"\1")], []), "cannot be printed"),
    "alignment": (laid([pair("general.alignment", 4, struct.pack("<I", 24))], []), "general.alignment=24 is not a power of two"),
    "alignment 0": (laid([pair("general.alignment", 4, struct.pack("<I", 0))], []), "general.alignment=0"),
    "alignment text": (laid([pair("general.alignment", 8, text("32"))], []), "general.alignment='32'"),
    "tensor type": (laid([], [told(kind=4)]), "tensor type 4, which is not one of GGUF's that are known"),
    "tensor type 255": (laid([], [told(kind=255)]), "tensor type 255"),
    "dimensions": (laid([], [told(dims=(1, 1, 1, 1, 32))]), "has 5 dimensions"),
    "claimed dimensions": (laid([], [text("a") + struct.pack("<I", 2**32 - 1)]), "4294967295 dimensions"),
    "huge": (laid([], [told(dims=(2**63, 2**63, 2**63, 2**63))]), "beyond the end of the file"),
    "half a block": (laid([], [told(dims=(48, 2), kind=8)]), "rows of 48, not whole blocks of 32"),
    "offset": (laid([], [told(offset=96)]), "ends at byte"),
    "offset 2**63": (laid([], [told(offset=2**63)]), "beyond the end of the file"),
    "unaligned": (laid([], [told(dims=(1,), offset=4)]), "not a multiple of the alignment"),
    "overlap": (laid([], [told(), told("b", offset=96)], data=256), "tensor 'b' at offset 96 overlaps 'a'"),
    "same name": (laid([], [told(), told(offset=128)], data=256), "tensor 'a' is there twice"),
    "long name": (laid([], [told("a" * 2000)]), "longer than 256"),
    "cut": (laid([], [told()])[:40], "24 bytes|claimed|beyond the end"),
    "cut data": (laid([], [told()])[:-1], "beyond the end of the file"),
    "cut count": (b"GGUF\3\0\0", "the version (4 bytes"),
    "short": (b"GG", "does not begin"),
    "empty": (b"", "is empty"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
}  # fmt: skip


@pytest.mark.parametrize("lie", GGUF_LIES)
def test_a_lying_gguf_is_refused(tmp_path: Path, gguf: Any, refused: Callable[..., str], lie: str) -> None:
    raw, words = GGUF_LIES[lie]
    path = tmp_path / "x.gguf"
    path.write_bytes(raw)
    line = refused(read_gguf, path)
    assert any(w in line for w in words.split("|")), line


def test_a_hand_laid_gguf_is_read(tmp_path: Path, gguf: Any) -> None:
    path = tmp_path / "x.gguf"
    for version in (2, 3):
        path.write_bytes(
            laid([pair("k", 12, struct.pack("<d", 0.5)), pair("n", 9, array(4, 0))], [told(), told("b", (), 0, 128)], 132, version=version)
        )
        assert read_gguf(path) == ({"k": 0.5, "n": []}, [StoredTensor("a", "F32", (32,), 128), StoredTensor("b", "F32", (), 4)])


def test_items_of_arrays_are_bounded_over_the_whole_header(tmp_path: Path, gguf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.gguf"
    monkeypatch.setattr(gguf_file, "MAX_ITEMS", 5)
    path.write_bytes(laid([pair("a", 9, array(0, 3, b"123")), pair("tokenizer.b", 9, array(8, 2, text("c") * 2))], []))
    assert read_gguf(path)[0] == {"a": [49, 50, 51]}
    path.write_bytes(laid([pair("a", 9, array(0, 3, b"123")), pair("tokenizer.b", 9, array(8, 3, text("c") * 3))], []))
    with pytest.raises(BadFile, match=r"'tokenizer.b' brings the items of arrays to 6"):
        read_gguf(path)


def test_claims_within_a_vast_file_cost_nothing(tmp_path: Path, gguf: Any, refused: Callable[..., str]) -> None:
    path = tmp_path / "x.gguf"
    for raw in (laid([], [], count=2**20), laid([], [], keys=2**16), laid([pair("tokenizer.k", 9, array(8, 2**30))], []),
                laid([pair("k", 9, array(12, 2**23))], [told(kind=99)]), laid([pair("k", 8, struct.pack("<Q", 2**27))], [])):  # fmt: skip
        path.write_bytes(raw)
        os.truncate(path, 2**34)  # sparse: 16 GiB of zeros
        refused(read_gguf, path)


@pytest.mark.slow
@pytest.mark.law
def test_mutated_gguf_are_read_or_refused(tmp_path: Path, gguf: Any) -> None:
    path = tmp_path / "x.gguf"
    raw = laid(
        [pair("general.architecture", 8, text("llama")), pair("llama.block_count", 4, struct.pack("<I", 2)),
         pair("tokenizer.ggml.tokens", 9, array(8, 3, text("a") + text("b") + text("c"))), pair("l", 9, array(5, 2, bytes(8)))],
        [told("token_embd.weight", (32, 2), 8, 0), told("output_norm.weight", (32,), 0, 96)], 256,
    )  # fmt: skip
    path.write_bytes(raw)
    assert len(read_gguf(path)[1]) == 2
    assert fuzzed(read_gguf, raw, path, 4000) > 1500
