"""Records and results cannot be changed, to the last dictionary and array, and they travel: pickled or copied they answer the same."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, is_dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers.calibrate.test_ab import sessions
from answers.estimate.calibrated import EAGER, GRAPH
from pydantic import BaseModel

import sol
from sol.answers.calibrate.ab import Compared
from sol.answers.question.ask import Question
from sol.answers.replay.load import Trace
from sol.answers.request.request import Points
from sol.answers.request.result import Expected
from sol.answers.serve.bound import ServingBound
from sol.answers.serve.server import Server
from sol.answers.serve.solve import Loaded, Solution, Tabulated
from sol.frozen import Frozen, FrozenMap, frozen
from sol.specs.blocks import Block
from sol.specs.record import Record

CTX = np.array([[512.0], [4096.0]])
BATCH = np.array([1, 8, 64])
STEP: dict[str, Any] = {"ctx": 4096, "batch": 8}
BENCHMARKS = Path(__file__).parent.parent / "fixtures" / "benchmarks"

RESULTS: dict[str, Callable[[], Any]] = {
    "floor": lambda: sol.floor("qwen2.5-7b", "h100", **STEP),
    "floor of experts by shares": lambda: sol.floor("mixtral-8x7b", "h200", ctx=512, dp=2, ep=2, routing=[8, 7, 6, 5, 4, 3, 2, 1]),
    "explanation of a floor": lambda: sol.floor("qwen2.5-7b", "h100", **STEP).explain(),
    "floor of a sweep": lambda: sol.floor("gpt-oss-120b", "h100", ctx=CTX, batch=BATCH, fusion="kernel"),
    "floor of a pipeline": lambda: sol.floor("qwen2.5-7b", "h100", ctx=2048, phase="prefill", pp=2, tp=2),
    "floor of splits": lambda: sol.floor("llama-3.1-70b", "h100", ctx=4096, tp=[1, 3, 8], fusion="eager"),
    "floor in a mix": lambda: sol.floor("qwen2.5-7b", "rtx-4090", ctx=2048, dtype="q4_k_m"),
    "estimate": lambda: sol.estimate("qwen2.5-7b", "h100", **STEP),
    "estimate of a sweep": lambda: sol.estimate("qwen2.5-7b", "h100", ctx=CTX, batch=BATCH),
    "request": lambda: sol.request("qwen2.5-7b", "h100", prompt_tokens=2048, output_tokens=64),
    "request of a sweep": lambda: sol.request("qwen2.5-7b", "h100", prompt_tokens=[512, 2048], output_tokens=64, engine="vllm"),
    "serving": lambda: sol.serve("qwen2.5-7b", "h100", prompt_tokens=2048, output_tokens=256, concurrency=16),
    "serving of a sweep": lambda: sol.serve("qwen2.5-7b", "h100", prompt_tokens=2048, output_tokens=256, request_rate=[1, 4]),
    "comparison": lambda: sol.compare("qwen2.5-7b", "h100", measured_s=0.012, engine="transformers", **STEP),
    "comparison, too fast": lambda: sol.compare("qwen2.5-7b", "h100", measured_s=0.001, ctx=4096),
    "memory": lambda: sol.memory("qwen2.5-7b", "h100", ctx=4096, engine="vllm"),
    "memory of a sweep": lambda: sol.memory("qwen2.5-7b", "h100", ctx=CTX, batch=BATCH),
    "memory of splits": lambda: sol.memory("llama-3.1-70b", "h100", ctx=4096, tp=[2, 4, 8]),
    "replay": lambda: sol.replay(
        {"arrival_s": sol.arrivals(8, request_rate=50.0), "prompt_tokens": 300, "output_tokens": 9, "ttft_s": 0.1}, "gemma-2-9b", "h100"
    ),
    "replay of a floor": lambda: sol.replay({"arrival_s": [0.0], "prompt_tokens": 9, "output_tokens": 1}, "qwen2.5-7b", "h100", on="floor"),
    "offload": lambda: sol.offload("llama-3.1-70b", "h100", ctx=2048),
    "offload of a sweep": lambda: sol.offload("llama-3.1-70b", "h100", ctx=CTX, batch=BATCH),
    "plan": lambda: sol.plan("llama-3.1-70b", "h100", devices="1-4", ctx=4096, objective="cost", price_per_hour=2.0, tpot_s=1.0),
    "plan of experts": lambda: sol.plan("mixtral-8x7b", "h100", devices=[2], ctx=512, routing=list(range(1, 9))),
    "deployment": lambda: sol.plan(
        "llama-3.1-8b", "h100", devices="1-4", prompt_tokens=2048, output_tokens=256, concurrency=64, tpot_s=0.05, price_per_hour=2.0
    ),
    "pools": lambda: sol.pools("llama-3.1-8b", "h100", devices=4, prompt_tokens=2048, output_tokens=256),
    "collective": lambda: sol.collective("all_reduce", "h100", message_bytes=1e6, ranks=8),
    "collective of a sweep": lambda: sol.collective("all_reduce", "h100", message_bytes=[1e3, 1e6], ranks=8),
    "table": lambda: sol.table("qwen2.5-7b", ["h100", "h200"], ctx=2048),
    "table of formats": lambda: sol.table("qwen2.5-7b", "h100", ctx=2048, dtype=["bf16", "fp8"]),
    "report of a floor": lambda: sol.floor("qwen2.5-7b", "h100", **STEP).report(),
    "report of a plan": lambda: sol.plan("llama-3.1-8b", "h100", devices=2, ctx=4096).report(),
    "gpus": sol.gpus,
    "links": sol.links,
    "show": lambda: sol.show("h100"),
    "ab": lambda: sol.ab(sessions(1.2)),
    "measurements": lambda: sol.read_measurements(BENCHMARKS / "llama-bench.csv"),
    "calibration": lambda: sol.estimate("qwen2.5-7b", "h100", ctx=1).calibration,
    "calibrations": lambda: sol.Calibrations((GRAPH, EAGER), (("h200 · vllm", "too few rows"),)),
}
RECORDS: dict[str, Callable[[], Any]] = {
    "gpu": lambda: sol.load_gpu("h100"),
    "gpu by hand": lambda: sol.GPU(id="mine", name="mine", memory_bytes_per_s=1e12, flops_per_s={"bf16": 1e13}, source="here"),
    "model": lambda: sol.load_model("deepseek-v3.2"),
    "format": lambda: sol.load_format("q4_k_m"),
    "format by parts": lambda: sol.NumberFormat(
        id="own", name="own", bits=5, covers=("q_proj",), class_bits={"q_proj": 5.0}, compute="16-bit", source="here"
    ),
    "link": lambda: sol.load_link("nvlink4"),
    "engine": lambda: sol.load_engine("vllm"),
    "measurement": lambda: sessions(1.2)[0],
}


def inside(value: Any, where: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Every value that can be reached from `value` by fields, items and indices, and by the results it leads to."""
    if id(value) in seen or isinstance(value, str | int | float | bool | None):
        return
    seen.add(id(value))
    yield where, value
    if isinstance(value, Mapping):
        parts = [(f"{where}[{key!r}]", item) for key, item in value.items()]
    elif isinstance(value, tuple | list):
        parts = [(f"{where}[{i}]", item) for i, item in enumerate(value)]
    elif isinstance(value, BaseModel):
        parts = [(f"{where}.{name}", getattr(value, name)) for name in type(value).model_fields]
    elif is_dataclass(value):
        parts = [(f"{where}.{f.name}", getattr(value, f.name)) for f in fields(value) if not f.name.startswith("_")]
    else:
        parts = []
    for name, part in parts:
        yield from inside(part, name, seen)


