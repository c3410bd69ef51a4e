"""`sol gpus`: what is in the database."""

from __future__ import annotations

import click

from sol.views.cli.common import as_json, emit, emit_json, gpu_files


@click.command()
@gpu_files
@as_json
def gpus(json_: bool) -> None:
    """The devices that are known: capacity, bandwidth, dense rates.

    \b
    Example:
      sol gpus
    """
    from sol.answers.catalogue import gpus as listing

    if json_:
        from sol.answers.document import table_document

        emit_json(table_document("gpus", listing(), {}))
    else:
        emit(listing())
