"""Checkpoint files as their writers lay them: a true header, and as many zeros (sparse) as it says there are bytes."""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Told = tuple[str, str, tuple[int, ...]]
"""Name, dtype and shape, slowest dimension first."""
SAFETENSORS_BITS = {"F32": 32, "BF16": 16, "F16": 16, "I32": 32, "I64": 64, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4}
GGUF_TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q5_0": (6, 32, 22), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144), "Q6_K": (14, 256, 210),
              "BF16": (30, 1, 2), "MXFP4": (39, 32, 17)}  # fmt: skip
"""Number, elements and bytes of a block."""


def expanded(lines: Iterable[list[Any]]) -> list[Told]:
    """The tensors of a fixture (tests/independent/build_checkpoints.py), one by one."""
    return [(name.format(*n), dtype, tuple(shape)) for name, dtype, shape, places in lines for n in itertools.product(*places)]


def bytes_of(tensor: Told) -> int:
    """Stored bytes of a tensor of a safetensors file."""
    return math.prod(tensor[2]) * SAFETENSORS_BITS[tensor[1]] // 8


def safetensors_header(tensors: Iterable[Told]) -> tuple[bytes, int]:
    """A safetensors file without its data, and the bytes of that."""
    header, at = {}, 0
    for tensor in tensors:
        name, dtype, shape = tensor
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at := at + bytes_of(tensor)]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text, at


def lay_safetensors(path: Path, tensors: Iterable[Told]) -> Path:
    """A safetensors file."""
    header, size = safetensors_header(tensors)
    path.write_bytes(header)
    os.truncate(path, len(header) + size)
    return path


def lay_folder(folder: Path, config: Mapping[str, Any], tensors: Iterable[Told]) -> Path:
    """A folder of a config.json and one safetensors file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    lay_safetensors(folder / "model.safetensors", tensors)
    return folder


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Any) -> tuple[int, bytes]:
    """Type and bytes of a GGUF value."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return (4, struct.pack("<I", value)) if value >= 0 else (5, struct.pack("<i", value))
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, _text(value)
    kind = _value(value[0])[0] if value else 4
    return 9, struct.pack("<IQ", kind, len(value)) + b"".join(_value(v)[1] for v in value)


def gguf_bytes(tensor: Told) -> int:
    """Stored bytes of a tensor of a GGUF file."""
    _, block, size = GGUF_TYPES[tensor[1]]
    return math.prod(tensor[2]) // block * size


def lay_gguf(path: Path, keys: Mapping[str, Any], tensors: Iterable[Told]) -> Path:
    """A GGUF file."""
    infos, at = [], 0
    for tensor in tensors:
        name, kind, shape = tensor
        infos.append(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), GGUF_TYPES[kind][0], at))
        at += -(-gguf_bytes(tensor) // 32) * 32
    pairs = [_text(k) + struct.pack("<I", (v := _value(value))[0]) + v[1] for k, value in keys.items()]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs) + b"".join(infos)
    head += bytes(-len(head) % 32)
    path.write_bytes(head)
    os.truncate(path, len(head) + at)
    return path
