"""`sol models`: what is in the database."""

from __future__ import annotations

import click

from sol.views.cli.common import answer, as_json


@click.command()
@as_json
def models(json_: bool) -> None:
    """The models in the database: parameters, layers, KV cache per token.

    \b
    Example:
      sol models
    """
    from sol.answers.catalogue.catalogue import models as listing

    answer(listing(), json_)
