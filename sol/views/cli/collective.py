"""`sol collective OP GPU --ranks N`: how long a collective takes, and by which algorithm."""

from __future__ import annotations

from typing import Any

import click

from sol.units import parse_amount
from sol.views.cli.common import COUNT, answer, as_json, gpu_files, grid, link_options

LADDER = "1KiB,16KiB,64KiB,256KiB,1MiB,16MiB,256MiB,1GiB"


class Size(click.ParamType[Any]):
    """A number of bytes, or several separated by commas: 16MiB, 1e6, 2GB."""

    name = "BYTES[,BYTES…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """One size as a float, several as a list of floats."""
        if not isinstance(value, str):
            return value
        sizes = [parse_amount(part, "message_bytes") for part in value.split(",")]
        return sizes[0] if len(sizes) == 1 else sizes


@click.command()
@click.argument("op")
@click.argument("gpu")
@click.option("--ranks", type=COUNT, required=True, help="Devices that take part.")
@click.option(
    "--message", "--message-bytes", "message_bytes", type=Size(), default=LADDER, show_default=True,
    help="The larger of the send and the receive buffer of one rank.",
)  # fmt: skip
@link_options
@gpu_files
@as_json
def collective(op: str, gpu: str, ranks: Any, message_bytes: Any, link: str | None, network: str | None, json_: bool) -> None:
    """Floor and estimate of OP (all-reduce, all-gather, reduce-scatter, all-to-all or send) over --ranks devices GPU.

    \b
    Examples:
      sol collective all-reduce h100 --ranks 8 --message 16MiB
      sol collective all-reduce mi300x --ranks 2,8
      sol collective all-reduce rtx-3090 --ranks 2 --link nvlink-bridge-ga102
      sol collective all-to-all b200 --ranks 32 --network infiniband-ndr
    """
    from sol.answers.collective.collective import collective as ask_collective

    operation: Any = op.replace("-", "_")  # `collective` says what it may be
    asked = grid(ranks=ranks, message_bytes=message_bytes)
    result = ask_collective(operation, gpu, link=link, network=network, **asked)
    answer(result, json_)
