"""`sol plan MODEL GPU --devices 1-16`: which split of how many devices, for a step or for a load, and why."""

from __future__ import annotations

from typing import Any

import click

from sol.errors import InvalidInput
from sol.views.cli.common import COUNT, answer, as_json, calibration_options, gpu_files, link_options, routing_option
from sol.views.cli.server_options import RATE, SECONDS, any_length_options, engine_step_option, pool_options


@click.command()
@click.argument("model")
@click.argument("gpu")
@click.option("--devices", required=True, help="Numbers of devices to try: 8, 1,2,4 or 1-16.")
@click.option("--ctx", type=COUNT, default=None, help="Of a step's plan: tokens in the cache of every sequence; 128k = 131,072.")
@click.option("--concurrency", "--max-concurrency", type=COUNT, default=None, help="Of a load: requests at once.")
@click.option("--request-rate", type=RATE, default=None, help="Of a load: requests per second that arrive at random, instead.")
@any_length_options
@click.option("--cached-share", type=float, default=None, help="Of a load: part of the prompt tokens that are cached already.")
@click.option(
    "--objective",
    default=None,
    help="Of a step: latency (the default), ttft, tokens_per_s_per_user, tokens_per_s_per_gpu or cost; of a load: devices (the "
    "default), tokens_per_s_per_gpu, latency or cost.",
)
@click.option("--batch", type=COUNT, default=None, help="Batches of the replica to try; by default 64 per split (latency, ttft: 1).")
@click.option("--pools", is_flag=True, help="Prefill and decode on separate devices, compared with the best undivided replicas.")
@click.option("--ttft", "ttft_s", type=SECONDS, default=None, help="Limit on the first token (of a step's plan: the prefill), 500ms.")
@click.option("--tpot", "tpot_s", type=SECONDS, default=None, help="Limit on the time per output token (a step), 20ms.")
@click.option("--price-per-hour", type=float, default=None, help="Price of one device per hour, for the cost of a million tokens.")
@pool_options
@engine_step_option
@calibration_options
@link_options
@click.option("--dtype", "--quantization", default=None, help="Weight format (sol formats); by default what the config says.")
@click.option("--kv-dtype", "--kv-cache-dtype", default=None, help="Format of the KV cache; by default 16 bits.")
@routing_option
@gpu_files
@as_json
def plan(model: str, gpu: str, pools: bool, json_: bool, **asked: Any) -> None:
    """How many GPUs, divided how: for a load of requests, or for one decode step of MODEL.

    With --concurrency or --request-rate the answer is the fewest devices, as replicas, that carry the load within --ttft and --tpot.

    \b
    Examples:
      sol plan llama-3.1-70b h100 --devices 1-16 --concurrency 64 \\
          --prompt 1k --output 1k --ttft 1s --tpot 50ms --engine vllm
      sol plan llama-3.1-70b h100 --devices 1-16 --ctx 2k --network infiniband-ndr
      sol plan deepseek-v3 h200 --devices 8,16 --ctx 4k --network ndr \\
          --objective tokens_per_s_per_gpu --tpot 50ms
      sol plan llama-3.1-70b h100 --devices 8,16 --network ndr --pools \\
          --prompt 2k --output 256 --ttft 1s --tpot 30ms
    """
    given = {name: value for name, value in asked.items() if value is not None}
    answer((_pools if pools else _plan)(model, gpu, **given), json_)


def _plan(model: str, gpu: str, **asked: Any) -> Any:
    from sol.answers.plan.plan import plan as ask_plan

    if "concurrency" not in asked and "request_rate" not in asked:
        if "output_tokens" in asked:
            raise InvalidInput("--output", "is of a load or for --pools", "give --concurrency or --request-rate, or leave it out")
        if "ctx" not in asked:
            raise InvalidInput(
                "--ctx is missing:", "give the tokens in the cache of every sequence, or a load: --concurrency or --request-rate"
            )
    return ask_plan(model, gpu, **asked)


def _pools(model: str, gpu: str, **asked: Any) -> Any:
    from sol.answers.plan.pools import pools as ask_pools

    for name in ("ctx", "objective", "batch"):
        if name in asked:
            raise InvalidInput(f"--{name} is not for --pools:", "pools are searched for the most requests per second", "leave it out")
    for name in ("engine", "calibration", "max_batch", "max_batch_tokens", "memory_fraction", "cached_share"):
        if name in asked:
            raise InvalidInput(f"--{name.replace('_', '-')} is not for --pools:", "pools are priced by their floors", "leave it out")
    if "prompt_tokens" not in asked or "output_tokens" not in asked:
        raise InvalidInput("--pools", "needs --prompt and --output, the lengths of one request")
    return ask_pools(model, gpu, **asked)
