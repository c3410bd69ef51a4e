"""What the commands over measurements share: their files, and the options that fill what a file does not record."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sol.views.cli.common import COUNT, gpu_files, plain_split_options

if TYPE_CHECKING:
    from sol.specs.measurement import Measurements

Command = TypeVar("Command", bound=Callable[..., Any])


def measured_options(command: Command) -> Command:
    """FILE… and the options of `read_measurements`; none but labels overrules a file."""
    for option in reversed(
        (
            click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…"),
            click.option("--model", default=None, help="The model, where a file does not say, or in words that are none of ours."),
            click.option("--gpu", default=None, help="The device, likewise."),
            click.option("--engine", default=None, help="The engine, instead of what a file says."),
            click.option("--cuda-graphs/--no-cuda-graphs", default=None, help="Whether graphs were replayed, likewise."),
            click.option("--dtype", "--quantization", default=None, help="The weights' format, likewise."),
            click.option("--kv-dtype", "--kv-cache-dtype", default=None, help="The cache's format, likewise."),
            click.option("--batch", type=COUNT, default=None, help="Sequences in every step, likewise."),
            click.option("--prompt-tokens", type=COUNT, default=None, help="Tokens of a prompt, likewise."),
            click.option("--output-tokens", type=COUNT, default=None, help="Tokens of an answer, likewise."),
            click.option("--source", default=None, help="Where the rows come from, instead of what a file says."),
            gpu_files,
        )
    ):
        command = option(command)
    return plain_split_options(command)


def read_all(files: Sequence[Path], **given: Any) -> Measurements:
    """The rows of all files together; rejected rows are named on stderr. Raises what `read_measurements` raises."""
    from sol.sources.benchmarks.reader import read_measurements
    from sol.specs.measurement import SHOWN_REJECTS, Measurements

    parts = [read_measurements(path, **given) for path in files]
    for part in parts:
        for r in part.rejected[:SHOWN_REJECTS]:
            click.echo(f"sol: {part.path}: not taken: {r}", err=True)
        if len(part.rejected) > SHOWN_REJECTS:
            click.echo(f"sol: {part.path}: not taken: {len(part.rejected) - SHOWN_REJECTS} rows more", err=True)
    sys.stderr.flush()
    if len(parts) == 1:
        return parts[0]
    return Measurements(
        ", ".join(p.path for p in parts), ", ".join(dict.fromkeys(p.tool for p in parts)), tuple(r for p in parts for r in p.rows),
        tuple(a for p in parts for a in p.aggregates), tuple(r for p in parts for r in p.rejected),
        tuple(dict.fromkeys(a for p in parts for a in p.assumptions)),
    )  # fmt: skip
