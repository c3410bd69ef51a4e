"""`sol explain MODEL GPU --ctx N`: the formula with the numbers in it, or the bibliography."""

from __future__ import annotations

from typing import Any

import click

from sol.views.cli.common import COUNT, answer, as_json, group_option, split_options, step_options


@click.command()
@click.argument("model")
@click.argument("gpu")
@group_option
@click.option("--ctx", type=COUNT, default=None, help="Tokens in the KV cache (decode) or in the prompt (prefill).")
@click.option("--sources", is_flag=True, help="Show the source of every number instead of the arithmetic.")
@step_options
@split_options
@as_json
def explain(model: str, gpu: str, sources: bool, json_: bool, **asked: Any) -> None:
    """The floor of one step with its formulas and numbers, row by row.

    \b
    Examples:
      sol explain qwen2.5-7b h100 --ctx 2048
      sol explain qwen2.5-7b h100 --ctx 2048 --sources
    """
    from sol.answers.floor.floor import floor

    result = floor(model, gpu, **asked)
    if sources and not json_:
        answer(result.sources(), json_)
    elif json_:
        answer(result.explain(), json_)
    else:
        click.echo(str(result.explain()))
