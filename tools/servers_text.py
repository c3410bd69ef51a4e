"""What was aimed at for servers, and what is said where it is missed: the words of the chapter that `tools/servers.py` writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sol import load_model
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


def first_tokens(row: ServingRow) -> bool:
    """Whether it is a time to the first token of few users."""
    return row.concurrency is not None and row.concurrency <= FEW_USERS and row.metric == "ttft_s"


TARGETS = (
    Target("TPOT at a concurrency", 0.08, lambda r: r.concurrency is not None and r.metric in ("tpot_s", "itl_s"), 0.25),
    Target("throughput, all requests queued at once", 0.10, lambda r: r.offline),
    Target("throughput of dense models, the same", 0.10, lambda r: r.offline and not load_model(r.model).is_moe),
    Target(f"TTFT at a concurrency of up to {FEW_USERS}", 0.25, first_tokens),
    Target("ITL of vLLM at a constant rate", 0.08, lambda r: r.request_rate_per_s is not None and r.metric in ("tpot_s", "itl_s")),
    Target("TTFT of vLLM at a constant rate", 0.12, lambda r: r.request_rate_per_s is not None and r.metric == "ttft_s"),
)


def flow(text: str) -> str:
    """Lines of text as one paragraph."""
    return " ".join(text.split())


CHAPTER = flow("""
What `serve` says of {rows:,} published figures of servers under load (`hardware_db/serving/`). It is told what the source says:
model, device, engine and version, formats, split, lengths, load, and limits where they are printed. A limit that is not printed is
the engine's default. Held-out rows are of models that nothing of their source was fitted to. Of the other half, some times per
output token are rows of calibrations, and first tokens of up to 64 users tell what prompts take; nothing is fitted to any throughput
or to the recorded runs. Of {judged:,} figures with a bound, {beyond} are better than it (the bound takes the fewest experts that a
step can touch, and a cached prompt where the source does not say that none is).
""")

OFFLINE = flow("""
A run that queues all its requests at once has a start of prompts alone, rounds in which requests of one length end together, and an end
in which the batch drains. `tools/offline.py` lays out its steps one by one, and the estimate prices them. Limits of NVIDIA's runs are those
that trtllm-bench computes where its user gives none (its source is cited there); batches of decoding alone are padded to the CUDA
graphs that NVIDIA's page lists.
""")

APART = {
    "own run": flow("""NVIDIA's own runs, first tokens. Lengths are exact; the number of requests and the warm-up are not said. Users who
        start together with equal lengths stay in step: all prompts of a round come at once. How many rounds are in the mean decides the
        figure, so that it says nothing of the steps. Their times per output token count."""),
    "waiting": flow("""Rows whose requests wait: the first token takes longer than all others together, for memory or for a limit that the
        source does not print."""),
    "overloaded": flow("Stages that are overloaded: requests fail or wait without end, and there is no steady state."),
    "given": flow("""Requests per second below saturation: `serve` answers with the rate that it was given."""),
    "percentile": flow("90th and 99th percentiles: `serve` gives means, `replay` gives percentiles."),
}  # fmt: skip

REASONS = {
    "TPOT at a concurrency": flow("""The far rows are NVIDIA's own runs. Of vLLM 0.12 with llama-3.1-8b the prompts seem to come from the
        cache: computed, they would need 94 % of the peak; the source does not say. SGLang has no calibration on these devices: the class of
        servers answers, and is far off for qwen3-32b on 0.5.1."""),
    "throughput, all requests queued at once": flow("""Mixtures of experts are predicted too fast, dense models nearly right. With copies
        of attention (dp) all copies wait for the fullest, and experts are loaded unevenly; the estimate takes even loads. NVIDIA's GB200 is
        slower than its B200 on short prompts at the same limits; no reason is printed. A step that holds prompts runs outside CUDA
        graphs, and no published step tells the host's time there."""),
    "throughput of dense models, the same": flow("""Batches have hundreds to thousands of sequences, and the time per sequence is fitted
        to at most 256: it is too long for small models (llama-3.1-8b: a quarter slow) and for vLLM on MI300X, whose command schedules ten
        steps at a time (--num-scheduler-steps 10)."""),
    f"TTFT at a concurrency of up to {FEW_USERS}": flow("""All held-out rows are DeepSeek-R1. On SGLang of November 2025 means are 0.4 to
        9 s, for prompts that take a tenth of a second: it seems that runs of that time were not warmed up, as later editions are.
        Prompts of mixtures take longer in servers than their kernels alone."""),
    "ITL of vLLM at a constant rate": "Steps are short, so that an error of the time per step is most of it.",
    "TTFT of vLLM at a constant rate": flow("""Some 25 tokens of a prompt are not cached. The first token is then one short step, the wait
        for it, and a constant for all that is outside steps, which differs between clients."""),
    "dense decode, H100": "Rows are of several engines and versions: see the table of devices and engines.",
    "dense decode, B200": "Few dense models are held out there.",
    "mixtures, decode": "Kernels of experts at few tokens differ between engines and versions.",
    "rtx-4090_llama-3.1-8b": "vLLM has no calibration there: the step times are another engine's.",
    "rtx-pro-6000-server_llama-3.1-8b": flow("""No engine has a calibration there: times per step and sequence are those of other
        devices. An error of the step time adds up in the queue of an overloaded run."""),
    "rtx-pro-6000-server_tp2_qwen3-32b": "The wiring is not said: the default has peer access, the run seems to have none.",
    "rtx-pro-6000-server_tp2_qwen3-32b_no peer access": "As the run of one device.",
}  # fmt: skip
