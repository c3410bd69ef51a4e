"""`sol plan MODEL GPU --devices 1-16`: which split of how many devices, and why."""

from __future__ import annotations

from typing import Any

import click

from sol.views.cli.common import COUNT, as_json, emit, emit_json, gpu_files, routing_option


@click.command()
@click.argument("model")
@click.argument("gpu")
@click.option("--devices", required=True, help="How many there are: 8, 1,2,4 or 1-16.")
@click.option("--ctx", type=COUNT, required=True, help="Tokens in the cache of every sequence; 128k = 131,072.")
@click.option("--objective", default="latency", show_default=True, help="latency, tokens_per_s_per_user, tokens_per_s_per_gpu or cost.")
@click.option("--batch", type=COUNT, default=None, help="Batches of the replica to try; by default 64 from 1 to 4,096 (latency: 1).")
@click.option("--tpot", "tpot_s", default=None, help="The longest acceptable step, for instance 20ms.")
@click.option("--price-per-hour", type=float, default=None, help="Of one device, for the cost of a million tokens.")
@click.option("--network", default=None, help="The link beyond the devices' own (sol links), for instance infiniband-ndr.")
@click.option("--dtype", "--quantization", default=None, help="Weight format (sol formats); by default what the config says.")
@click.option("--kv-dtype", "--kv-cache-dtype", default=None, help="Format of the KV cache; by default 16 bits.")
@routing_option
@gpu_files
@as_json
def plan(model: str, gpu: str, tpot_s: str | None, json_: bool, **asked: Any) -> None:
    """The best split of a decode step of MODEL over several GPUs, and whether more of them help.

    \b
    Examples:
      sol plan llama-3.1-70b h100 --devices 1-16 --ctx 2k --network infiniband-ndr
      sol plan deepseek-v3 h200 --devices 8,16 --ctx 4k --network ndr \\
          --objective tokens_per_s_per_gpu --tpot 50ms
    """
    from sol.answers.plan import plan as ask_plan
    from sol.units import parse_seconds

    result = ask_plan(model, gpu, tpot_s=None if tpot_s is None else parse_seconds(tpot_s, "tpot"), **asked)
    if json_:
        emit_json(result.to_dict())
    else:
        emit(result.table())
