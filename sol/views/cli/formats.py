"""`sol formats`: what is in the database."""

from __future__ import annotations

import click

from sol.views.cli.common import answer, as_json


@click.command()
@as_json
def formats(json_: bool) -> None:
    """The number formats: stored bits with scales, the tensors they cover, the format of their products.

    \b
    Example:
      sol formats
    """
    from sol.answers.catalogue.catalogue import formats as listing

    answer(listing(), json_)
