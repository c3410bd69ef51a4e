"""The ML.ENERGY leaderboard's tables and its benchmark's results: latency and energy of servers in a steady state.

Keys as in ml-energy/leaderboard, public/data, and ml-energy/benchmark, mlenergy/benchmark/llm. The
leaderboard gives the median gap between chunks of a stream, at a mean batch; the results are those of a
client made from vLLM's. Energy is not read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sol.sources.benchmarks.importer import (
    Finding,
    Found,
    Given,
    RawRecord,
    Refused,
    Tool,
    Unreadable,
    count,
    inner,
    number,
    optional_number,
    text,
)
from sol.sources.benchmarks.tools.serving import served
from sol.sources.benchmarks.tools.vllm_serve import client_averages

FORM = "the device's form factor: its name alone is recorded"
PICTURES = ("energy_per_image_joules", "energy_per_video_joules")


def results_matches(record: RawRecord) -> bool:
    """The benchmark's results.json."""
    return "steady_state_energy_per_token" in record


def read_results(record: RawRecord, given: Given) -> Iterator[Finding]:
    """The client's averages."""
    gpus = count(record, "num_gpus")
    if gpus is not None and gpus > 1 and not {"tp", "pp", "dp"} & given.keys():
        raise Unreadable(f"num_gpus={gpus}, and how the model was split is not recorded; pass tp= (or pp=, dp=)", ("tp",))
    fields = {"model": text(record, "model_id"), "gpu": text(record, "gpu_model"), "source": "ML.ENERGY benchmark"}
    yield from served(replace(client_averages(record), assumes=(FORM,)), fields | ({"tp": 1} if gpus == 1 else {}), given)


def board_matches(record: RawRecord) -> bool:
    """A task's or a model's file of the leaderboard."""
    rows = record.get("configurations")
    first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    return any(k in first for k in ("energy_per_token_joules", *PICTURES))


def read_board(record: RawRecord, given: Given) -> Iterator[Finding]:
    """Two averages of each configuration: the gap between chunks, and the system's time per output token."""
    for i, row in enumerate(record["configurations"]):
        part = f"configurations[{i}]"
        try:
            if not isinstance(row, dict):
                raise Unreadable("is no object")
            yield from _configuration({**{k: v for k, v in record.items() if k != "configurations"}, **row}, part)
        except Unreadable as error:
            yield Refused(str(error), part)


def _configuration(row: RawRecord, part: str) -> Iterator[Finding]:
    if any(k in row for k in PICTURES):
        raise Unreadable("pictures, not tokens, were generated")
    split = inner(row, "parallelization") or row
    sizes: dict[str, Any] = {k: count(split, f"{name}_parallel") for k, name in (("tp", "tensor"), ("ep", "expert"), ("dp", "data"))}
    fields = {
        "model": text(row, "model_id"), "gpu": text(row, "gpu_model"), "dtype": text(row, "weight_precision"), **sizes,
        "concurrency": optional_number(row, "avg_batch_size"), "output_tokens": optional_number(row, "avg_output_len"),
        "source": "ML.ENERGY leaderboard",
    }  # fmt: skip
    gap = optional_number(row, "median_itl_ms")
    if gap:
        yield Found({**fields, "metric": "itl", "measured_s": gap / 1e3, "statistic": "median"}, (FORM,), part)
    rate = number(row, "output_throughput_tokens_per_sec")
    yield Found({**fields, "metric": "output_token", "measured_s": 1 / rate}, (FORM,), part)


ML_ENERGY_RESULTS = Tool("ML.ENERGY benchmark", results_matches, read_results)
ML_ENERGY_BOARD = Tool("ML.ENERGY leaderboard", board_matches, read_board)
