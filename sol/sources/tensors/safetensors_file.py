"""What a safetensors checkpoint stores, from its headers alone.

A header is a stranger's text, so it is walked member by member and refused at the first wrong one:
nothing is allocated because a header claims it, and no tensor is ever read. Time and memory grow
with the header that is really there, never with the sizes it claims.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sol.errors import BadFile, short
from sol.sources.tensors.tensor_files import MAX_HEADER_BYTES, MAX_NAME, MAX_TENSORS, StoredTensor, gathered, opened, shown

INDEX = "model.safetensors.index.json"
_BY_BITS = {4: "F4", 6: "F6_E2M3 F6_E3M2", 16: "I16 U16 F16 BF16", 32: "I32 U32 F32", 64: "I64 U64 F64 C64",
            8: "BOOL U8 I8 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ"}  # fmt: skip
BITS = {dtype: bits for bits, dtypes in _BY_BITS.items() for dtype in dtypes.split()}  # every dtype of the format
WS = rb"[ \t\r\n]*+"  # possessive, like the rest: no backtracking over a stranger's text
TEXT = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
PAIR = TEXT + WS + rb":" + WS + TEXT + WS
TEXTS = rb"\{" + WS + rb"(?:" + PAIR + rb"(?:," + WS + PAIR + rb")*+)?+\}"  # an object of texts: metadata, a weight map
FLAT = rb"\{[^{}]{0,4096}+\}"  # a small object with no object inside: a tensor's entry
NAME = rb"(" + TEXT + rb")" + WS + rb":" + WS
OPEN, NEXT = re.compile(WS + rb"\{" + WS + rb"(\}?)" + WS), re.compile(WS + rb"([,}])" + WS)
ENTRY = re.compile(NAME + rb"(" + TEXTS + rb"|" + FLAT + rb"|" + TEXT + rb"|[-+.\w]++)")
NOTES = re.compile(TEXTS)
PLACE = re.compile(NAME + rb"(" + TEXT + rb")")
DECODER = json.JSONDecoder(object_pairs_hook=tuple)  # pairs, so that a key given twice shows


def read_safetensors(path: Path) -> list[StoredTensor]:
    """The tensors of a .safetensors file, or of a folder, in the order of the headers.

    Of a folder: the shards its `model.safetensors.index.json` names; without an index,
    `model.safetensors` where there is one (what loaders take), else every `*.safetensors`.

    Raises `BadFile`: one line naming the file and what is wrong in it.
    """
    path = Path(path)
    if not os.path.isdir(path):
        return _index(path) if path.name.endswith(".index.json") else gathered([path], _header)
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise BadFile(f"{shown(path)}: cannot be read ({error.strerror or error})") from None
    if INDEX in names:
        return _index(path / INDEX)
    if "model.safetensors" in names:
        names = ["model.safetensors"]
    files = [path / name for name in names if name.endswith(".safetensors")]
    if not files:
        raise BadFile(f"{shown(path)}: no .safetensors file in this folder; give the folder or file that holds the weights")
    return gathered(files, _header)


def _index(file: Path) -> list[StoredTensor]:
    """The tensors of the shards an index names, which must hold what it says."""
    where = shown(file)
    placed: dict[str, str] = {}
    with opened(file, MAX_HEADER_BYTES) as (data, size):
        if size > MAX_HEADER_BYTES:
            raise BadFile(f"{where}: larger than {MAX_HEADER_BYTES // 2**20} MiB; not an index of a checkpoint")
        for key, at, end in _members(data, 0, size, ENTRY, where):
            if key != "weight_map":
                continue  # notes of the writer
            for name, a, b in _members(data, at, end, PLACE, where):
                shard = _value(data[a:b], name, where)
                # A plain file name: with a separator or a drive it could lead out of the folder.
                if not shard.isprintable() or re.search(r"[/\\:]", shard) or not shard.endswith(".safetensors"):
                    raise BadFile(f"{where}: tensor {short(name)} is placed in {short(shard)}, not a .safetensors file of this folder")
                placed[name] = shard
    if not placed:
        raise BadFile(f"{where}: has no weight_map, or an empty one; not an index of a checkpoint")
    shards = dict.fromkeys(placed.values())
    for shard in shards:
        if not os.path.exists(file.parent / shard):
            raise BadFile(f"{where}: names the shard {short(shard)}, which is not in the folder; download it")
    tensors = gathered((file.parent / shard for shard in shards), _header)
    for name in placed.keys() - {t.name for t in tensors}:
        raise BadFile(f"{where}: places tensor {short(name)} in {short(placed[name])}, which does not hold it")
    return tensors


def _header(file: Path) -> list[StoredTensor]:
    with opened(file, 8 + MAX_HEADER_BYTES) as (data, size):
        return header_tensors(data, size, shown(file))


def header_bytes(first: bytes, size: int, where: str) -> int:
    """Bytes of a file up to its data, as its first 8 say [B]; `size` is the whole file's [B]. Raises `BadFile`."""
    start = 8 + int.from_bytes(first[:8], "little")
    if size < start:
        raise BadFile(f"{where}: a header of {start - 8} bytes is beyond the end of the file ({size}); truncated, or not safetensors")
    if start - 8 > MAX_HEADER_BYTES:
        raise BadFile(f"{where}: a header of {start - 8} bytes is beyond the {MAX_HEADER_BYTES // 2**20} MiB one may have")
    return start


