"""`sol replay TRACE MODEL GPU`: a trace of requests through the scheduler of an engine."""

from __future__ import annotations

import sys
from typing import Any

import click

from sol.views.cli.common import COUNT, answer, as_json, gpu_files, link_options, plain_split_options, routing_option


@click.command()
@click.argument("requests")
@click.argument("model")
@click.argument("gpu")
@click.option(
    "--engine", default=None, help="Whose scheduler: vllm (default), sglang, tensorrt-llm, or one version, vllm@0.19; and whose step times."
)
@click.option("--calibration", metavar="FILE", default=None, help="Step times of a saved calibration (TOML), instead of the engine's.")
@click.option("--on", default="estimate", show_default=True, help="estimate, or floor: every step at its bound.")
@click.option("--max-batch", "--max-num-seqs", type=COUNT, default=None, help="Sequences that run at once; by default the engine's.")
@click.option("--max-batch-tokens", "--max-num-batched-tokens", type=COUNT, default=None, help="Tokens of a step; by default the engine's.")
@click.option("--kv-tokens", type=COUNT, default=None, help="Tokens of the pool, as the engine logs them; by default as sol memory has it.")
@click.option(
    "--memory-fraction", "--gpu-memory-utilization", "--mem-fraction-static", type=float, default=None, help="The engine's memory fraction."
)
@click.option(
    "--concurrency", "--max-concurrency", type=COUNT, default=None, help="Requests at once in a closed loop, instead of the arrivals."
)
@click.option("--admission", default=None, help="What must be free to admit a request: chunk, prompt, whole or estimate.")
@click.option("--dtype", "--quantization", default=None, help="Weight format (sol formats); by default what the config says.")
@click.option("--kv-dtype", "--kv-cache-dtype", default=None, help="Format of the KV cache; by default 16 bits.")
@routing_option
@plain_split_options
@link_options
@click.option("--imbalance", type=float, default=1.0, show_default=True, help="Load of the busiest experts over the mean.")
@gpu_files
@as_json
@click.option("--csv", "csv_", is_flag=True, help="One CSV row a request on stdout.")
def replay(requests: str, model: str, gpu: str, json_: bool, csv_: bool, **asked: Any) -> None:
    """The trace REQUESTS served by MODEL on GPU: TTFT, TPOT and E2E of each request, and where the time goes.

    REQUESTS is a CSV, JSON, JSON-lines or Parquet file with arrival_s, prompt_tokens and output_tokens; cached_tokens and measured times
    (first_token_s and last_token_s, or ttft_s, tpot_s, e2e_s) may stand beside them. Names of other traces are understood.

    \b
    Examples:
      sol replay requests.csv llama-3.1-8b h100
      sol replay requests.csv qwen3-32b h100 --tp 2 --engine vllm@0.19
      sol replay requests.csv llama-3.1-8b h100 --on floor --json
    """
    from sol.answers.replay.replay import replay as ask_replay

    result = ask_replay(requests, model, gpu, **asked)
    if csv_:
        sys.stdout.write(result.to_csv())
    else:
        answer(result, json_)
