"""What the commands about requests share: their lengths, the steps of the engine, and times as people type them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from sol.errors import InvalidInput
from sol.units import parse_seconds
from sol.views.cli.common import COUNT, Numbers, gpu_files, routing_option, split_options

Command = TypeVar("Command", bound=Callable[..., Any])


class _Seconds(click.ParamType[Any]):
    """A time with its unit: 50ms, 0.5s."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The time in seconds."""
        return parse_seconds(value, param.name.removesuffix("_s") if param is not None and param.name else "time")


def _rate(text: str, field: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(
            f"--{field.replace('_', '-')} {text}", "is not a number of requests per second", "write it like 4 or 0.5,1,2"
        ) from None


SECONDS = _Seconds()
RATE = Numbers("RATE[,RATE…]", _rate)
"""Requests per second."""

_PROMPT = ("--prompt", "--prompt-tokens", "--random-input-len", "prompt_tokens")
_OUTPUT = ("--output", "--output-tokens", "--random-output-len", "output_tokens")
_LENGTHS = (
    click.option(*_PROMPT, type=COUNT, required=True, help="Tokens of the prompt; 1k = 1,024."),
    click.option(*_OUTPUT, type=COUNT, required=True, help="Tokens of the output."),
)
_ANY_LENGTHS = (
    click.option(*_PROMPT, type=COUNT, default=None, help="Tokens of one prompt; of a step's plan by default --ctx."),
    click.option(*_OUTPUT, type=COUNT, default=None, help="Tokens of one output, of a load or for --pools."),
)
_TOKENS = click.option(
    "--max-batch-tokens", "--max-num-batched-tokens", type=COUNT, default=None, help="Tokens of a step; by default the engine's."
)
_STEPS = (
    _TOKENS,
    click.option("--dtype", "--quantization", default=None, help="Weight format (sol formats); by default what the config says."),
    click.option("--kv-dtype", "--kv-cache-dtype", default=None, help="Format of the KV cache; by default 16 bits."),
    routing_option, split_options, gpu_files,
)  # fmt: skip
_POOL = (
    click.option("--max-batch", "--max-num-seqs", type=COUNT, default=None, help="Sequences of a step; by default the engine's."),
    click.option(
        "--memory-fraction", "--gpu-memory-utilization", "--mem-fraction-static", type=float, default=None,
        help="Of the device that the engine takes; by default its own.",
    ),
)  # fmt: skip


def length_options(command: Command) -> Command:
    """The lengths of a request."""
    return _all(command, _LENGTHS)


def any_length_options(command: Command) -> Command:
    """The same, where not every question has them."""
    return _all(command, _ANY_LENGTHS)


def engine_step_option(command: Command) -> Command:
    """How many tokens a step of the engine has."""
    return _all(command, (_TOKENS,))


def step_limits(command: Command) -> Command:
    """How steps are filled, and how the model lies on its devices."""
    return _all(command, _STEPS)


def pool_options(command: Command) -> Command:
    """How many sequences the engine holds."""
    return _all(command, _POOL)


def _all(command: Command, options: tuple[Callable[[Any], Any], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
