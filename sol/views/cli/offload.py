"""`sol offload MODEL GPU --ctx N`: how fast a step can be with part of the model in host memory."""

from __future__ import annotations

from typing import Any

import click

from sol.views.cli.common import AMOUNT, COUNT, answer, as_json, gpu_files, grid, routing_option


@click.command()
@click.argument("model")
@click.argument("gpu")
@click.option("--ctx", type=COUNT, required=True, help="Tokens in the KV cache; 128k = 131,072.")
@click.option("--batch", type=COUNT, default=1.0, show_default="1", help="Sequences in the step.")
@click.option("--dtype", "--quantization", default=None, help="Weight format (sol formats); by default what the config says.")
@click.option("--kv-dtype", "--kv-cache-dtype", default=None, help="Format of the KV cache; by default 16 bits.")
@routing_option
@click.option("--host-bytes", type=AMOUNT, default=None, help="Bytes on the host, like 40GiB; by default what does not fit.")
@click.option("--link", default=None, help="Kind of link to the host (sol links); by default the device's PCIe.")
@gpu_files
@as_json
def offload(model: str, gpu: str, json_: bool, **asked: Any) -> None:
    """One decode step of MODEL on GPU, with the part that does not fit in host memory.

    \b
    Examples:
      sol offload llama-3.1-70b rtx-4090 --ctx 4k --dtype w4a16
      sol offload qwen3-30b-a3b rtx-4090 --ctx 4k --host-bytes 45GiB,50GiB
      sol offload llama-3.1-70b gh200 --ctx 4k --link nvlink-c2c
    """
    from sol.answers.memory.offload import offload as ask_offload

    result = ask_offload(model, gpu, **grid(**asked))
    answer(result, json_)
