"""What the commands over measurements share: the files, and options for facts that a file does not record."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sol.errors import BadMeasurement, InvalidInput
from sol.views.cli.common import COUNT, gpu_files

if TYPE_CHECKING:
    from sol.specs.measurement import Measurements, Rejected

Command = TypeVar("Command", bound=Callable[..., Any])


def _one(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    if isinstance(value, list):
        raise InvalidInput(
            f"--{str(param.name).replace('_', '-')}", f"applies to every row of a file, and {len(value)} values were given", "give one"
        )
    return value


def measured_options(command: Command) -> Command:
    """FILE… and the options of `read_measurements`; only labels override a file."""
    for option in reversed(
        (
            click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…"),
            click.option("--model", default=None, help="The model, if a file does not record it or uses a name that sol does not know."),
            click.option("--gpu", default=None, help="The device, in the same case."),
            click.option("--dtype", "--quantization", default=None, help="The weight format, in the same case."),
            click.option("--kv-dtype", "--kv-cache-dtype", default=None, help="The KV cache format, in the same case."),
            click.option("--batch", type=COUNT, callback=_one, default=None, help="Sequences in every step, if a file does not record it."),
            click.option("--prompt-tokens", type=COUNT, callback=_one, default=None, help="Tokens of a prompt, in the same case."),
            click.option("--output-tokens", type=COUNT, callback=_one, default=None, help="Tokens of an output, in the same case."),
            click.option("--tp", "--tensor-parallel-size", type=int, default=None, help="Tensor-parallel devices, in the same case."),
            click.option("--pp", "--pipeline-parallel-size", type=int, default=None, help="Pipeline stages, in the same case."),
            click.option(
                "--ep", "--expert-parallel-size", type=int, default=None, help="Groups that the experts are divided into, in the same case."
            ),
            click.option("--dp", "--data-parallel-size", type=int, default=None, help="Copies of attention, in the same case."),
            click.option("--cuda-graphs/--no-cuda-graphs", default=None, help="Whether CUDA graphs were replayed, in the same case."),
            click.option("--engine", default=None, help="The engine, instead of the file's."),
            click.option("--source", default=None, help="The source of the rows, instead of the file's."),
            gpu_files,
        )
    ):
        command = option(command)
    return command


@contextmanager
def measured(files: Sequence[Path], **given: Any) -> Iterator[Measurements]:
    """The rows of all files together. Rejected rows are listed on stderr, or in the line of the error."""
    from sol.sources.benchmarks.reader import read_measurements

    parts = [read_measurements(path, **given) for path in files]
    left = [(part.path, r) for part in parts for r in part.rejected]
    try:
        yield _together(parts)
    except BadMeasurement as error:
        if not left:
            raise
        first, several = left[0], f"{len(left):,} rows were" if len(left) > 1 else "a row was"
        left_out = f"{several} not taken: {first[0]}, {first[1]}"
        raise BadMeasurement(error.asked, error.truth, f"{error.action}; {left_out}" if error.action else left_out) from None
    for line in _not_taken(left):
        click.echo(f"sol: {line}", err=True)
    sys.stderr.flush()


def _together(parts: Sequence[Measurements]) -> Measurements:
    from sol.specs.measurement import Measurements

    if len(parts) == 1:
        return parts[0]
    return Measurements(
        ", ".join(p.path for p in parts), ", ".join(dict.fromkeys(p.tool for p in parts)), tuple(r for p in parts for r in p.rows),
        tuple(a for p in parts for a in p.aggregates), tuple(r for p in parts for r in p.rejected),
        tuple(dict.fromkeys(a for p in parts for a in p.assumptions)),
    )  # fmt: skip


def _not_taken(left: Sequence[tuple[str, Rejected]]) -> Iterator[str]:
    """One line for each of the first reasons, with its rows."""
    from sol.specs.measurement import SHOWN_REJECTS

    alike: dict[tuple[str, str], list[str]] = {}
    for path, r in left:
        alike.setdefault((path, r.reason), []).append(r.where)
    named = list(alike.items())
    for (path, reason), places in named[:SHOWN_REJECTS]:
        more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
        yield f"{path}: not taken: {places[0]}{more}: {reason}"
    rest = sum(len(places) for _, places in named[SHOWN_REJECTS:])
    if rest:
        yield f"not taken: {rest:,} row{'s' * (rest > 1)} more, for {len(named) - SHOWN_REJECTS:,} other reasons"
