"""`sol estimate MODEL GPU --ctx N`: how long a step takes with an engine whose calibration is known."""

from __future__ import annotations

from typing import Any

import click

from sol.views.cli.common import COUNT, answer, as_json, calibration_options, engine_step_options, grid, group_option, split_options


@click.command()
@click.argument("model")
@click.argument("gpu")
@group_option
@click.option("--ctx", type=COUNT, default=None, help="Tokens in the KV cache (decode) or in the prompt (prefill); 128k = 131,072.")
@engine_step_options
@split_options
@calibration_options
@as_json
def estimate(model: str, gpu: str, json_: bool, **asked: Any) -> None:
    """The expected time of one step of MODEL on GPU: the floor's operators at the rates an engine reaches.

    The answer has an interval, if the calibration has one, and the parts of the time. It is never below the floor.

    \b
    Examples:
      sol estimate qwen2.5-7b h100 --ctx 2048
      sol estimate llama-3.1-8b a100 --ctx 2048 --batch 1,8,64 --engine vllm
      sol estimate llama-3.1-8b h100 --ctx 2048 --calibration mine.toml
    """
    from sol.answers.estimate.estimate import estimate as ask_estimate

    result = ask_estimate(model, gpu, **grid(**asked))
    answer(result, json_)
