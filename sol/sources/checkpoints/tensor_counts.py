"""A checkpoint on disk, by what its tensors are: the stored bytes of each part of a model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sol.sources.tensors.gguf_file import read_gguf
from sol.sources.tensors.safetensors_file import read_safetensors
from sol.sources.tensors.tensor_files import StoredTensor
from sol.sources.tensors.tensor_names import tensor_class

LAYER = re.compile(r"(?:\w+\.)*?(?:layers|blk|blocks|h)\.\d+\.")
SUFFIXES = (".gguf", ".safetensors", ".safetensors.index.json")


@dataclass(frozen=True)
class Held:
    """What one tensor class holds: stored bytes [B], stored elements, and the bytes of each dtype [B]."""

    bytes: int
    elements: int
    dtypes: Mapping[str, int]


@dataclass(frozen=True)
class Holdings:
    """A checkpoint by tensor class; `unknown` names the tensors no class is known for (their class is "unknown")."""

    by_class: Mapping[str, Held]
    unknown: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """All stored bytes, the unknown ones included [B]."""
        return sum(held.bytes for held in self.by_class.values())

    @property
    def elements(self) -> int:
        """All stored elements, the unknown ones included; of packed tensors the containers."""
        return sum(held.elements for held in self.by_class.values())


def holdings(tensors: Iterable[StoredTensor]) -> Holdings:
    """Bytes [B] and elements per tensor class, each total the sum of its tensors.

    Packed formats (GPTQ and AWQ qweight in int32, bitsandbytes in uint8, MXFP4 blocks) count what is
    stored: exact bytes, and as `elements` the stored containers, each of several weights. A layer that
    holds a draft head's projection (eh_proj) is a draft layer: all its tensors are "mtp".
    """
    sums: dict[str, list[StoredTensor]] = {}
    for tensor, kind in classed(tensors):
        sums.setdefault(kind, []).append(tensor)
    by_class = {}
    for kind, members in sorted(sums.items()):
        dtypes: dict[str, int] = {}
        for t in members:
            dtypes[t.dtype] = dtypes.get(t.dtype, 0) + t.bytes
        by_class[kind] = Held(sum(dtypes.values()), sum(t.elements for t in members), dtypes)
    return Holdings(by_class, tuple(t.name for t in sums.get("unknown", ())))


def classed(tensors: Iterable[StoredTensor]) -> list[tuple[StoredTensor, str]]:
    """Each tensor with its class, "unknown" where its name is not understood; all of a draft layer is "mtp"."""
    listed = [(t, found[0] if (found := LAYER.match(t.name)) else "") for t in tensors]
    drafts = {layer for t, layer in listed if layer and ".eh_proj." in t.name}
    return [(t, "mtp" if layer in drafts else tensor_class(t.name) or "unknown") for t, layer in listed]


def is_checkpoint(name: str) -> bool:
    """Whether a name can only be the path of a checkpoint: one of its files, or a folder that is there."""
    return name.endswith(SUFFIXES) or ("/" in name and os.path.isdir(os.path.expanduser(name)))


def read_checkpoint(path: Path) -> Holdings:
    """What a GGUF file, a safetensors file, its index or a folder of safetensors holds. Raises `BadFile`."""
    return holdings(read_gguf(path)[1] if path.suffix == ".gguf" else read_safetensors(path))
