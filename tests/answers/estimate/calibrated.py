"""Calibrations made by hand, and a database that knows none or just these."""

from __future__ import annotations

import pytest

from sol import Calibration
from sol.sources.database import engine_calibrations
from sol.specs.calibration import Figure, Rate

GRAPH = Calibration(
    id="h100-graph", gpu="h100-sxm", engine="graph", fusion="kernel", mbu=0.9, mfu=0.7, launch_s=1.3e-6, step_s=0.4e-3, overlap=0.1,
    within_95=0.2, rates={"attention": Rate(mbu=Figure(value=0.6)), "gemm.w4a16": Rate(mbu=Figure(value=0.5))},
)  # fmt: skip
EAGER = Calibration(id="h100-eager", gpu="h100-sxm", engine="eager", fusion="eager", mbu=0.9, host_s=0.6e-3)


def knows(monkeypatch: pytest.MonkeyPatch, *known: Calibration) -> None:
    """Let these be all the calibrations there are."""
    records = {gpu: {c.engine: c for c in known if c.gpu == gpu} for gpu in {c.gpu for c in known}}
    ages = {gpu: {engine: [c] for engine, c in engines.items()} for gpu, engines in records.items()}
    monkeypatch.setattr(engine_calibrations, "by_device", lambda: records)
    monkeypatch.setattr(engine_calibrations, "ages_by_device", lambda: ages)
