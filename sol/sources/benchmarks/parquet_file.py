"""A table of measurements in a Parquet file, batch by batch. Needs the extra `parquet`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sol.errors import BadFile

BATCH = 4096


def parquet_content(path: Path, where: str) -> tuple[tuple[str, ...], Iterator[tuple[str, dict[str, Any]]]]:
    """The columns, and each row with where it stands. Raises `BadFile`: no pyarrow, or not a Parquet file."""
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise BadFile(f"{where}: reading Parquet needs the pyarrow package; pip install 'llm-sol[parquet]'") from None
    try:
        file = parquet.ParquetFile(path)
        columns = tuple(str(name) for name in file.schema_arrow.names)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise _bad(where, error) from None
    return columns, _rows(file, arrow, where)


def _rows(file: Any, arrow: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    with file:
        try:
            for batch in file.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
        except (arrow.ArrowException, OSError, ValueError) as error:
            raise _bad(where, error) from None


def _bad(where: str, error: BaseException) -> BadFile:
    told = str(error).splitlines()
    return BadFile(f"{where}: is not a Parquet file that can be read ({told[0].lower() if told else type(error).__name__})")
