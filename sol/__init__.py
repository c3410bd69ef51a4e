"""The speed of light for LLM inference: how fast a model can run on a machine, and what stops it.

    >>> from sol import floor
    >>> floor("qwen2.5-7b", "h100", ctx=2048)
    <Floor qwen2.5-7b on h100-sxm · decode · batch 1 · ctx 2,048 · bf16: 4.256 ms, memory-bound>

Importing this package loads none of it; each name is found when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "floor": "sol.answers.floor.floor",
    "estimate": "sol.answers.estimate.estimate",
    "request": "sol.answers.request.request",
    "serve": "sol.answers.serve.serve",
    "calibrate": "sol.answers.calibrate.calibrate",
    "ab": "sol.answers.calibrate.ab",
    "compare": "sol.answers.compare.compare",
    "table": "sol.answers.table.table",
    "memory": "sol.answers.memory.memory",
    "kv_bytes_per_token": "sol.answers.memory.token_bytes",
    "offload": "sol.answers.memory.offload",
    "plan": "sol.answers.plan.plan",
    "pools": "sol.answers.plan.pools",
    "collective": "sol.answers.collective.collective",
    "replay": "sol.answers.replay.replay",
    "arrivals": "sol.answers.replay.load",
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
    "AB": "sol.answers.calibrate.ab",
    "Memory": "sol.answers.memory.memory",
    "Offload": "sol.answers.memory.offload",
    "Request": "sol.answers.request.result",
    "Serving": "sol.answers.serve.result",
    "Plan": "sol.answers.plan.plan",
    "Deployment": "sol.answers.plan.deployment",
    "Pools": "sol.answers.plan.pools",
    "Replay": "sol.answers.replay.result",
    "Collective": "sol.answers.collective.collective",
    "Explanation": "sol.answers.report.explanation",
    "Report": "sol.answers.report.report",
    "Bibliography": "sol.answers.report.citations",
    "Calibration": "sol.specs.calibration",
    "Calibrations": "sol.answers.calibrate.calibrate",
    "Table": "sol.tabular",
    "StepOptions": "sol.answers.question.options",
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

if TYPE_CHECKING:  # the same names for editors and type checkers, which do not run `__getattr__`
    from sol.answers.calibrate.ab import AB as AB
    from sol.answers.calibrate.ab import ab as ab
    from sol.answers.calibrate.calibrate import Calibrations as Calibrations
    from sol.answers.calibrate.calibrate import calibrate as calibrate
    from sol.answers.catalogue.catalogue import formats as formats
    from sol.answers.catalogue.catalogue import gpus as gpus
    from sol.answers.catalogue.catalogue import links as links
    from sol.answers.catalogue.catalogue import models as models
    from sol.answers.catalogue.catalogue import show as show
    from sol.answers.collective.collective import Collective as Collective
    from sol.answers.collective.collective import collective as collective
    from sol.answers.compare.compare import Comparison as Comparison
    from sol.answers.compare.compare import compare as compare
    from sol.answers.estimate.estimate import Estimate as Estimate
    from sol.answers.estimate.estimate import estimate as estimate
    from sol.answers.floor.floor import floor as floor
    from sol.answers.floor.result import Floor as Floor
    from sol.answers.memory.memory import Memory as Memory
    from sol.answers.memory.memory import memory as memory
    from sol.answers.memory.offload import Offload as Offload
    from sol.answers.memory.offload import offload as offload
    from sol.answers.memory.token_bytes import kv_bytes_per_token as kv_bytes_per_token
    from sol.answers.plan.deployment import Deployment as Deployment
    from sol.answers.plan.plan import Plan as Plan
    from sol.answers.plan.plan import plan as plan
    from sol.answers.plan.pools import Pools as Pools
    from sol.answers.plan.pools import pools as pools
    from sol.answers.question.options import StepOptions as StepOptions
    from sol.answers.question.records import load_model as load_model
    from sol.answers.replay.load import arrivals as arrivals
    from sol.answers.replay.replay import replay as replay
    from sol.answers.replay.result import Replay as Replay
    from sol.answers.report.citations import Bibliography as Bibliography
    from sol.answers.report.explanation import Explanation as Explanation
    from sol.answers.report.report import Report as Report
    from sol.answers.request.request import request as request
    from sol.answers.request.result import Request as Request
    from sol.answers.serve.result import Serving as Serving
    from sol.answers.serve.serve import serve as serve
    from sol.answers.table.table import table as table
    from sol.errors import BadFile as BadFile
    from sol.errors import BadMeasurement as BadMeasurement
    from sol.errors import DoesNotFit as DoesNotFit
    from sol.errors import HubError as HubError
    from sol.errors import InvalidInput as InvalidInput
    from sol.errors import InvalidPlan as InvalidPlan
    from sol.errors import MissingSpec as MissingSpec
    from sol.errors import SolError as SolError
    from sol.errors import UnknownName as UnknownName
    from sol.sources.benchmarks.reader import read_measurements as read_measurements
    from sol.sources.database.calibrations import load_calibration as load_calibration
    from sol.sources.database.calibrations import save_calibration as save_calibration
    from sol.sources.database.database import load_format as load_format
    from sol.sources.database.database import load_gpu as load_gpu
    from sol.sources.database.database import load_link as load_link
    from sol.sources.database.engines import load_engine as load_engine
    from sol.specs.blocks import Projection as Projection
    from sol.specs.calibration import Calibration as Calibration
    from sol.specs.engines import Engine as Engine
    from sol.specs.feedforward import MLP as MLP
    from sol.specs.feedforward import MoE as MoE
    from sol.specs.formats import NumberFormat as NumberFormat
    from sol.specs.hardware import GPU as GPU
    from sol.specs.hardware import Link as Link
    from sol.specs.links import LinkType as LinkType
    from sol.specs.measurement import Measurement as Measurement
    from sol.specs.measurement import Measurements as Measurements
    from sol.specs.mixers import Attention as Attention
    from sol.specs.mixers import Indexer as Indexer
    from sol.specs.mixers import LatentAttention as LatentAttention
    from sol.specs.model import LayerGroup as LayerGroup
    from sol.specs.model import Model as Model
    from sol.specs.states import GatedDelta as GatedDelta
    from sol.specs.states import GatedRecurrence as GatedRecurrence
    from sol.specs.states import Mamba as Mamba
    from sol.specs.states import Mamba2 as Mamba2
    from sol.specs.states import ShortConv as ShortConv
    from sol.tabular import Table as Table
    from sol.views.plot.calibration import plot_calibration as plot_calibration
    from sol.views.plot.frontier import plot_frontier as plot_frontier
    from sol.views.plot.intensity import plot_intensity as plot_intensity
    from sol.views.plot.kv import plot_kv as plot_kv
    from sol.views.plot.roofline import plot_roofline as plot_roofline
    from sol.views.plot.scaling import plot_scaling as plot_scaling
else:

    def __getattr__(name: str) -> Any:
        home = _HOME.get(name)
        if home is None:
            raise AttributeError(f"module 'sol' has no attribute '{name}'; it has: {', '.join(__all__)}")
        value = getattr(import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
