"""`sol compare MODEL GPU --measured 16.97ms --ctx N`: is a measured time good, broken, impossible, or can nobody tell, and what to do."""

from __future__ import annotations

from typing import Any

import click

from sol.views.cli.common import COUNT, answer, as_json, calibration_options, split_options, step_options


@click.command()
@click.argument("model")
@click.argument("gpu")
@click.option(
    "--measured", required=True, metavar="TIME", help="Time of a step, 16.97ms or 0.5s; or a rate, 59tok/s (all sequences) or 59tok/s/user."
)
@click.option("--ctx", type=COUNT, default=None, help="Tokens in the KV cache (decode; leave out if unknown) or in the prompt (prefill).")
@step_options
@split_options
@calibration_options
@as_json
def compare(model: str, gpu: str, measured: str, json_: bool, **asked: Any) -> None:
    """What a measured step of MODEL on GPU is worth: impossible, cannot tell, at the limit, healthy, slow or broken.

    The answer has the parts of the time above the floor, the likely causes whose numbers fit, and the command that
    measures the same step. A rate counts new tokens (in prefill, tokens of the prompt).

    \b
    Examples:
      sol compare qwen2.5-7b h100 --measured 16.97ms --ctx 2048
      sol compare llama-3-8b rtx-4090 --measured 61tok/s --ctx 16 --dtype fp16
      sol compare llama-3.1-8b h100 --measured 2100tok/s --batch 32 --ctx 1k
      sol compare llama-3.1-8b h100 --phase prefill --measured 45ms --ctx 2k
    """
    from sol.answers.compare.compare import compare as ask_compare
    from sol.units import parse_measured, told_as

    time_s = parse_measured(measured, "measured", **_counted(asked))
    result = ask_compare(model, gpu, measured_s=time_s, told=told_as(measured), **asked)
    answer(result, json_)


def _counted(asked: dict[str, Any]) -> dict[str, float]:
    """New tokens and sequences of one step, for a rate; 1 and 1 if the question is invalid, which is reported later."""
    batch, new = asked["batch"], asked["new_tokens"]
    if asked["phase"] == "prefill" and isinstance(asked["ctx"], float) and isinstance(asked["cached_tokens"], float):
        new = asked["ctx"] - asked["cached_tokens"]
    good = isinstance(batch, float) and isinstance(new, float) and batch > 0.0 and new > 0.0
    return {"tokens": batch * new, "sequences": batch} if good else {"tokens": 1.0, "sequences": 1.0}
