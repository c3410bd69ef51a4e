"""What every test has: no network, the paths of the helpers beside the tests, and one profile of hypothesis."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the real Hub; those of the client run in processes of their own
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the helpers beside the tests, and `tools`

settings.register_profile("sol", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sol")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto` is a worker a core, of eight at most: each imports everything, and there is no work for more."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
