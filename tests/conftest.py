"""Shared helpers, and `--fault NAME`: the suite run with one deliberate defect patched in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the real Hub; those of the client run in processes of their own
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # for `faults`, and for `generate`, which writes the reference pages

settings.register_profile("sol", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sol")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault", default=None, help="patch in one deliberate defect (see faults.py)")


def pytest_configure(config: pytest.Config) -> None:
    fault = config.getoption("--fault")
    if fault:
        import faults

        faults.FAULTS[fault]()
