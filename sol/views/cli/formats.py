"""`sol formats`: what is in the database."""

from __future__ import annotations

import click

from sol.views.cli.common import answer, as_json


@click.command()
@as_json
def formats(json_: bool) -> None:
    """The number formats: stored bits with scales, what they cover, whose rate they compute at.

    \b
    Example:
      sol formats
    """
    from sol.answers.catalogue.catalogue import formats as listing

    answer(listing(), json_)
