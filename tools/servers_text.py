"""What was aimed at for servers, and what is said where it is missed: the words of the chapter that `tools/servers.py` writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sol.sources.database.serving import ServingRow


@dataclass(frozen=True, slots=True)
class Target:
    """A target: the rows it is of, and the largest median and P90 of |error| [1]."""

    name: str
    median: float
    of: Callable[[ServingRow], bool]
    p90: float | None = None

    @property
    def aim(self) -> str:
        """As text."""
        return f"median {100 * self.median:g} %" + (f", P90 {100 * self.p90:g} %" if self.p90 is not None else "")


FEW_USERS = 64
TARGETS = (
    Target("TPOT at a concurrency", 0.08, lambda r: r.concurrency is not None and r.metric in ("tpot_s", "itl_s"), 0.25),
    Target("throughput, all requests queued at once", 0.10, lambda r: r.offline),
    Target(
        f"TTFT at a concurrency of up to {FEW_USERS}", 0.25,
        lambda r: r.concurrency is not None and r.concurrency <= FEW_USERS and r.metric == "ttft_s",
    ),
    Target("ITL of vLLM at a constant rate", 0.08, lambda r: r.request_rate_per_s is not None and r.metric in ("tpot_s", "itl_s")),
    Target("TTFT of vLLM at a constant rate", 0.12, lambda r: r.request_rate_per_s is not None and r.metric == "ttft_s"),
)  # fmt: skip

CHAPTER = (
    "What `serve` says of {rows:,} published figures of servers under load (`hardware_db/serving/`). It is told what the source says: model, "
    "device, engine and version, formats, split, lengths, the load, and limits where they are printed. Nothing is fitted to first tokens, "
    "throughputs, or rows that are held out; some times per output token of the fitted half are rows of calibrations too. A limit that "
    "is not printed is the engine's default. {beyond} of the {judged:,} figures that have a bound are better than it (of experts, the fewest "
    "that a step can touch; of prompts whose cached share is not known, all cached)."
)

APART = {
    "own run": "NVIDIA's own runs, first tokens. Lengths are exact, and neither the number of requests nor a warm-up is said. Users who start "
    "together with equal lengths also end together, so that all prompts of a round come at once; how many rounds are in the mean decides the "
    "figure. Their times per output token count.",
    "waiting": "Rows whose requests wait: the first token takes longer than all others, for memory or for a limit that the source does not print.",
    "overloaded": "Stages that are overloaded: requests fail or wait without end, and there is no steady state.",
    "percentile": "90th and 99th percentiles: `serve` gives means, `replay` percentiles.",
}  # fmt: skip

REASONS = {
    "TPOT at a concurrency": "the far rows are mixtures of experts and small steps. Kernels of experts at few tokens, and the time an engine spends "
    "around them, differ between versions that one calibration stands for; SGLang has no rows of its own on most devices.",
    "throughput, all requests queued at once": "dense models are near; mixtures are predicted too fast. Steps with prompts run outside CUDA graphs, "
    "and the host's time there is in no published step. Copies of attention (dp) wait for the fullest one, and experts are loaded unevenly. "
    "NVIDIA's GB200 is slower than its B200 at the same limits with short prompts; no reason is printed. Batches of hundreds to thousands are "
    "beyond the batches that the time per sequence is fitted to: it is too large for small models (llama-3.1-8b) and for vLLM on MI300X, which "
    "schedules ten steps at a time there.",
    f"TTFT at a concurrency of up to {FEW_USERS}": "the time between the client and the engine's first step (tokenizer, HTTP, scheduling) is one "
    "constant per engine, and first steps of a run that was not warmed up are in some means.",
    "ITL of vLLM at a constant rate": "steps are short, so that an error of the time per step is most of it.",
    "TTFT of vLLM at a constant rate": "prompts of a few dozen tokens that are not cached: the time is the client's, the engine's queue and one step, "
    "and of these only the step is modelled.",
    "dense decode, H100": "the rows are of several engines; see the table of devices and engines.",
    "dense decode, B200": "few dense models are held out there.",
    "mixtures, decode": "kernels of experts at few tokens differ between engines and versions.",
    "rtx-4090_llama-3.1-8b": "vLLM has no calibration there: the step times are another engine's.",
    "rtx-pro-6000-server_llama-3.1-8b": "no engine has a calibration there: the times per step and sequence are those of other devices. An error of the "
    "step time adds up in the queue of an overloaded run.",
    "rtx-pro-6000-server_tp2_qwen3-32b": "as the run of one device; the all-reduce over PCIe is priced too fast as well.",
}  # fmt: skip
