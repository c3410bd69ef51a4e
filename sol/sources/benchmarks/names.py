"""A tool's names for devices, models and formats resolved to ids: exact ids, aliases and driver names, never a guess."""

from __future__ import annotations

import os
from functools import lru_cache

from sol.errors import UnknownName, short
from sol.sources.benchmarks.importer import Unreadable
from sol.sources.database.database import GPUS_VARIABLE, built_in_model, fold, load_format, load_gpu
from sol.sources.database.device_names import reported_gpu

UNSAID = ("", "auto", "none", "null", "default")
"""How tools write that they leave a format to the model."""
LONGEST = 200


def gpu_id(name: str) -> str:
    """The id of a device by id, alias or the name its driver reports. Raises `Unreadable`."""
    found, why = _gpu(_checked(name), os.environ.get(GPUS_VARIABLE))
    if found is None:
        raise Unreadable(f"{why}; pass gpu= to say which it is")
    return found


def model_id(name: str) -> str:
    """The id of a built-in model by id, alias or Hugging Face id. Raises `Unreadable`."""
    model = built_in_model(_checked(name))
    if model is None:
        raise Unreadable(f"no built-in model {short(name)}; pass model= to say which it is")
    return model.id


def format_id(name: str) -> str | None:
    """The id of a format by id or alias; None if the word leaves the format to the model. Raises `Unreadable`."""
    if fold(_checked(name)) in UNSAID:
        return None
    found, why = _format(name)
    if found is None:
        raise Unreadable(why)
    return found


@lru_cache(maxsize=1024)  # what is unknown too: its suggestions take time, and a file repeats its names
def _gpu(name: str, own_devices: str | None) -> tuple[str | None, str]:
    reported = reported_gpu(name)
    if reported is not None:
        return reported, ""
    try:
        return load_gpu(name).id, ""
    except UnknownName as error:
        return None, str(error)


@lru_cache(maxsize=1024)
def _format(name: str) -> tuple[str | None, str]:
    try:
        return load_format(name).id, ""
    except UnknownName as error:
        return None, str(error)


def _checked(name: str) -> str:
    if len(name) > LONGEST:
        raise Unreadable(f"{short(name)} is too long to be a name")
    return name
