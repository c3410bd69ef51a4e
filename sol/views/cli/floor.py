"""`sol floor MODEL GPU --ctx N`: the bound and its breakdown; lists of numbers make a sweep."""

from __future__ import annotations

from typing import Any

import click

from sol.views.cli.common import COUNT, answer, as_json, grid, group_option, split_options, step_options


@click.command()
@click.argument("model")
@click.argument("gpu")
@group_option
@click.option("--ctx", type=COUNT, default=None, help="Tokens in the KV cache (decode) or in the prompt (prefill); 128k = 131,072.")
@step_options
@split_options
@as_json
def floor(model: str, gpu: str, json_: bool, **asked: Any) -> None:
    """The floor of one step of MODEL on GPU: the time no implementation can beat.

    MODEL is an id (sol models), a Hugging Face id, or the path of a config.json, of a GGUF file, or of a folder
    with a config.json and perhaps safetensors.
    GPU is an id or alias (sol gpus), or id@mode for a power mode.

    \b
    Examples:
      sol floor qwen2.5-7b h100 --ctx 2048
      sol floor llama-3.1-8b l40s --ctx 1k,8k,64k --batch 1,8,64
      sol floor qwen3-30b-a3b rtx-4090 --ctx 4096 --dtype w4a16
      sol floor ./model-Q4_K_M.gguf rtx-4090 --ctx 4096
      sol floor llama-3.1-70b h100 --ctx 2048 --tp 8
      sol floor deepseek-v3 h200 --ctx 4096 --batch 256 --dp 8 --ep 8
      sol floor llama-3.1-8b h100 --group 64,1,2k --group 1,512,0
      sol floor ./config.json jetson-agx-orin-64gb@30w --phase prefill --ctx 512
    """
    from sol.answers.floor.floor import floor as ask_floor

    result = ask_floor(model, gpu, **grid(**asked))
    answer(result, json_)
