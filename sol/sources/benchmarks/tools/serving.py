"""What a client's averages over many requests can become.

Under load the batch changes from step to step, and the prefill of some requests delays the decode of others, so
averages stay averages. If requests ran one at a time, the time between the tokens of a request is a decode step of
batch 1. If the user gives the batch of every step, it is a decode step of that batch. The time to the first token
includes queueing, the network and cached prefixes, so it is never a prefill.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sol.sources.benchmarks.importer import Finding, Found, Given, Refused


@dataclass(frozen=True)
class Served:
    """Averages of one run: seconds, mean lengths [token], how many requests ran at once (`cap` at most, `mean` achieved).

    `tpot_s` is (e2e − ttft)/(output − 1); `refused_tpot` why it is not that. `ctx` is the mean cache of
    the steps, where the lengths alone do not give it.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    output_tokens_per_s: float | None = None
    prompt: float | None = None
    output: float | None = None
    cap: float | None = None
    mean: float | None = None
    refused_tpot: str = ""
    ctx: float | None = None
    assumes: tuple[str, ...] = ()
    part: str = ""


def served(run: Served, fields: dict[str, Any], given: Given) -> Iterator[Finding]:
    """A decode step, if it is one, and the averages; `fields` are what the tool records about model, device and split."""
    common = {**fields, "prompt_tokens": run.prompt, "output_tokens": run.output}
    if run.refused_tpot:
        yield Refused(run.refused_tpot, run.part)
    elif run.tpot_s is not None:
        yield _between_tokens(run, common, given)
    rate = run.output_tokens_per_s
    for metric, value in (("ttft", run.ttft_s), ("request", run.e2e_s), ("output_token", 1 / rate if rate else None)):
        if value is not None:
            yield Found({**common, "metric": metric, "measured_s": value, "concurrency": run.mean or run.cap}, run.assumes, run.part)


def _between_tokens(run: Served, common: dict[str, Any], given: Given) -> Finding:
    alone, batch = run.cap == 1, given.get("batch")
    if not (alone or batch is not None):
        return Found({**common, "metric": "tpot", "measured_s": run.tpot_s, "concurrency": run.mean or run.cap}, run.assumes, run.part)
    if batch is not None and run.cap is not None and batch > run.cap:
        return Refused(f"batch={batch:g} was given, and at most {run.cap:g} requests ran at once", run.part)
    if run.prompt is None or run.output is None or run.output < 2:
        return Refused("no lengths of two output tokens or more: the context of its steps is unknown", run.part)
    ctx = run.prompt + (run.output - 2) / 2 if run.ctx is None else run.ctx
    how = "one request at a time: batch 1" if alone else f"batch {batch:g} in every step, as given"
    says = (f"{how}; time between tokens as a client sees it", "no speculative decoding: none is recorded")
    step = {**common, "phase": "decode", "measured_s": run.tpot_s, "batch": 1.0 if alone else batch, "ctx": ctx}
    return Found(step, (*run.assumes, *says), run.part)
