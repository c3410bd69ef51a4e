"""`sol models`: what is in the database."""

from __future__ import annotations

import click

from sol.views.cli.common import as_json, emit, emit_json


@click.command()
@as_json
def models(json_: bool) -> None:
    """The models that are built in: parameters, layers, KV cache per token.

    \b
    Example:
      sol models
    """
    from sol.answers.catalogue.catalogue import models as listing

    if json_:
        from sol.answers.report.document import table_document

        emit_json(table_document("models", listing(), {}))
    else:
        emit(listing())
