"""gpt-fast's generate.py: what it prints of each generation, prefill included.

Lines as in meta-pytorch/gpt-fast, generate.py. `tokens/sec` is one sequence's, over the whole time; the
bandwidth it prints is derived from it. Rank 0 alone prints, and nothing says how many ranks there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from sol.sources.benchmarks.importer import Finding, Found, Given, RawRecord, Tool, Unreadable, count, number


def matches(record: RawRecord) -> bool:
    """A line "Time for inference", with what the end of its run says."""
    return "sec_total" in record and "tokens_per_sec" in record


def read(record: RawRecord, given: Given) -> Iterator[Finding]:
    """A request: the time of its prefill and all its steps."""
    if record.get("speculative"):
        raise Unreadable("speculative decoding: a token is not a step")
    seconds, rate = number(record, "sec_total"), number(record, "tokens_per_sec")
    output = count(record, "Generated tokens") or _tokens(seconds, rate)
    batch, prompt = count(record, "Batch Size"), count(record, "Prompt Length")
    fields = {
        "metric": "request", "measured_s": seconds if output is None else output / rate, "batch": float(batch or 1),
        "prompt_tokens": None if prompt is None else float(prompt), "output_tokens": None if output is None else float(output),
        "engine": "gpt-fast", "source": "gpt-fast generate.py",
    }  # fmt: skip
    assumes = () if batch else ("batch 1: the version without a batch size had no other",)
    yield Found(fields, assumes, needs=("prompt_tokens", "output_tokens"))


def _tokens(seconds: float, rate: float) -> int | None:
    """Tokens of a generation from its time, printed to 0.01 s, and its rate: the one whole number between, if there is one."""
    low, high = (seconds - 0.005) * (rate - 0.005), (seconds + 0.005) * (rate + 0.005)
    return math.floor(high) if math.floor(high) == math.ceil(low) > 0 else None


GPT_FAST = Tool("gpt-fast", matches, read, rounded=True)
