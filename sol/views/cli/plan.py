"""`sol plan MODEL GPU --devices 1-16`: which split of how many devices, and why."""

from __future__ import annotations

from typing import Any

import click

from sol.errors import InvalidInput
from sol.views.cli.common import COUNT, answer, as_json, gpu_files, link_options, routing_option


@click.command()
@click.argument("model")
@click.argument("gpu")
@click.option("--devices", required=True, help="Numbers of devices to try: 8, 1,2,4 or 1-16.")
@click.option("--ctx", type=COUNT, default=None, help="Tokens in the cache of every sequence; 128k = 131,072.")
@click.option("--objective", default=None, help="latency (the default), ttft, tokens_per_s_per_user, tokens_per_s_per_gpu or cost.")
@click.option("--batch", type=COUNT, default=None, help="Batches of the replica to try; by default 64 per split (latency, ttft: 1).")
@click.option("--pools", is_flag=True, help="Prefill and decode on separate devices, compared with the best undivided replicas.")
@click.option("--prompt-tokens", type=COUNT, default=None, help="Tokens of one prompt; by default, without --pools, --ctx.")
@click.option("--output-tokens", type=COUNT, default=None, help="Tokens of one output, for --pools.")
@click.option("--ttft", "ttft_s", default=None, help="Limit on the prefill, for instance 500ms.")
@click.option("--tpot", "tpot_s", default=None, help="Limit on a step, for instance 20ms.")
@click.option("--price-per-hour", type=float, default=None, help="Price of one device per hour, for the cost of a million tokens.")
@link_options
@click.option("--dtype", "--quantization", default=None, help="Weight format (sol formats); by default what the config says.")
@click.option("--kv-dtype", "--kv-cache-dtype", default=None, help="Format of the KV cache; by default 16 bits.")
@routing_option
@gpu_files
@as_json
def plan(model: str, gpu: str, ttft_s: str | None, tpot_s: str | None, pools: bool, json_: bool, **asked: Any) -> None:
    """The best split of a decode step of MODEL over several GPUs, and whether more of them help.

    \b
    Examples:
      sol plan llama-3.1-70b h100 --devices 1-16 --ctx 2k --network infiniband-ndr
      sol plan deepseek-v3 h200 --devices 8,16 --ctx 4k --network ndr \\
          --objective tokens_per_s_per_gpu --tpot 50ms
      sol plan llama-3.1-70b h100 --devices 8,16 --network ndr --pools \\
          --prompt-tokens 2k --output-tokens 256 --ttft 1s --tpot 30ms
    """
    from sol.units import parse_seconds

    asked |= {
        name: None if v is None else parse_seconds(v, name.removesuffix("_s")) for name, v in (("ttft_s", ttft_s), ("tpot_s", tpot_s))
    }  # fmt: skip
    result = (_pools if pools else _plan)(model, gpu, **asked)
    answer(result, json_)


def _plan(model: str, gpu: str, *, ctx: Any, output_tokens: Any, objective: Any, **asked: Any) -> Any:
    from sol.answers.plan.plan import plan as ask_plan

    if output_tokens is not None:
        raise InvalidInput("--output-tokens", "is for --pools", "a plan is of one step, at --ctx tokens")
    if ctx is None:
        raise InvalidInput(
            "--ctx is missing:", "give the tokens in the cache of every sequence (with --pools the request's lengths give it)"
        )
    return ask_plan(model, gpu, ctx=ctx, objective=objective or "latency", **asked)


def _pools(model: str, gpu: str, *, ctx: Any, objective: Any, batch: Any, prompt_tokens: Any, output_tokens: Any, **asked: Any) -> Any:
    from sol.answers.plan.pools import pools as ask_pools

    for name, value in (("ctx", ctx), ("objective", objective), ("batch", batch)):
        if value is not None:
            raise InvalidInput(f"--{name} is not for --pools:", "pools are searched for the most requests per second", "leave it out")
    if prompt_tokens is None or output_tokens is None:
        raise InvalidInput("--pools", "needs --prompt-tokens and --output-tokens, the lengths of one request")
    return ask_pools(model, gpu, prompt_tokens=prompt_tokens, output_tokens=output_tokens, **asked)
