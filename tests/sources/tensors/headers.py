"""Headers of checkpoints made by hand, and the same headers damaged at random."""

from __future__ import annotations

import gc
import json
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sol import BadFile
from sol.sources.tensors.safetensors_file import BITS

SOON_S = 0.05


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def framed(header: str | bytes | dict, data: int, claimed: int | None = None) -> bytes:
    text = json.dumps(header) if isinstance(header, dict) else header
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw) if claimed is None else claimed) + raw + bytes(data)


def saved(path: Path, tensors: dict[str, tuple[str, list[int]]], **extra: Any) -> Path:
    header, at = dict(extra), 0
    for name, (dtype, shape) in tensors.items():
        count = 1
        for n in shape:
            count *= n
        header[name] = entry(dtype, shape, at, at := at + count * BITS[dtype] // 8)
    path.write_bytes(framed(header, at))
    return path


def mutated(raw: bytes, dice: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(dice.randint(1, 3)):
        if not data:
            break
        at, span = dice.randrange(len(data)), dice.randint(1, 12)
        match dice.randrange(6):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                data[at : at + span] = dice.randbytes(span)
            case 2:
                del data[at : at + span]
            case 3:
                data[at:at] = data[: dice.randrange(len(data))] if dice.random() < 0.2 else data[at : at + span]
            case 4:
                data[at : at + 1] = dice.choice([b"[", b"{", b'"', b"-", b"9" * 30, b"NaN", b"\\u", b"\xff" * 8, b"\0" * 8, b"}"])
            case _:
                del data[at or 1 :]
    return bytes(data)


def fuzzed(read: Callable[[Path], Any], raw: bytes, path: Path, rounds: int) -> int:
    """Refusals among mutations of a good file: nothing else is ever raised, and none takes long."""
    dice, refusals = random.Random(4), 0
    gc.collect()
    gc.disable()  # its pauses are not the reader's
    try:
        for _ in range(rounds):
            path.write_bytes(mutated(raw, dice))
            line, started = "", time.process_time()
            try:
                read(path)
            except BadFile as error:
                line = str(error)
            assert time.process_time() - started < SOON_S
            assert not line or line.isprintable()
            refusals += bool(line)
    finally:
        gc.enable()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return refusals
