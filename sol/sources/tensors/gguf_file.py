"""What a GGUF file stores: its metadata and the type, shape and bytes of every tensor, from the header alone.

Each count, length and offset is checked against the file before it is followed. The `gguf` package
is not used: its reader makes several objects of every token of the vocabulary (7 s and 480 MiB for
152 thousand of them) and believes every length. Tokens, merges and chat templates are stepped over.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from pathlib import Path
from typing import Any

from sol.errors import BadFile, short
from sol.sources.tensors.gguf_types import TYPES
from sol.sources.tensors.tensor_files import MAX_HEADER_BYTES, MAX_NAME, MAX_TENSORS, StoredTensor, gathered, opened, shown

MAX_KEYS = 2**16
MAX_ITEMS = 2**21  # tokens, merges and all that is kept of arrays: several times the largest vocabulary
KEPT_BYTES, KEPT_ITEMS = 2**12, 2**12  # longer texts (chat templates) and arrays (tokens) are stepped over
SPLIT = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.gguf")
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # value type: struct code
TEXT, ARRAY = 8, 9


def read_gguf(path: Path) -> tuple[dict[str, Any], list[StoredTensor]]:
    """The metadata and the tensors of a GGUF file; one of a split (…-00001-of-00003.gguf) stands for all of it.

    Metadata are those of the first file: numbers, flags, texts up to 4 KiB and arrays up to 4096 items
    (none of `tokenizer.*`). Shapes are (rows, columns), the reverse of the file's order; `dtype` is the
    type's name ("Q4_K"), `bytes` its blocks [B].

    Raises `BadFile`: one line naming the file and what is wrong in it.
    """
    path = Path(path)
    split = SPLIT.fullmatch(path.name)
    if split is None or not (count := int(split[3])):
        return _read(path)
    files = [path.with_name(f"{split[1]}-{i:05d}-of-{split[3]}.gguf") for i in range(1, count + 1)]
    metadata: list[dict[str, Any]] = []

    def read(file: Path) -> list[StoredTensor]:
        said, tensors = _read(file)
        for key, expected in (("split.no", len(metadata)), ("split.count", count)):
            if said.get(key, expected) != expected:
                raise BadFile(f"{shown(file)}: {key}={short(said[key])} contradicts the file's name; files of two checkpoints are mixed")
        metadata.append(said)
        return tensors

    tensors = gathered(files, read)
    claimed = metadata[0].get("split.tensors.count", len(tensors))
    if claimed != len(tensors):
        raise BadFile(f"{shown(path)}: the files of the split hold {len(tensors)} tensors, not the {short(claimed)} the first one says")
    return metadata[0], tensors


def _read(path: Path) -> tuple[dict[str, Any], list[StoredTensor]]:
    with opened(path, MAX_HEADER_BYTES) as (data, size):
        head = _Header(data, size, shown(path))
        if data[:4] != b"GGUF":
            raise head.fail("does not begin with 'GGUF'; not a GGUF file")
        return head.metadata(), head.tensors()


class _Header:
    """A cursor over a header; no step leaves the bytes that are there."""

    def __init__(self, data: mmap.mmap, size: int, where: str) -> None:
        self.data, self.size, self.where = data, size, where
        self.at, self.order, self.items, self.tensor_count, self.alignment = 4, "<", 0, 0, 32

    def fail(self, what: str) -> BadFile:
        return BadFile(f"{self.where}: {what}")

    def _number(self, code: str, what: str) -> Any:
        self._room(struct.calcsize(code), what)
        (value,) = struct.unpack_from(self.order + code, self.data, self.at)
        self.at += struct.calcsize(code)
        return value

    def _room(self, length: int, what: str) -> None:
        if length > len(self.data) - self.at:
            end = "the end of the file" if len(self.data) == self.size else f"the {MAX_HEADER_BYTES // 2**20} MiB a header may have"
            raise self.fail(f"{what} ({length} bytes at byte {self.at}) goes beyond {end}; truncated, or damaged")

    def _text(self, what: str, longest: int) -> str | None:
        """A text, or None where it is longer than is kept."""
        length = self._number("Q", what)
        self._room(length, what)
        start, self.at = self.at, self.at + length
        if length > longest:
            return None
        try:
            return str(self.data[start : self.at], "utf-8")
        except UnicodeDecodeError:
            raise self.fail(f"{what} at byte {start} is not UTF-8 text") from None

    def _name(self, what: str) -> str:
        name = self._text(what, MAX_NAME)
        if not name or not name.isprintable():
            raise self.fail(f"{what} at byte {self.at} is empty, longer than {MAX_NAME} bytes, or cannot be printed")
        return name

    def metadata(self) -> dict[str, Any]:
        """The version, the counts and the values by key."""
        version = self._number("I", "the version")
        if version and not version & 0xFFFF:  # written on a machine of the other byte order
            self.order, version = ">", int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in (2, 3):
            raise self.fail(f"GGUF version {version} is not understood; understood: 2, 3")
        self.tensor_count, keys = self._number("Q", "the tensor count"), self._number("Q", "the key count")
        left = self.size - self.at
        for what, count, most, least_bytes in (("tensors", self.tensor_count, MAX_TENSORS, 24), ("keys", keys, MAX_KEYS, 13)):
            if count > min(most, left // least_bytes):
                raise self.fail(f"{count} {what} are claimed, more than {min(most, left // least_bytes)}; truncated, or damaged")
        found: dict[str, Any] = {}
        seen: set[str] = set()
        for _ in range(keys):
            key = self._name("a key")
            if key in seen:
                raise self.fail(f"the key {short(key)} is there twice")
            seen.add(key)
            value = self._value(key)
            if value is not None:
                found[key] = value
        alignment = found.get("general.alignment", 32)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise self.fail(f"general.alignment={short(alignment)} is not a power of two")
        self.alignment = alignment
        return found

    def _value(self, key: str) -> Any:
        kind, what = self._number("I", f"the type of {short(key)}"), f"the value of {short(key)}"
        if kind in SCALARS:
            return self._number(SCALARS[kind], what)
        if kind == TEXT:
            return self._text(what, KEPT_BYTES)
        if kind != ARRAY:
            raise self.fail(f"{what} has the unknown type {kind}")
        kind, count = self._number("I", what), self._number("Q", what)
        kept = count <= KEPT_ITEMS and not key.startswith("tokenizer.")
        self.items += count if kept or kind == TEXT else 0
        if self.items > MAX_ITEMS:
            raise self.fail(f"{what} brings the items of arrays to {self.items}, more than the {MAX_ITEMS} a header may have")
        if kind in SCALARS:
            self._room(count * struct.calcsize(SCALARS[kind]), what)
            start, self.at = self.at, self.at + count * struct.calcsize(SCALARS[kind])
            return list(struct.unpack_from(f"{self.order}{count}{SCALARS[kind]}", self.data, start)) if kept else None
        if kind != TEXT:
            raise self.fail(f"{what} is an array of the type {kind}, which is not understood")
        self._room(8 * count, what)
        if kept:
            texts = [self._text(what, KEPT_BYTES) for _ in range(count)]
            return None if None in texts else texts
        length, at, last = struct.Struct(self.order + "Q"), self.at, len(self.data) - 8
        for _ in range(count):  # nothing but the lengths is looked at: there are hundreds of thousands
            if at > last:
                at = len(self.data) + 1
                break
            at += 8 + length.unpack_from(self.data, at)[0]
        self._room(at - self.at, what)
        self.at = at
        return None

    def tensors(self) -> list[StoredTensor]:
        """The tensors; each within the file, none over another."""
        spans: dict[str, tuple[int, StoredTensor]] = {}
        for _ in range(self.tensor_count):
            name = self._name("a tensor's name")
            if name in spans:
                raise self.fail(f"tensor {short(name)} is there twice")
            spans[name] = self._tensor(name)
        start = -(-self.at // self.alignment) * self.alignment
        end, last = start, ""
        for name, (offset, tensor) in sorted(spans.items(), key=lambda s: (s[1][0], s[1][1].bytes)):
            if start + offset < end:
                raise self.fail(f"tensor {short(name)} at offset {offset} overlaps {short(last)}")
            end, last = start + offset + tensor.bytes, name
            if end > self.size:
                raise self.fail(f"tensor {short(name)} ends at byte {end}, beyond the end of the file ({self.size}); truncated, or damaged")
        return [tensor for _, tensor in spans.values()]

    def _tensor(self, name: str) -> tuple[int, StoredTensor]:
        what = f"tensor {short(name)}"
        dimensions = self._number("I", what)
        if dimensions > 4:
            raise self.fail(f"{what} has {dimensions} dimensions, more than the 4 GGUF has")
        shape = tuple(self._number("Q", what) for _ in range(dimensions))
        kind, offset = self._number("I", what), self._number("Q", what)
        if kind not in TYPES:
            raise self.fail(f"{what} has the tensor type {kind}, which is not one of GGUF's that are known; a newer sol may know it")
        dtype, block, block_bytes = TYPES[kind]
        if (shape[0] if shape else 1) % block:
            raise self.fail(f"{what} in {dtype} has rows of {shape[0] if shape else 1}, not whole blocks of {block}")
        if offset % self.alignment:
            raise self.fail(f"{what} begins at offset {offset}, not a multiple of the alignment {self.alignment}")
        return offset, StoredTensor(name, dtype, shape[::-1], math.prod(shape) // block * block_bytes)
