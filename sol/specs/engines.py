"""The memory use of an inference engine: what it takes of a device before the cache, and the blocks of its cache.

Numbers are the defaults of one version, read in its own source, or fitted to what it logs; an older version is the same
record with other numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from sol.frozen import FrozenMap
from sol.specs.record import Cites, Positive, Quantity, Record
from sol.specs.scheduler import Scheduler, SchedulerRecord

Budget = Literal["total", "static", "free", "asked"]
"""What the fraction is a fraction of: all the device's memory, activations inside (`total`) or outside
(`static`) that share; what weights and activations leave `free`; or no fraction, only what is `asked`."""
Needs = Literal["a token", "a sequence", "every sequence"]
"""What must fit into the pool for the engine to start: anything, one sequence of the context, or all that were asked for."""
NUMBERS = (
    "memory_fraction", "block_tokens", "step_tokens", "step_seqs", "small_step_tokens", "small_step_seqs", "large_bytes", "chunked_from",
    "alive_hidden", "alive_ffn", "sampler_copies", "runtime_bytes", "peer_runtime_bytes", "stage_runtime_bytes", "graph_bytes",
    "graph_layer_bytes", "pad_ffn", "pad_hidden", "chunks_in_flight",
)  # fmt: skip
"""The fields that hold one number each."""


class Engine(Record):
    """An engine at one version, with the source of each number in `cites`; what a number is None for, the engine does not have.

    Fields [unit]: `memory_fraction` [0..1] of what `budget` says, None where there is no fixed default;
    `block_tokens` tokens of cache allocated at a time [token].

    The step that it measures at start: `step_tokens` [token] of `step_seqs` sequences [1], the `small_` ones on devices below
    `large_bytes` [B] and those whose id starts with one of `small_devices`; contexts below `chunked_from` [token] are one step.
    It keeps `alive_hidden`·d + `alive_ffn`·f elements of a token alive, `buffers_experts` of the experts' inputs and outputs
    beside it, and `sampler_copies` of the logits in 32 bits.

    `runtime_bytes` its own memory on a device alone, `peer_runtime_bytes` with tensor-parallel peers, `stage_runtime_bytes` on
    a stage of a pipeline [B]. Where `deducts_graphs`, `graph_bytes` and `graph_layer_bytes` a layer [B].
    Experts stored in one of `padded_formats` are `pad_ffn` and `pad_hidden` multiples wide [1] and need no buffers. With
    `host_table` the input table stays on the host. Where `windows_hold_step`, a layer with a window holds the tokens of a step
    as well, in whole blocks. It starts if what it `needs` fits, and where it `counts_states` if there is a block of states for
    each sequence of a step. Stages of a pipeline work on up to `chunks_in_flight` chunks of a prompt at once [1]. `scheduler`: how
    it fills its steps, where that was read. `versions` are the last ones that a set of numbers holds for.
    """

    id: str
    name: str
    version: str
    budget: Budget
    block_tokens: Positive
    memory_fraction: Positive | None = None
    step_tokens: Positive | None = None
    step_seqs: Positive | None = None
    small_step_tokens: Positive | None = None
    small_step_seqs: Positive | None = None
    large_bytes: Positive | None = None
    small_devices: tuple[str, ...] = ()
    chunked_from: Positive | None = None
    alive_hidden: Positive | None = None
    alive_ffn: Positive | None = None
    sampler_copies: Positive | None = None
    buffers_experts: bool = False
    runtime_bytes: Positive | None = None
    peer_runtime_bytes: Positive | None = None
    stage_runtime_bytes: Positive | None = None
    deducts_graphs: bool = False
    graph_bytes: Positive | None = None
    graph_layer_bytes: Positive | None = None
    padded_formats: tuple[str, ...] = ()
    pad_ffn: Positive | None = None
    pad_hidden: Positive | None = None
    host_table: bool = False
    chunks_in_flight: Positive | None = None
    windows_hold_step: bool = False
    needs: Needs = "a token"
    counts_states: bool = False
    scheduler: Scheduler | None = None
    aliases: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    note: str = ""
    cites: Cites = Field(default_factory=FrozenMap)

    def __repr__(self) -> str:
        return f"<Engine {self.id}: {self.name} {self.version}>"


class EngineRecord(Record):
    """An engine as a TOML table of `hardware_db/engines/`: every number a `Quantity` with its source.

    `until` holds what differs in older versions, by the last version for which it holds.
    """

    name: str
    version: str
    budget: Budget
    aliases: tuple[str, ...] = ()
    memory_fraction: Quantity | None = None
    block_tokens: Quantity
    step_tokens: Quantity | None = None
    step_seqs: Quantity | None = None
    small_step_tokens: Quantity | None = None
    small_step_seqs: Quantity | None = None
    large_bytes: Quantity | None = None
    small_devices: tuple[str, ...] = ()
    chunked_from: Quantity | None = None
    alive_hidden: Quantity | None = None
    alive_ffn: Quantity | None = None
    sampler_copies: Quantity | None = None
    buffers_experts: bool = False
    runtime_bytes: Quantity | None = None
    peer_runtime_bytes: Quantity | None = None
    stage_runtime_bytes: Quantity | None = None
    deducts_graphs: bool = False
    graph_bytes: Quantity | None = None
    graph_layer_bytes: Quantity | None = None
    padded_formats: tuple[str, ...] = ()
    pad_ffn: Quantity | None = None
    pad_hidden: Quantity | None = None
    host_table: bool = False
    chunks_in_flight: Quantity | None = None
    windows_hold_step: bool = False
    needs: Needs = "a token"
    counts_states: bool = False
    scheduler: SchedulerRecord | None = None
    note: str = ""
    until: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)

    @field_validator("until")
    @classmethod
    def _are_versions(cls, until: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        for version, differs in until.items():
            if version_numbers(version) is None:
                raise ValueError(f"'{version}' is not a version such as 0.16")
            for name in differs:
                if name not in cls.model_fields or name in ("name", "version", "budget", "aliases", "scheduler", "until"):
                    raise ValueError(f"'{name}' of version {version} is not what a version can change")
        return until

    def quantities(self) -> dict[str, Quantity]:
        """Every number of this record by field name."""
        return {k: v for k in NUMBERS if isinstance(v := getattr(self, k), Quantity)}


def version_numbers(version: str) -> tuple[int, ...] | None:
    """The leading numbers of a version, to compare it by; None for what starts with none.

    >>> version_numbers("0.10.1.1"), version_numbers("0.26.1rc1.dev608"), version_numbers("main")
    ((0, 10, 1, 1), (0, 26, 1), None)
    """
    found = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if digits:
            found.append(int(digits))
        if digits != part:
            break
    return tuple(found) or None


VERSION = re.compile(r"-\d+(\.\d+)*$")
"""The version at the end of an engine's name: vllm-0.11."""


def engine_family(engine: str) -> str:
    """An engine without its version.

    >>> engine_family("vllm-0.11"), engine_family("vllm@0.15"), engine_family("tensorrt-llm")
    ('vllm', 'vllm', 'tensorrt-llm')
    """
    return VERSION.sub("", engine.partition("@")[0])
