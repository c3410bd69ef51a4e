"""Engines and their versions in one name: `vllm` as it is now, `vllm-0.11` of that version."""

from __future__ import annotations

import math
import re

VERSION = re.compile(r"-\d+(\.\d+)*$")


def engine_family(engine: str) -> str:
    """An engine without its version.

    >>> engine_family("vllm-0.11"), engine_family("tensorrt-llm")
    ('vllm', 'tensorrt-llm')
    """
    return VERSION.sub("", engine)


def age(engine: str) -> tuple[float, ...]:
    """A key that sorts the versions of an engine; one without a version is the newest."""
    found = VERSION.search(engine)
    return tuple(map(float, found[0][1:].split("."))) if found else (math.inf,)
