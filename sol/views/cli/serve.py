"""`sol serve MODEL GPU --prompt N --output N --concurrency N`: what users of a server see, and how many it can have."""

from __future__ import annotations

from typing import Any

import click

from sol.views.cli.common import COUNT, answer, as_json, calibration_options
from sol.views.cli.server_options import RATE, SECONDS, length_options, pool_options, step_limits


@click.command()
@click.argument("model")
@click.argument("gpu")
@length_options
@click.option("--concurrency", "--max-concurrency", type=COUNT, default=None, help="Requests at once; several separated by commas.")
@click.option("--request-rate", type=RATE, default=None, help="Requests per second that arrive at random, instead.")
@click.option("--ttft", "ttft_s", type=SECONDS, default=None, help="Limit on the time to the first token, 500ms.")
@click.option("--tpot", "tpot_s", type=SECONDS, default=None, help="Limit on the time per output token, 50ms.")
@click.option("--cached-share", type=float, default=0.0, show_default=True, help="Part of the prompt tokens that are cached already.")
@click.option("--requests", "--num-prompts", type=COUNT, default=None, help="Requests of a benchmark that starts with all users at once.")
@click.option("--range-ratio", type=float, default=None, help="Of such a run: the shortest output over the longest (InferenceX 0.8).")
@pool_options
@step_limits
@calibration_options
@as_json
def serve(model: str, gpu: str, json_: bool, **asked: Any) -> None:
    """A server of MODEL on GPU in steady state: time per token, time to the first one, requests per second, and their bounds.

    Without --concurrency or --request-rate the answer is the largest rate that keeps --ttft and --tpot.

    \b
    Examples:
      sol serve llama-3.1-70b h100 --tp 4 --prompt 1k --output 1k --concurrency 64
      sol serve llama-3.1-8b h100 --prompt 1k --output 256 --request-rate 1,4,16
      sol serve llama-3.1-8b h100 --prompt 2k --output 256 --ttft 0.5s --tpot 20ms
    """
    from sol.answers.serve.serve import serve as ask_serve

    answer(ask_serve(model, gpu, **asked), json_)