def changeable(value: Any) -> list[str]:
    """What of it can be changed."""
    found = []
    for where, part in inside(value, type(value).__name__, set()):
        if isinstance(part, np.ndarray) and part.flags.writeable:
            found.append(f"{where}: an array")
        if isinstance(part, list | set | bytearray):
            found.append(f"{where}: a {type(part).__name__}")
        if isinstance(part, Mapping):
            try:
                part["new"] = 1  # type: ignore[index]  # what is tried
                found.append(f"{where}: a {type(part).__name__}")
            except TypeError:
                pass
    return found


def said(value: Any) -> Any:
    """All an answer says: its document, its text, and the tables and lines it leads to."""
    if isinstance(value, Record):
        return repr(value), value.model_dump()
    found = [str(value)] if type(value).__repr__ is object.__repr__ else [repr(value), str(value)]
    for name in ("to_dict", "to_dicts", "to_table", "to_csv", "report", "table", "explain", "why", "sources", "heading"):
        if callable(getattr(value, name, None)) and (name != "explain" or value.is_point):
            part = getattr(value, name)()
            found.append(part.to_text(100) if isinstance(part, sol.Table) else str(part))
    for name in ("operators", "assumptions", "warnings", "parts", "suspects", "rejected", "algorithms"):
        part = getattr(value, name, "")
        found.append(str(part.to_dicts() if isinstance(part, sol.Table) else part))
    return found


