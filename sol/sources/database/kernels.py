"""The largest shares of a device's peaks that published kernels reach: records, not bounds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from sol.sources.database.tomlfiles import TomlRecords, data_root

COMPUTE = {
    "bf16": "bf16", "fp16": "fp16", "w8a16": "bf16", "w4a16": "bf16", "fp8": "fp8", "fp8-block128": "fp8", "nvfp4": "fp4", "mxfp4": "fp4",
    "int8": "int8",
}  # fmt: skip
"""The format a kernel's products run in, by the format of its weights."""
MATRICES = ("gemm", "experts")


class Best(NamedTuple):
    """The largest share of a peak that was measured [1], of which kernels, and its source's title."""

    share: float
    kernels: str
    source: str


@lru_cache(maxsize=1)
def _files() -> tuple[TomlRecords, ...]:
    return tuple(TomlRecords(path) for path in sorted((data_root() / "kernels").glob("*.toml")))


@lru_cache(maxsize=128)
def best_reached(gpu: str) -> dict[str, Best]:
    """The best of the bandwidth under "read", and of the dense peak under each compute format; nothing for a device nobody measured.

    Of each class of kernels its 90th percentile over the shapes timed, or the best of them where the source tells only that.
    """
    found: dict[str, Best] = {}
    for records in _files():
        if not records.holds(gpu):
            continue
        table, sources = records.load(gpu)
        for kind, formats in table.items():
            for fmt, rates in formats.items():
                source = sources[rates["source"]]["title"]
                for key, figure in (("read", rates.get("mbu")), (COMPUTE.get(fmt), rates.get("mfu") if kind in MATRICES else None)):
                    if figure is None or key is None:
                        continue
                    share = min(_top(figure), 1.0)
                    if key not in found or share > found[key].share:
                        found[key] = Best(share, f"{kind} {fmt}", source)
    return found


def _top(figure: Any) -> float:
    return float(figure.get("high", figure["value"]))
