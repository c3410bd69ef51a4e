"""One tensor as a file stores it, and how a stranger's file is opened: what the readers of checkpoints share."""

from __future__ import annotations

import math
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sol.errors import BadFile, short

MAX_HEADER_BYTES = 100 * 2**20  # what the safetensors library accepts; a large GGUF vocabulary takes 10
MAX_TENSORS = 2**19  # twice the largest checkpoint known (a trillion parameters, several tensors per expert: 280 thousand)
MAX_NAME = 256  # bytes or characters of a key's or tensor's name
LFS = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor as a file holds it: `dtype` in the file's own word, `shape` slowest dimension first, stored `bytes` [B]."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        """Elements: of GGUF the weights; of packed safetensors (GPTQ's int32, two 4-bit weights in a uint8) the stored containers."""
        return math.prod(self.shape)


def gathered(files: Iterable[Path], read: Callable[[Path], list[StoredTensor]]) -> list[StoredTensor]:
    """The tensors of all the files of a checkpoint; `BadFile` where two files hold one of the same name."""
    held: dict[str, StoredTensor] = {}
    for file in files:
        for tensor in read(file):
            if tensor.name in held:
                raise BadFile(f"{shown(file)}: tensor {short(tensor.name)} is also in another file of the checkpoint")
            held[tensor.name] = tensor
        if len(held) > MAX_TENSORS:
            raise BadFile(f"{shown(file)}: more than {MAX_TENSORS} tensors so far; not a model's checkpoint")
    return list(held.values())


@contextmanager
def opened(path: Path, limit: int) -> Iterator[tuple[mmap.mmap, int]]:
    """A read-only map of at most the first `limit` bytes [B] of a file, and the file's size [B]; `BadFile` if there is none to read."""
    where = shown(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            raise BadFile(f"{where}: is not a file; give the path of a checkpoint's file")
        file = path.open("rb")
    except FileNotFoundError:
        raise BadFile(f"no file '{where}'; give the path of a checkpoint's file") from None
    except (OSError, ValueError) as error:
        raise BadFile(f"{where}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    with file:
        if file.read(len(LFS)) == LFS:
            raise BadFile(f"{where}: is the Git LFS pointer of the file, not the file; run git lfs pull")
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise BadFile(f"{where}: is empty")
        try:
            data = mmap.mmap(file.fileno(), min(size, limit), access=mmap.ACCESS_READ)  # pages come as they are walked
        except (OSError, ValueError) as error:
            raise BadFile(f"{where}: cannot be read ({error})") from None
        with data:
            yield data, size


def shown(path: Path) -> str:
    """A path as one line, whatever characters it holds."""
    return text if (text := str(path)).isprintable() else ascii(text)
