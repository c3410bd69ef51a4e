"""`sol gpus`: the devices in the database, all of them or those that satisfy conditions."""

from __future__ import annotations

import click

from sol.views.cli.common import answer, as_json, gpu_files


@click.command()
@click.option("--where", multiple=True, metavar="CONDITION", help="Keep devices that satisfy this; may be given more than once.")
@gpu_files
@as_json
def gpus(where: tuple[str, ...], json_: bool) -> None:
    """The devices in the database: capacity, bandwidth, dense rates.

    A condition is FIELD, FIELD=VALUE or FIELD>VALUE (also >= <= < !=) on vendor, kind, architecture,
    line, memory, bandwidth, tdp, year, cache or a number format.

    \b
    Examples:
      sol gpus
      sol gpus --where vendor=nvidia --where "memory>=80GiB"
      sol gpus --where fp4 --where "bandwidth>1TB/s"
    """
    from sol.answers.catalogue.catalogue import gpus as listing

    answer(listing(where), json_)
