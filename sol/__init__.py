"""The speed of light for LLM inference: how fast a model can run on a machine, and what stops it.

    >>> from sol import floor
    >>> floor("qwen2.5-7b", "h100", ctx=2048)
    <Floor qwen2.5-7b on h100-sxm · decode · batch 1 · ctx 2,048 · bf16: 4.256 ms, memory-bound>

Importing this package loads none of it; each name is found when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "floor": "sol.answers.floor.floor",
    "estimate": "sol.answers.estimate.estimate",
    "calibrate": "sol.answers.calibrate.calibrate",
    "ab": "sol.answers.calibrate.ab",
    "compare": "sol.answers.compare.compare",
    "table": "sol.answers.table.table",
    "memory": "sol.answers.memory.memory",
    "kv_bytes_per_token": "sol.answers.memory.memory",
    "offload": "sol.answers.memory.offload",
    "plan": "sol.answers.plan.plan",
    "pools": "sol.answers.plan.pools",
    "collective": "sol.answers.collective.collective",
    "gpus": "sol.answers.catalogue.catalogue",
    "models": "sol.answers.catalogue.catalogue",
    "formats": "sol.answers.catalogue.catalogue",
    "links": "sol.answers.catalogue.catalogue",
    "show": "sol.answers.catalogue.catalogue",
    "load_gpu": "sol.sources.database.database",
    "load_format": "sol.sources.database.database",
    "load_link": "sol.sources.database.database",
    "load_engine": "sol.sources.database.engines",
    "load_calibration": "sol.sources.database.calibrations",
    "save_calibration": "sol.sources.database.calibrations",
    "load_model": "sol.answers.question.records",
    "read_measurements": "sol.sources.benchmarks.reader",
    "plot_roofline": "sol.views.plot.roofline",
    "plot_intensity": "sol.views.plot.intensity",
    "plot_kv": "sol.views.plot.kv",
    "plot_scaling": "sol.views.plot.scaling",
    "plot_frontier": "sol.views.plot.frontier",
    "plot_calibration": "sol.views.plot.calibration",
    "Floor": "sol.answers.floor.result",
    "Estimate": "sol.answers.estimate.estimate",
    "Comparison": "sol.answers.compare.compare",
    "Calibration": "sol.specs.calibration",
    "Calibrations": "sol.answers.calibrate.calibrate",
    "Table": "sol.tabular",
    "GPU": "sol.specs.hardware",
    "Model": "sol.specs.model",
    "Attention": "sol.specs.mixers",
    "LatentAttention": "sol.specs.mixers",
    "Indexer": "sol.specs.mixers",
    "Mamba": "sol.specs.states",
    "Mamba2": "sol.specs.states",
    "GatedDelta": "sol.specs.states",
    "GatedRecurrence": "sol.specs.states",
    "ShortConv": "sol.specs.states",
    "MLP": "sol.specs.feedforward",
    "MoE": "sol.specs.feedforward",
    "Projection": "sol.specs.blocks",
    "LayerGroup": "sol.specs.model",
    "NumberFormat": "sol.specs.formats",
    "LinkType": "sol.specs.links",
    "Engine": "sol.specs.engines",
    "Link": "sol.specs.hardware",
    "Measurement": "sol.specs.measurement",
    "Measurements": "sol.specs.measurement",
    "SolError": "sol.errors",
    "UnknownName": "sol.errors",
    "MissingSpec": "sol.errors",
    "InvalidInput": "sol.errors",
    "InvalidPlan": "sol.errors",
    "DoesNotFit": "sol.errors",
    "BadMeasurement": "sol.errors",
    "BadFile": "sol.errors",
    "HubError": "sol.errors",
}
__all__ = sorted(_HOME)  # noqa: PLE0605  # a list of the names above, written once


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'sol' has no attribute '{name}'; it has: {', '.join(__all__)}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
