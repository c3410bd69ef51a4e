"""What the commands share: the options of a step, and the output."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import numpy as np

from sol.errors import InvalidInput
from sol.units import parse_amount, parse_count

Command = TypeVar("Command", bound=Callable[..., Any])


class Numbers(click.ParamType[Any]):
    """A number as people type it, or several separated by commas."""

    def __init__(self, name: str, parse: Callable[[str, str], float | int]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """One number as a float, several as a list of floats."""
        if not isinstance(value, str):
            return value
        field = param.name if param is not None and param.name else "value"
        parsed = [self._parse(part, field) for part in value.split(",")]
        return parsed[0] if len(parsed) == 1 else parsed


COUNT = Numbers("N[,N…]", parse_count)
"""Tokens or sequences; `k` is 1,024."""
AMOUNT = Numbers("BYTES[,…]", parse_amount)
"""Bytes with their unit: 40GiB, 2GB."""


def _whole_number(text: str, field: str) -> int:
    if not text.strip().isdecimal():
        raise InvalidInput(f"{field} '{text}'", "is not a whole number of devices", "write it like 8 or 1,2,4,8")
    return int(text)


WAYS = Numbers("N[,N…]", _whole_number)
"""Ways to split."""


ROUTING_HELP = "Distinct experts: min (a strict bound), expected, max, a measured number, or the share of each expert, separated by commas."


def routing_option(command: Command) -> Command:
    """How tokens choose their experts."""
    return click.option("--routing", callback=_routing, default="expected", show_default=True, help=ROUTING_HELP)(command)


def _routing(ctx: click.Context, param: click.Parameter, value: str) -> Any:
    """Numbers as numbers; anything else is checked later as the name of a rule."""
    try:
        parsed = [float(part) for part in value.split(",")]
    except ValueError:
        return value
    return parsed[0] if len(parsed) == 1 else parsed


def _auto(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value == "auto" else value


_STEP = (
    click.option("--batch", type=COUNT, default="1", show_default=True, help="Sequences in the step (vLLM: --max-num-seqs)."),
    click.option("--phase", default="decode", show_default=True, help="decode, or prefill."),
    click.option("--new-tokens", type=COUNT, default=1.0, help="Tokens computed per sequence in decode; more than one verifies drafts."),
    click.option("--cached-tokens", type=COUNT, default=0.0, help="Tokens of the prompt that are already in the cache (prefill)."),
    click.option("--logits", default=None, help="last, all or none; by default all in decode, last in prefill."),
    click.option("--dtype", "--quantization", default=None, help="Weight format (sol formats); by default what the config says."),
    click.option("--kv-dtype", "--kv-cache-dtype", callback=_auto, default=None, help="Format of the KV cache; by default (auto) 16 bits."),
    routing_option,
)
_FUSION = click.option(
    "--fusion", default="ideal", show_default=True, help="ideal, kernel or eager: changes the serial floor and the rows."
)  # fmt: skip


def step_options(command: Command) -> Command:
    """The options that describe a step, the same for every command that prices one."""
    for option in reversed((*_STEP, _FUSION, gpu_files)):
        command = option(command)
    return command


def engine_step_options(command: Command) -> Command:
    """The options of a step whose kernels the engine determines."""
    for option in reversed((*_STEP, gpu_files)):
        command = option(command)
    return command


def calibration_options(command: Command) -> Command:
    """The engine of the estimate."""
    name = click.option(
        "--engine",
        default=None,
        help="An engine, one at a version (vllm@0.15), or a class: eager, graph or fused; by default the nearest to all servers.",
    )
    file = click.option("--calibration", metavar="FILE", default=None, help="A saved calibration (TOML), instead of an engine.")
    return name(file(command))


def plain_split_options(command: Command) -> Command:
    """How a replica is spread over devices."""
    for option in reversed(
        (
            click.option("--tp", "--tensor-parallel-size", type=WAYS, default=1, show_default=True, help="Tensor-parallel devices."),
            click.option("--pp", "--pipeline-parallel-size", type=WAYS, default=1, show_default=True, help="Pipeline stages."),
            click.option(
                "--ep", "--expert-parallel-size", type=WAYS, default=1, show_default=True, help="Groups that the experts are divided into."
            ),
            click.option(
                "--dp",
                "--data-parallel-size",
                type=WAYS,
                default=1,
                show_default=True,
                help="Copies of attention, each with a part of the sequences.",
            ),
            click.option(
                "--cp",
                "--decode-context-parallel-size",
                type=WAYS,
                default=1,
                show_default=True,
                help="Tensor-parallel devices that divide the cached tokens which they would all hold.",
            ),
        )
    ):
        command = option(command)
    return command


def link_options(command: Command) -> Command:
    """Over which links devices speak: inside a box, and between boxes."""
    link = click.option(
        "--link", default=None, metavar="LINK",
        help="What joins the devices of one box (sol links), if not the database's default: pcie4-x8, or a bridge by its name.",
    )  # fmt: skip
    network = click.option(
        "--network", default=None, metavar="LINK", help="What joins boxes (sol links): infiniband-ndr, a port for each device."
    )
    return link(network(command))


def split_options(command: Command) -> Command:
    """How a replica is spread over devices, and over which links."""
    skew = click.option("--imbalance", type=float, default=1.0, show_default=True, help="Load of the busiest experts over the mean.")
    return plain_split_options(link_options(skew(command)))


class _Group(click.ParamType[Any]):
    """A group of a mixed step as people type it: 64,1,2k."""

    name = "N,NEW,PAST[,LOGITS]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Sequences, new tokens and cached tokens as numbers, and the word for the logits where it is given."""
        parts = value.split(",")
        if len(parts) not in (3, 4):
            raise InvalidInput(
                f"--group {value}", "is not sequences, new tokens and cached tokens", "write it like 64,1,2k or 1,512,0,last"
            )
        return (*(parse_count(part, "--group") for part in parts[:3]), *parts[3:])


