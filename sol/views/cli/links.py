"""`sol links`: what is in the database."""

from __future__ import annotations

import click

from sol.views.cli.common import answer, as_json


@click.command()
@as_json
def links(json_: bool) -> None:
    """The links between devices and between boxes: rate in one direction, what they join, whether they reduce.

    \b
    Example:
      sol links
    """
    from sol.answers.catalogue.catalogue import links as listing

    answer(listing(), json_)
