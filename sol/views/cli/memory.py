"""`sol memory MODEL [GPU] --ctx N`: does it fit, how long a context, how many users."""

from __future__ import annotations

from typing import Any

import click

from sol.views.cli.common import COUNT, answer, as_json, gpu_files, grid, group_option, plain_split_options


@click.command()
@click.argument("model")
@click.argument("gpu", required=False)
@group_option
@click.option("--ctx", "--max-model-len", type=COUNT, default=None, help="Tokens each sequence holds; 128k = 131,072.")
@click.option("--batch", type=COUNT, default=1.0, show_default="1", help="Sequences held at once.")
@click.option("--dtype", "--quantization", default=None, help="Weight format (sol formats); by default what the config says.")
@click.option("--kv-dtype", "--kv-cache-dtype", default=None, help="Format of the KV cache; by default 16 bits.")
@click.option(
    "--max-step-tokens",
    "--max-num-batched-tokens",
    type=COUNT,
    default=None,
    help="Tokens of the largest step; by default max(batch, 2048), or the engine's own default.",
)
@click.option(
    "--engine", default=None, help="Add the pool that vllm, sglang, tensorrt-llm or llama.cpp reserves on GPU; vllm@0.16: of that version."
)
@click.option("--max-num-seqs", type=COUNT, default=None, help="Sequences of the step the engine measures; by default its own.")
@click.option(
    "--memory-fraction",
    "--gpu-memory-utilization",
    "--mem-fraction-static",
    type=float,
    default=None,
    help="The memory fraction of the engine; by default its own.",
)
@click.option("--lora-rank", "--max-lora-rank", type=int, default=None, help="Hold LoRA adapters of this rank as well.")
@click.option("--lora-adapters", "--max-loras", type=int, default=1, show_default=True, help="How many of them.")
@plain_split_options
@gpu_files
@as_json
def memory(model: str, gpu: str | None, json_: bool, **asked: Any) -> None:
    """The bytes MODEL needs, whether GPU holds them, and what an engine reserves.

    \b
    Examples:
      sol memory llama-3.1-8b rtx-4090 --ctx 32k
      sol memory llama-3.1-70b h100 --ctx 8k,128k --batch 1,32 --dtype fp8
      sol memory qwen3-30b-a3b --ctx 128k
      sol memory llama-3.1-70b h100 --ctx 8k --batch 64 --tp 4
      sol memory llama-3.1-8b h100 --ctx 8k --engine vllm --memory-fraction 0.9
      sol memory llama-3.1-8b h100 --ctx 8k --engine vllm@0.19 --pp 2
    """
    from sol.answers.memory.memory import memory as ask_memory

    result = ask_memory(model, gpu, **grid(**asked))
    answer(result, json_)
