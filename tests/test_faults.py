"""The tests of the tests: under a deliberate fault the test it names fails, by an assertion; without it the same test passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faults import FAULTS, replaced, rewritten

pytestmark = [pytest.mark.contract, pytest.mark.slow]
TESTS = Path(__file__).parent


def outcome(*fault: str) -> dict[str, Any]:
    """What became of the tests of a fault, or of all faults' tests without one, in a process of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    run = subprocess.run([sys.executable, str(TESTS / "faults.py"), *fault], capture_output=True, text=True, env=clean, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_the_test_it_names_notices_by_an_assertion(fault: str) -> None:
    found = outcome(fault)
    assert found["otherwise"] == []
    assert found["asserted"] > 0, f"{FAULTS[fault].test} passes under this fault"
    assert found["code"] == pytest.ExitCode.TESTS_FAILED


def test_without_a_fault_the_same_tests_pass() -> None:
    found = outcome()
    assert (found["asserted"], found["otherwise"], found["code"]) == (0, [], pytest.ExitCode.OK)
    assert found["passed"] >= len({f.test for f in FAULTS.values()})


def test_a_fault_of_what_no_longer_exists_says_so() -> None:
    with pytest.raises(LookupError, match="does not exist"):
        replaced("sol.units:no_such_name", lambda right: right)()
    with pytest.raises(LookupError, match="0 times, not once"):
        rewritten("sol.units:parse_printed", "no such text", "")()
