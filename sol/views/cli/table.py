"""`sol table`: one step on many devices, or in many weight formats on one."""

from __future__ import annotations

from typing import Any

import click

from sol.views.cli.common import COUNT, answer, as_json, step_options


@click.command()
@click.option("--model", default="qwen2.5-7b", show_default=True, help="Model id, Hugging Face id, or path of a checkpoint.")
@click.option("--gpus", default="all", show_default=True, help="all, or ids separated by commas.")
@click.option("--ctx", type=COUNT, default="2048", show_default=True, help="Tokens in the cache (decode) or the prompt (prefill).")
@click.option("--estimate", is_flag=True, help="Add a column of estimates, for devices with a calibration.")
@click.option(
    "--engine",
    default=None,
    help="The engine of the estimates (vllm, vllm@0.15), or eager, graph or fused; by default the nearest to all servers.",
)
@step_options
@as_json
def table(model: str, gpus: str, json_: bool, **asked: Any) -> None:
    """The floor of one step on many devices, fastest first, or on one device in several weight formats (--dtype with commas).

    \b
    Examples:
      sol table --gpus all
      sol table --model llama-3.1-8b --gpus h100,l40s,4090 --dtype fp8
      sol table --model llama-3.1-8b --gpus h100 --dtype bf16,fp8,w4a16
      sol table --gpus all --estimate --engine graph
    """
    from sol.answers.table.table import table as ask_table

    result = ask_table(model, gpus, **asked)
    answer(result, json_)
