"""Which columns of a trace mean what: our names, and those of the traces and tools that people have.

Times are in seconds but where a name says otherwise. `timestamp` alone is no unit: with Mooncake's lengths it is
milliseconds, with BurstGPT's seconds, and a date with a time (Azure) is one.
"""

from __future__ import annotations

NAMES: dict[str, tuple[str, ...]] = {
    "arrival_s": ("arrival_time", "arrived_at", "start_times", "timestamp", "timestamp(ms)", "timestamp_ms"),
    "prompt_tokens": (
        "input_tokens", "contexttokens", "input_length", "input_len", "input_lens", "prompt_len", "num_prefill_tokens",
        "request tokens", "isl",
    ),
    "output_tokens": (
        "completion_tokens", "generatedtokens", "output_length", "output_len", "output_lens", "num_decode_tokens", "response tokens", "osl",
    ),
    "cached_tokens": ("prefix_hit_tokens",),
    "first_token_s": (),
    "last_token_s": (),
    "ttft_s": ("ttfts",),
    "tpot_s": (),
    "e2e_s": ("e2el_s",),
}  # fmt: skip
"""Our name of each column, and what others call it, in lower case: Azure, Mooncake, BurstGPT, Vidur, `vllm bench serve --save-detailed`."""
NEEDED = ("arrival_s", "prompt_tokens", "output_tokens")
MILLISECONDS = ("timestamp(ms)", "timestamp_ms")
MOONCAKE, BURSTGPT = "input_length", "request tokens"


def meant(name: str) -> str | None:
    """Our name of a column, if it is one of those known."""
    plain = name.strip().lower()
    return next((ours for ours, others in NAMES.items() if plain == ours or plain in others), None)


def factor(name: str, all_names: set[str]) -> float | None:
    """What turns a column's numbers into ours: 1e-3 for milliseconds; None where the unit of `timestamp` is not known."""
    plain = name.strip().lower()
    if plain in MILLISECONDS:
        return 1e-3
    if plain == "timestamp":
        return 1e-3 if MOONCAKE in all_names else 1.0 if BURSTGPT in all_names else None
    return 1.0