def header_tensors(data: mmap.mmap | bytes, size: int, where: str) -> list[StoredTensor]:
    """The tensors of a header, which `data` begins with, of a file of `size` bytes [B]. Raises `BadFile`."""
    start = header_bytes(data[:8], size, where)
    spans: list[tuple[int, int, StoredTensor]] = []
    for name, a, b in _members(data, 8, start, ENTRY, where):
        if name == "__metadata__":  # notes of the writer, text to text: checked, not kept
            if not NOTES.fullmatch(data, a, b):
                raise BadFile(f"{where}: its __metadata__ is not an object of texts")
            continue
        spans.append(_entry(name, _value(data[a : min(b, a + 8192)], name, where), size - start, where))
    at = 0
    for begin, end, tensor in sorted(spans, key=lambda s: s[:2]):
        if begin != at:
            how = "overlap the tensor before" if begin < at else "leave a hole after the tensor before"
            raise BadFile(f"{where}: data_offsets of {short(tensor.name)} {how}: they begin at {begin}, it ends at {at}")
        at = end
    if at != size - start:
        raise BadFile(f"{where}: its tensors take {at} bytes, but it holds {size - start}; not whole, or damaged")
    return [tensor for _, _, tensor in spans]


def _entry(name: str, entry: Any, data_bytes: int, where: str) -> tuple[int, int, StoredTensor]:
    """One tensor's begin and end in the data [B], and the tensor; every claim checked against the others."""

    def fail(what: str) -> BadFile:
        return BadFile(f"{where}: tensor {short(name)}: {what}")

    if not isinstance(entry, tuple) or sorted(key for key, _ in entry) != ["data_offsets", "dtype", "shape"]:
        raise fail("its entry is not exactly one dtype, shape and data_offsets")
    offsets, dtype, shape = (value for _, value in sorted(entry))
    if not isinstance(dtype, str) or dtype not in BITS:
        raise fail(f"dtype {short(dtype)} is not one of the format's: {', '.join(BITS)}")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or len(numbers) > 32 or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
            raise fail(f"{what} {short(numbers)} is not a short list of whole numbers from 0 on")
    if len(offsets) != 2 or not offsets[0] <= offsets[1] <= data_bytes:
        raise fail(f"data_offsets {short(offsets)} are not a range within the {data_bytes} bytes of data")
    held = offsets[1] - offsets[0]
    if math.prod(shape) * BITS[dtype] != 8 * held:
        raise fail(f"shape {short(shape)} in {dtype} takes {short(math.prod(shape) * BITS[dtype])} bits, data_offsets give {held} bytes")
    return offsets[0], offsets[1], StoredTensor(name, dtype, tuple(shape), held)


def _members(data: mmap.mmap | bytes, at: int, end: int, pattern: re.Pattern[bytes], where: str) -> Iterator[tuple[str, int, int]]:
    """Name and span of each member of the JSON object that takes the bytes from `at` to `end`."""

    def fail(what: str) -> BadFile:
        return BadFile(f"{where}: {what} (byte {at}: {short(data[at : min(at + 24, end)])})")

    step = OPEN.match(data, at, end)
    if step is None:
        raise fail("is not JSON, or not an object")
    seen: set[str] = set()
    more, at = not step[1], step.end()
    while more:
        member = pattern.match(data, at, end)
        if member is None:
            raise fail("is not JSON, or nested deeper than such a file is")
        name = _value(member[1], "a name", where)
        if name in seen:
            raise fail(f"{short(name)} is there twice")
        if not name.isprintable() or len(name) > MAX_NAME:
            raise fail(f"the name {short(name)} is longer than {MAX_NAME} characters, or cannot be printed")
        seen.add(name)
        if len(seen) > MAX_TENSORS:
            raise fail(f"more than {MAX_TENSORS} names; not a model's checkpoint")
        yield name, *member.span(2)
        at = member.end()
        step = NEXT.match(data, at, end)
        if step is None:
            raise fail("is not JSON: neither ',' nor '}' follows")
        more, at = step[1] == b",", step.end()
    if at != end:
        raise fail("holds more after its JSON object")


def _value(text: bytes, name: str, where: str) -> Any:
    """The value of a small piece of JSON."""
    try:
        return DECODER.decode(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadFile(f"{where}: {short(name)} is not JSON ({why})") from None
