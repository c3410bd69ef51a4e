"""The scheduler of an inference engine: how it fills its steps by default, each rule with the line of its code.

Rules and numbers are the defaults of the version that was read. Older versions are the same record with other rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from sol.frozen import FrozenMap
from sol.specs.record import Cites, Evidence, Positive, Quantity, Record

Admission = Literal["chunk", "prompt", "estimate", "whole"]
"""What must be free in the pool before a request is admitted: blocks of its first chunk, of its whole prompt, an estimate of what
it and those that run will need, or blocks of prompt and output together."""
RULES = ("mixed", "chunked", "ahead", "keeps_freed", "admission")
FIGURES = (
    "prefill_tokens", "least_seqs", "most_seqs", "seqs_per_context", "ratio", "least_ratio_factor", "ratio_steps",
    "clip_tokens", "retract_tokens",
)  # fmt: skip


class Rule(Record):
    """One rule of a scheduler, with the line of code that makes it the default."""

    value: bool | Admission
    printed: str
    source: str
    evidence: Evidence = "A"
    note: str | None = None


class Tier(Record):
    """Tokens of a chunk on devices whose memory is below so many bytes; on all others where there is no limit."""

    below_bytes: Positive | None = None
    tokens: Quantity


class SchedulerRecord(Record):
    """A scheduler as a TOML table `[ENGINE.scheduler]`, read from the version `since` on.

    `until` holds the rules of older versions, by the last version they hold for.
    """

    since: str = ""

    mixed: Rule
    chunked: Rule
    ahead: Rule
    keeps_freed: Rule | None = None
    admission: Rule
    tiers: tuple[Tier, ...] = ()
    prefill_tokens: Quantity | None = None
    least_seqs: Quantity | None = None
    most_seqs: Quantity | None = None
    seqs_per_context: Quantity | None = None
    ratio: Quantity | None = None
    least_ratio_factor: Quantity | None = None
    ratio_steps: Quantity | None = None
    clip_tokens: Quantity | None = None
    retract_tokens: Quantity | None = None
    until: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _words_where_words_go(self) -> SchedulerRecord:
        for name in RULES:
            rule = getattr(self, name)
            if rule is not None and isinstance(rule.value, str) != (name == "admission"):
                raise ValueError(f"{name}: {rule.value!r} is not one of its values")
        for version, rules in self.until.items():
            unknown = rules.keys() - set(RULES)
            if unknown:
                raise ValueError(f"'{min(unknown)}' of version {version} is not what a version can change")
        return self


class Scheduler(Record):
    """How an engine of one version fills its steps; rules as in `sol.physics.serving.policy`, each with its source in `cites`.

    Fields [unit]: `tiers` tokens of a chunk [token] by the device's memory [B]; `prefill_tokens` of a step of prompts [token];
    `least_seqs`, `most_seqs` sequences that run at once, in between `seqs_per_context` times the contexts that the pool holds
    [1]; `ratio` of the output that is reserved for running requests [1], falling to `least_ratio_factor` of it in
    `ratio_steps` decode steps [1]; `clip_tokens` the most that is reserved of an output, `retract_tokens` added for each request
    when the ratio is set anew [token].
    """

    mixed: bool
    chunked: bool
    ahead: bool
    admission: Admission
    keeps_freed: bool = False
    tiers: tuple[tuple[float | None, float], ...] = ()
    prefill_tokens: Positive | None = None
    least_seqs: Positive | None = None
    most_seqs: Positive | None = None
    seqs_per_context: Positive | None = None
    ratio: Positive | None = None
    least_ratio_factor: Positive | None = None
    ratio_steps: Positive | None = None
    clip_tokens: Positive | None = None
    retract_tokens: Positive | None = None
    cites: Cites = Field(default_factory=FrozenMap)

    def chunk_tokens(self, memory_bytes: float) -> float | None:
        """Tokens of one chunk on a device of so much memory [token]; None where the engine's step sets it."""
        return next((tokens for below, tokens in self.tiers if below is None or memory_bytes < below), None)
