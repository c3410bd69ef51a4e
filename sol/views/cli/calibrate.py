"""`sol calibrate FILE…`: what an engine reaches of a device, fitted to measured steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sol.views.cli.common import answer, as_json
from sol.views.cli.measured import measured, measured_options


@click.command()
@measured_options
@click.option("--fusion", default=None, help="The kernels the engine issues, kernel or eager; by default those of its class.")
@click.option("--mbu", type=float, default=None, help="Fraction of the peak bandwidth, if you know it; by default fitted.")
@click.option("--mfu", type=float, default=None, help="Fraction of the peak FLOP rate, if you know it; by default fitted.")
@click.option("--kernels", is_flag=True, help="Take the rates of the device's kernels from the database; fit only the engine's times.")
@click.option("--save", type=click.Path(path_type=Path), default=None, help="Write a TOML file for sol estimate --calibration.")
@as_json
def calibrate(
    files: tuple[Path, ...], fusion: Any, mbu: float | None, mfu: float | None, kernels: bool, save: Path | None, json_: bool,
    **given: Any,
) -> None:  # fmt: skip
    """Fit what an engine reaches on a device to the measured steps in FILEs.

    A FILE is a table with the columns model, gpu, phase, measured_s …, or the output of a benchmark tool.
    Each device, engine and weight format gives one calibration.

    \b
    Examples:
      sol calibrate runs.csv
      sol calibrate runs.csv --engine vllm --save vllm-h100.toml
      sol calibrate one-model.csv --engine vllm --kernels
      sol calibrate bench.jsonl --model llama-3.1-8b --gpu 4090
    """
    from sol.answers.calibrate.calibrate import Calibrations
    from sol.answers.calibrate.calibrate import calibrate as fit
    from sol.specs.calibration import Calibration

    with measured(files, **given) as rows:
        found = fit(rows, fusion=fusion, mbu=mbu, mfu=mfu, kernels=kernels)
    if save is not None:
        from sol.sources.database.calibrations import save_calibration

        save_calibration(found, save)
    answer(Calibrations((found,)) if isinstance(found, Calibration) else found, json_)
