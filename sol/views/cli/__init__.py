"""The command line `sol`: one file per command, loaded only when it is called.

stdout carries the answer and nothing else; a user's mistake is one line on stderr (with --json
a JSON document of one line) and exit status 2.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from importlib import import_module
from typing import NoReturn

import click

from sol.errors import InvalidInput, SolError

COMMANDS = {
    "floor": "The fastest possible time of one step: a bound, with its breakdown.",
    "estimate": "How long one step takes with an engine: the expected time and its interval.",
    "request": "One request from its prompt to its last token: bounds and expected times.",
    "serve": "What users of a server see at a load, how many it can have, and the bound.",
    "compare": "A measured time against the floor: a verdict, the gap, likely causes.",
    "table": "The same step on many devices, fastest first, or in many weight formats on one.",
    "memory": "Whether a model fits, the longest context, the most sequences.",
    "offload": "The time of a step with part of the model in host memory.",
    "plan": "The best split over several devices, and whether more of them help.",
    "collective": "How long an all-reduce, all-gather, all-to-all … takes, and by which algorithm.",
    "replay": "A trace of requests through an engine's scheduler: TTFT, TPOT, E2E of each.",
    "calibrate": "What an engine reaches on a device, fitted to measured steps.",
    "ab": "Two arms of the same measured steps, for instance with and without CUDA graphs.",
    "explain": "The floor with its formulas and numbers, row by row, and its sources.",
    "gpus": "The devices in the database.",
    "models": "The models in the database.",
    "formats": "The number formats of weights and caches.",
    "links": "The links between devices and between boxes.",
    "show": "One record with the source of every number.",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"sol.views.cli.{name}"), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from sol.errors import suggest

            ctx.fail(f"no command '{args[0]}'; {suggest(args[0], COMMANDS, listing='sol --help')}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="llm-sol", prog_name="sol")
def sol() -> None:
    """The speed of light for LLM inference: how fast a model can run on a machine, and what stops it.

    \b
    Examples:
      sol floor qwen2.5-7b h100 --ctx 2048
      sol table --gpus all
      sol show h100
    """


def run() -> None:
    """The console script: `main` in a process of its own, too short-lived for collecting garbage to pay."""
    gc.disable()
    main()


def main(args: list[str] | None = None) -> None:
    """Run the command line; a user's mistake becomes one line on stderr and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks × or … shows ? instead
    given = sys.argv[1:] if args is None else args
    try:
        sol.main(args=given or ["--help"], prog_name="sol", standalone_mode=False)
        sys.stdout.flush()
    except SolError as error:
        _fail(error, as_json="--json" in given)
    except click.exceptions.Abort:
        _fail(SolError("interrupted"))
    except click.ClickException as error:
        where = f" (sol {error.ctx.info_name} --help)" if isinstance(error, click.UsageError) and error.ctx and error.ctx.parent else ""
        message = error.format_message()
        _fail(InvalidInput(f"{message[:1].lower()}{message[1:].rstrip('.')}{where}"), as_json="--json" in given)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        _fail(SolError("the answer", f"could not be written: {error.strerror or error}"))


def _fail(error: SolError, *, as_json: bool = False) -> NoReturn:
    """One line on stderr, or, where JSON was asked for, the error as one JSON document there; exit status 2."""
    line = f"sol: {error}"
    if as_json:
        import json

        line = json.dumps({"schema_version": 1, "error": error.to_dict()}, ensure_ascii=False)
    click.echo(line, err=True)
    raise SystemExit(2)
