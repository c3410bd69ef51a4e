"""The model at a path: the architecture from a config.json or a GGUF file's own keys, the storage from the tensors beside it."""

from __future__ import annotations

import re
from pathlib import Path

from sol.errors import BadFile
from sol.sources.config.config_json import load_config
from sol.sources.tensors.tensor_files import shown
from sol.specs.model import Model
from sol.specs.record import Source

SHARD = re.compile(r".*-[0-9]{5}-of-[0-9]{5}\.safetensors")
INDEX = ".safetensors.index.json"


def load_path(path: Path) -> Model:
    """The model of a config.json, of a folder with one, of a GGUF file, or of a safetensors file (or index) with a config.json beside it.

    Where there are tensors, they say the weight format; a config.json by its own path stands alone.
    Raises `BadFile`.
    """
    if path.suffix == ".gguf":
        from sol.sources.checkpoints.gguf_model import load_gguf

        return load_gguf(path)
    if path.name.endswith((".safetensors", INDEX)):
        whole = SHARD.fullmatch(path.name) or path.name.endswith(INDEX)
        return _with_tensors(path.parent, path.parent if whole else path)
    if not path.is_dir():
        return load_config(path)
    names = _names(path)
    if "config.json" not in names and (file := next((n for n in names if n.endswith(".gguf")), None)):
        raise BadFile(f"{shown(path)}: no config.json in this folder, but {file}; give the path of that file")
    return _with_tensors(path, path) if any(n.endswith(".safetensors") for n in names) else load_config(path)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(p.name for p in folder.iterdir())
    except OSError as error:
        raise BadFile(f"{shown(folder)}: cannot be read ({error.strerror or error})") from None


def _with_tensors(folder: Path, tensors: Path) -> Model:
    from sol.sources.checkpoints.exact_storage import as_stored
    from sol.sources.tensors.safetensors_file import read_safetensors

    model = load_config(folder)
    source = Source(title=f"headers of the tensors of {model.id}", kind="user", document=str(tensors))
    return as_stored(model, read_safetensors(tensors), shown(tensors), source)
