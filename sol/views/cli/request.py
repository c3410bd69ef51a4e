"""`sol request MODEL GPU --prompt N --output N`: one request from its prompt to its last token."""

from __future__ import annotations

from typing import Any

import click

from sol.views.cli.common import COUNT, answer, as_json, calibration_options, grid
from sol.views.cli.server_options import length_options, step_limits


@click.command()
@click.argument("model")
@click.argument("gpu")
@length_options
@click.option("--batch", type=COUNT, default="1", show_default=True, help="Requests of these lengths that start at once.")
@click.option("--cached-tokens", type=COUNT, default=0.0, help="Tokens of the prompt that are in the cache already.")
@step_limits
@calibration_options
@as_json
def request(model: str, gpu: str, json_: bool, **asked: Any) -> None:
    """One request of MODEL on GPU: bounds and expected times to the first token, per token and in all, and where they go.

    \b
    Examples:
      sol request llama-3.1-8b h100 --prompt 2k --output 256
      sol request llama-3.1-70b h100 --tp 4 --prompt 1k,8k,64k --output 256
    """
    from sol.answers.request.request import request as ask_request

    answer(ask_request(model, gpu, **grid(**asked)), json_)