@pytest.mark.law
@pytest.mark.parametrize("name", [*RESULTS, *RECORDS])
def test_nothing_of_it_can_be_changed_and_it_travels(name: str) -> None:
    value = (RESULTS | RECORDS)[name]()
    assert changeable(value) == []
    whole = said(value)
    for other in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value), copy.copy(value)):
        assert type(other) is type(value)
        assert changeable(other) == []
        assert said(other) == whole


@pytest.mark.contract
def test_every_public_result_is_tried() -> None:
    made = tuple({type(make()) for make in (RESULTS | RECORDS).values()})
    kinds = {value for name in sol.__all__ if isinstance(value := getattr(sol, name), type) and not issubclass(value, Exception)}
    public = kinds - {sol.StepOptions}  # what is asked, a dictionary
    answers = {kind for kind in Frozen.__subclasses__() if kind.__module__.startswith("sol.answers")}
    parts = {
        Question,
        Compared,
        Server,
        ServingBound,
        Expected,
        Points,
        Solution,
        Loaded,
        Tabulated,
        Trace,
        sol.Link,
        sol.Indexer,
        sol.LayerGroup,
        *(kind for kind in public if issubclass(kind, Block)),
    }
    assert {kind.__name__ for kind in public | answers if not issubclass(kind, made) and not any(issubclass(m, kind) for m in made)} == {
        kind.__name__ for kind in parts
    }  # what only stands inside others


@pytest.mark.law
def test_a_pool_of_processes_maps_a_floor() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        point = pool.submit(sol.floor, "qwen2.5-7b", "h100", ctx=2048)
        sweep = pool.submit(sol.floor, "qwen2.5-7b", "h100", ctx=[2048, 4096], tp=[[1], [2], [3]])
        unknown = pool.submit(sol.floor, "qwen2.5-7c", "h100", ctx=2048)
        there, swept = point.result(), sweep.result()
        with pytest.raises(sol.UnknownName, match=r"qwen2\.5-7b") as error:
            unknown.result()
        assert error.value.name == "qwen2.5-7c"
    here = sol.floor("qwen2.5-7b", "h100", ctx=2048)
    assert (there.latency_s, str(there), str(there.operators)) == (here.latency_s, str(here), str(here.operators))
    assert swept[0, 0].latency_s == here.latency_s
    assert swept[1, 0].operators["wire_bytes"] == sol.floor("qwen2.5-7b", "h100", ctx=2048, tp=2).operators["wire_bytes"]
    with pytest.raises(sol.InvalidPlan):
        swept[2, 0]


@pytest.mark.contract
def test_what_is_refused() -> None:
    link = sol.load_link("nvlink4")
    for change in (
        lambda: link.alpha_s.__setitem__("ring", 1.0),  # type: ignore[attr-defined]
        lambda: link.alpha_s.update(ring=1.0),  # type: ignore[attr-defined]
        lambda: link.alpha_s.pop("ring"),  # type: ignore[attr-defined]
        lambda: link.alpha_s.clear(),  # type: ignore[attr-defined]
        lambda: link.alpha_s.setdefault("new", 1.0),  # type: ignore[attr-defined]
        lambda: link.alpha_s.__ior__({"ring": 1.0}),  # type: ignore[attr-defined]
        lambda: link.alpha_s.__delitem__("ring"),  # type: ignore[attr-defined]
    ):
        with pytest.raises(TypeError, match="read-only"):
            change()
    assert dict(link.alpha_s) == link.alpha_s == copy.deepcopy(link.alpha_s) == pickle.loads(pickle.dumps(link.alpha_s))
    assert json.loads(json.dumps(link.alpha_s)) == link.alpha_s


@pytest.mark.contract
def test_frozen_maps_are_hashable_if_their_values_are_and_freezing_goes_all_the_way() -> None:
    assert len({FrozenMap(a=1), FrozenMap(a=1), FrozenMap(a=2)}) == 2
    with pytest.raises(TypeError):
        hash(FrozenMap(a=np.ones(1)))
    given = np.ones(2)
    made = frozen({"a": [1, {"b": {2}}], "c": (given,)})
    assert made["a"] == (1, {"b": frozenset({2})})
    assert type(made["a"][1]) is FrozenMap
    assert type(made["a"][1]["b"]) is frozenset
    assert not made["c"][0].flags.writeable
    assert given.flags.writeable  # the array of whoever gave it is as it was


@pytest.mark.law
def test_copies_of_a_record_are_frozen_too() -> None:
    ideal = sol.load_link("nvlink4").model_copy(update={"alpha_s": {"ring": 1.0}})
    assert changeable(ideal) == []
