"""Formats and models as they stand in the TOML files: what the published schemas describe.

Loading does not need these (the records it makes check themselves); the schemas and their test do.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sol.specs.formats import Covered, LayerKind
from sol.specs.record import NotNegative, Positive, Record


class FormatRecord(Record):
    """A format as a TOML table of `hardware_db/formats/`: other formats by their ids, the source by its key."""

    name: str
    aliases: tuple[str, ...] = ()
    bits: Positive
    group: int | None = Field(default=None, gt=0, strict=True)
    scale_bits: NotNegative = 0.0
    zero_bits: NotNegative = 0.0
    covers: tuple[Covered, ...]
    compute: str
    otherwise: str | None = None
    cache: bool = False
    fallback: str | None = None
    mix: dict[Covered, str | dict[LayerKind, str]] = Field(default_factory=dict)
    source: str
    note: str = ""


class ModelRecord(Record):
    """A model as a TOML table of `hardware_db/models/`: facts under the keys of its published config.json."""

    hf_id: str
    aliases: tuple[str, ...] = ()
    source: str
    config: dict[str, Any]