def group_option(command: Command) -> Command:
    """The groups of a mixed step, None where there are none."""
    return click.option(
        "--group", "groups", type=_Group(), multiple=True, callback=lambda ctx, param, value: value or None,
        help="Instead of --ctx, a group of a mixed step; repeat it: --group 64,1,2k --group 1,512,0.",
    )(command)  # fmt: skip


def _remember_folder(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        import os

        from sol.sources.database.database import GPUS_VARIABLE

        os.environ[GPUS_VARIABLE] = value


gpu_files = click.option(
    "--gpu-files", type=click.Path(exists=True), metavar="PATH", expose_value=False, is_eager=True, callback=_remember_folder,
    help="A TOML file, or a folder of them, with devices of your own (or set SOL_GPUS).",
)  # fmt: skip
as_json = click.option("--json", "json_", is_flag=True, help="One JSON document on stdout.")


def grid(**values: Any) -> dict[str, Any]:
    """Lists become axes of a grid, batch outermost; single numbers stay as they are."""
    lists = sorted((name for name, v in values.items() if isinstance(v, list)), key=lambda name: name != "batch")
    shaped = dict(values)
    for axis, name in enumerate(lists):
        shape = [1] * len(lists)
        shape[axis] = -1
        shaped[name] = np.array(values[name]).reshape(shape)
    return shaped


def answer(result: Any, json_: bool) -> None:
    """A result as text, or as one JSON document and nothing else."""
    if json_:
        sys.stdout.write(result.to_json(indent=2) + "\n")
    else:
        emit(result)


def emit(renderable: Any) -> None:
    """Text for people: as wide as the terminal, coloured only on one, plain in a pipe."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False, emoji=False).print(renderable, crop=False)
    else:
        from sol.tabular import render

        sys.stdout.write(render(renderable) + "\n")
