"""What every test has: no network, the paths of the helpers beside the tests, and one profile of hypothesis."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the real Hub; those of the client run in processes of their own
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the helpers beside the tests, and `tools`

settings.register_profile("sol", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sol")
