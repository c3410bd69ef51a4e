"""The tests of the tests: every deliberate fault turns a truth or a law red."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from faults import FAULTS

TESTS = Path(__file__).parent
FITS = ("physics/fit/test_fit.py", "answers/calibrate/test_calibrate.py", "answers/calibrate/test_calibrate_kernels.py")
"""Slow, and about fitting: the faults must be noticed without them."""


@pytest.mark.contract
@pytest.mark.parametrize("fault", FAULTS)
def test_a_truth_or_a_law_notices(fault: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-m",
        "truth or law",
        "-p",
        "no:cacheprovider",
        "--fault",
        fault,
        "--tb=line",
        *(f"--ignore={TESTS / name}" for name in FITS),
        str(TESTS / "physics"),  # first, where most of them show soonest
        str(TESTS),
    ]
    run = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent, check=False)
    assert run.returncode == 1, f"{fault} went unnoticed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}"
    assert " failed" in run.stdout
