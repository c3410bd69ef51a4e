"""The names that drivers report for devices: what logs and benchmark files call a GPU."""

from __future__ import annotations

from functools import lru_cache

from sol.errors import BadFile
from sol.sources.database.database import fold
from sol.sources.database.tomlfiles import data_root, read_toml


def reported_gpu(name: str) -> str | None:
    """The id of the device whose driver reports this very name; None where none is known to, or several do.

    >>> reported_gpu("NVIDIA GeForce RTX 4090"), reported_gpu("NVIDIA GeForce RTX 3080")
    ('rtx-4090', None)
    """
    return _reported().get(fold(name))


@lru_cache(maxsize=1)
def _reported() -> dict[str, str]:
    names: dict[str, str] = {}
    for path in sorted((data_root() / "reported").glob("*.toml")):
        data = read_toml(path)
        sources = data.pop("sources", {})
        for gpu_id, record in data.items():
            if record["source"] not in sources:
                raise BadFile(f"{path.name}:", f"[{gpu_id}] no source '{record['source']}' in this file")
            if names.setdefault(fold(record["reported"]), gpu_id) != gpu_id:
                raise BadFile(f"{path.name}:", f"'{record['reported']}' is the name of two devices", "leave it out")
    return names
