"""`sol show ID`: one record, every number with its source."""

from __future__ import annotations

import click

from sol.views.cli.common import answer, as_json, gpu_files


@click.command()
@click.argument("name")
@gpu_files
@as_json
def show(name: str, json_: bool) -> None:
    """One device, model, format, link or engine with its sources, or the parts of a checkpoint.

    \b
    Examples:
      sol show h100
      sol show jetson-agx-orin-64gb@30w
      sol show ./model.gguf
      sol show ./my-model/          a folder of .safetensors
    """
    from sol.answers.catalogue.catalogue import show as record

    answer(record(name), json_)
