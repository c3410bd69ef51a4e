"""Which model and which device were meant: from a name, a path or a record to the record."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from sol.errors import InvalidInput
from sol.sources.database.database import built_in_model, load_gpu, require_model
from sol.specs.hardware import GPU
from sol.specs.model import Model


def resolve_gpu(gpu: str | GPU) -> GPU:
    """A device from its id or alias; a `GPU` is itself."""
    if isinstance(gpu, GPU):
        return gpu
    if isinstance(gpu, str):
        return load_gpu(gpu)
    raise InvalidInput(f"gpu {gpu!r}", "is neither a name nor a GPU", "sol gpus lists the names")


def load_model(model: str | Path | Model) -> Model:
    """A model from its id, a path, or its Hugging Face id; a `Model` is itself.

    A path: of a config.json, of a GGUF file, or of a folder with a config.json and perhaps safetensors, which then say
    how the weights are stored.
    A Hugging Face id that is not built in is looked up on the Hub (org/name, or org/name@revision), once a process.
    Raises `UnknownName`, `BadFile` or `HubError`.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, str):
        known = built_in_model(model)
        if known is not None:
            return known
        if model.endswith((".json", ".gguf", ".safetensors")) or model.startswith((".", "/", "~")) or _exists(model):
            return _from_path(Path(os.path.expanduser(model)))
        if model.count("/") == 1:
            return _from_hub(model)
        return require_model(model)
    if isinstance(model, Path):
        return _from_path(model)
    raise InvalidInput(f"model {model!r}", "is neither a name, a path nor a Model", "sol models lists the names")


def _from_path(path: Path) -> Model:
    from sol.sources.checkpoints.model_files import load_path  # here: built-in models need no file of the user's

    return load_path(path)


@lru_cache(maxsize=64)
def _from_hub(name: str) -> Model:
    from sol.sources.hub.model import load_hub  # here: few questions are about a model of the Hub

    return load_hub(name)


def _exists(name: str) -> bool:
    try:
        return bool(name.strip()) and Path(name).exists()
    except (OSError, ValueError):  # a name no file can have
        return False
