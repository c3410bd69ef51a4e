"""A file of measurements from any known tool, recognised by content; every row is kept or rejected with a reason."""

from __future__ import annotations

from pathlib import Path

from sol.errors import BadFile, InvalidInput
from sol.sources.benchmarks.content import Content, Piece, opened
from sol.sources.benchmarks.detect import READ, tool_of
from sol.sources.benchmarks.importer import Given, Refused, Tool, Unreadable
from sol.sources.benchmarks.ledger import Ledger, options, raise_if_asked
from sol.sources.benchmarks.own_table import COLUMNS, NEEDED, OWN, check_columns
from sol.sources.tensors.tensor_files import shown
from sol.specs.measurement import Measurements


def read_measurements(
    path: str | Path, *, model: str | Path | None = None, gpu: str | None = None, dtype: str | None = None, kv_dtype: str | None = None,
    tp: int | None = None, pp: int | None = None, ep: int | None = None, dp: int | None = None, batch: float | None = None,
    prompt_tokens: float | None = None, output_tokens: float | None = None, engine: str | None = None, cuda_graphs: bool | None = None,
    session: str | None = None, source: str | None = None,
) -> Measurements:  # fmt: skip
    """The measurements in a file: a table with the columns of docs/measurements, or the output of a benchmark tool.

    The tool is recognised by content. Times are seconds per decode step or per prompt. Options give what a tool does not
    record, or replace names that sol does not know; they never override the file. Averages over requests are in
    `aggregates`; rows that cannot be read reliably are in `rejected`, with the reason.

    Raises `BadFile` (no file, no tool that is read, two at once), `InvalidInput` (an option, or one that
    is missing), `UnknownName`.
    """
    if not isinstance(path, str | Path):
        raise InvalidInput(f"{path!r} is not the path of a file")
    given = options(
        model=model, gpu=gpu, dtype=dtype, kv_dtype=kv_dtype, tp=tp, pp=pp, ep=ep, dp=dp, batch=batch, prompt_tokens=prompt_tokens,
        output_tokens=output_tokens, engine=engine, cuda_graphs=cuda_graphs, session=session, source=source,
    )  # fmt: skip
    where = shown(Path(path))
    ledger = Ledger(where, given)
    with opened(Path(path)) as content:
        tool = _read(content, ledger, given, where)
    if tool is OWN:
        ledger.reject_mixed_units()
    raise_if_asked(ledger, tool.name)
    return Measurements(
        shown(Path(Path(path).name)), tool.name, tuple(ledger.rows), tuple(ledger.aggregates), tuple(ledger.rejected), ledger.assumptions
    )


def _read(content: Content, ledger: Ledger, given: Given, where: str) -> Tool:
    """Every record into the ledger; the one tool that wrote them."""
    tool, first = _table(content.columns, ledger, given, where), "the columns"
    fixed = tool
    for piece in content.pieces:
        if piece.reason:
            ledger.reject(piece.where, piece.reason, piece.record)
            continue
        found = fixed or tool_of(piece.record, f"{where}: {piece.where}")
        if found is None:
            keys = ", ".join(str(k)[:30] for k in list(piece.record)[:6])
            ledger.reject(piece.where, f"not of a tool that sol reads (keys {keys or 'none'})", piece.record)
            continue
        if tool is not None and found is not tool:
            raise BadFile(
                f"{where}: output of two tools, {tool.name} ({first}) and {found.name} ({piece.where}); give each as a file of its own"
            )
        if tool is None:
            tool, first = found, piece.where
        if tool.rounded or not ledger.is_copy(piece.where, piece.record):
            _take(piece, tool, ledger, given)
    if tool is None:
        said = f" ({ledger.rejected[0]})" if ledger.rejected else ""
        raise BadFile(
            f"{where}: no measurements found{said}; read are tables with the columns {', '.join(NEEDED)}, and the output of {READ}"
        )
    if not (ledger.rows or ledger.aggregates or ledger.rejected):
        raise BadFile(f"{where}: has columns, and no row below them; add a row for every measured step")
    return tool


def _table(columns: tuple[str, ...] | None, ledger: Ledger, given: Given, where: str) -> Tool | None:
    """The tool of a table with these columns, which every row then is of; None where records bring their own keys."""
    if columns is None:
        return None
    tool = tool_of(dict.fromkeys(columns), f"{where}: the header")
    if tool is None and not set(columns) & set(COLUMNS):
        some = ", ".join(str(c)[:30] for c in columns[:8])
        raise BadFile(f"{where}: columns {some} are not of a tool that sol reads; a table of measurements has {', '.join(NEEDED)}")
    if tool is None or tool is OWN:
        check_columns(columns, given, where)
        return OWN
    return tool


def _take(piece: Piece, tool: Tool, ledger: Ledger, given: Given) -> None:
    try:
        for finding in tool.read(piece.record, given):
            at = ": ".join(p for p in (piece.where, finding.part) if p)
            if isinstance(finding, Refused):
                ledger.reject(at, finding.reason, piece.record)
            else:
                ledger.take(at, finding, piece.record)
    except Unreadable as error:
        ledger.refuse(piece.where, error, piece.record)
