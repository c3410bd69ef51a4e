"""What the tests of checkpoint headers share: how a refusal must be, and the GGUF package."""

from __future__ import annotations

import gc
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sources.tensors.headers import SOON_S

from sol import BadFile


@pytest.fixture
def refused() -> Iterator[Callable[..., str]]:
    """Reads what must be refused: one line, soon, in little memory, and no file left open; the line."""
    opened = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    def check(read: Callable[[Path], Any], path: Path) -> str:
        with pytest.raises(BadFile) as error:
            read(path)
        gc.disable()  # what other tests left is not this read's time
        try:
            started = time.process_time()
            with pytest.raises(BadFile):
                read(path)
            assert time.process_time() - started < SOON_S
        finally:
            gc.enable()
        tracemalloc.start()
        with pytest.raises(BadFile):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20, peak
        text = str(error.value)
        assert "\n" not in text
        assert text.isprintable()
        assert len(text) < 400 + len(str(path))
        assert ascii(path.name)[1:-1] in ascii(text)
        return text

    yield check
    if opened:
        assert len(os.listdir("/proc/self/fd")) == opened


@pytest.fixture(scope="module")
def gguf() -> Any:
    return pytest.importorskip("gguf")
