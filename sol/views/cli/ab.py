"""`sol ab FILE… --by cuda_graphs`: two arms of the same steps, and the ratio of their times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sol.views.cli.common import answer, as_json
from sol.views.cli.measured import measured, measured_options


@click.command()
@measured_options
@click.option("--by", default="cuda_graphs", show_default=True, help="The column whose two labels are compared.")
@as_json
def ab(files: tuple[Path, ...], by: str, json_: bool, **given: Any) -> None:
    """Compare the two labels of a column over the same steps, with a 95 % interval over sessions.

    \b
    Examples:
      sol ab sessions.csv
      sol ab runs.csv --by engine
    """
    from sol.answers.calibrate.ab import ab as compare

    with measured(files, **given) as rows:
        result = compare(rows, by=by)
    answer(result, json_)
