"""One forward pass: how many sequences, new tokens and cached tokens, and which logits are wanted.

Prefill is (batch, prompt, 0), decode (batch, 1, ctx), a chunk (batch, chunk, cached), verifying
drafts (batch, 1 + drafts, ctx): one kind of step serves them all. A mixed step, in which servers compute prompts beside
decoding sequences, is several such groups in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from sol.frozen import Frozen
from sol.specs.formats import NumberFormat, StoredPart, TensorClass
from sol.specs.parts import Count
from sol.specs.quantities import Array, Number, NumberArray

Logits = Literal["last", "all", "none"]
Fusion = Literal["ideal", "kernel", "eager"]
Phase = Literal["decode", "prefill"]
StepKind = Literal["decode", "prefill", "mixed"]
"""What a step is: a phase, or several groups in one pass."""
Role = Literal["weights", "rest", "attention", "index"]
"""Which of a step's rates an operator runs at."""


@dataclass(frozen=True, eq=False)
class Shares(Frozen):
    """The share of the choices that each expert of a layer gets [1], in the order of the experts; not negative, Σ = 1."""

    of_experts: Array


RoutingName = Literal["min", "expected", "max"]
Routing = RoutingName | float | Shares
"""How tokens choose their experts: by a rule, by a measured number of distinct experts per layer, or by measured shares."""
RoutingChoice = RoutingName | Number | Sequence[float] | NumberArray
"""The same as an option: shares as a list or an array, one per expert."""


@dataclass(frozen=True, eq=False)
class Step(Frozen):
    """Sequences [1], new tokens per sequence [1] and cached tokens per sequence [1], arrays that broadcast.

    `copies` is how many such steps' tokens meet at the same experts (no whole number where some copies have fewer sequences);
    `imbalance` how many times the even share of them the experts of the fullest device get; `cp` over how many devices that
        would hold the same keys and values the cached tokens are divided, of as many as there are. `beside` are further groups in
    the same pass, of which only the arrays and the logits count: weights are read once for all groups, each has a cache of its own.
    """

    batch: Array
    new_tokens: Array
    past_tokens: Array
    logits: Logits
    copies: Array | float = 1
    imbalance: float = 1.0
    cp: Count = 1
    beside: tuple[Step, ...] = ()

    @property
    def groups(self) -> tuple[Step, ...]:
        """All groups of the pass, this one first."""
        return (self, *self.beside)

    @property
    def tokens(self) -> Array:
        """New tokens of all groups [1]."""
        total = self.batch * self.new_tokens
        for group in self.beside:
            total = total + group.batch * group.new_tokens
        return total

    @property
    def sequences(self) -> Array:
        """Sequences of all groups [1]."""
        total = self.batch
        for group in self.beside:
            total = total + group.batch
        return total

    @property
    def logit_rows(self) -> Array:
        """Rows of logits that all groups want [1]."""
        total = _logit_rows(self)
        for group in self.beside:
            total = total + _logit_rows(group)
        return total

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays of all groups, three for each: sequences, new tokens and cached tokens."""
        if not self.beside:
            return self.batch, self.new_tokens, self.past_tokens
        return tuple(array for g in self.groups for array in (g.batch, g.new_tokens, g.past_tokens))

    def with_arrays(self, arrays: Sequence[Array]) -> Step:
        """The same step with other `arrays`."""
        beside = tuple(
            replace(g, batch=arrays[i], new_tokens=arrays[i + 1], past_tokens=arrays[i + 2])
            for i, g in zip(range(3, len(arrays), 3), self.beside, strict=True)
        )
        return replace(self, batch=arrays[0], new_tokens=arrays[1], past_tokens=arrays[2], beside=beside)

    def in_floats(self) -> Step:
        """The same step of one point with plain floats for arrays: the same bits, without the cost of arrays of one element."""
        batch, new, past = (array.item() for array in (self.batch, self.new_tokens, self.past_tokens))
        beside = tuple(g.in_floats() for g in self.beside)
        return Step(batch, new, past, self.logits, self.copies, self.imbalance, self.cp, beside)  # type: ignore[arg-type]  # what computes takes both


def _logit_rows(step: Step) -> Array:
    return step.batch * step.new_tokens if step.logits == "all" else step.batch if step.logits == "last" else 0.0 * step.batch


@dataclass(frozen=True, eq=False)
class Storage:
    """How a model's tensors are stored: the weights' format, the 16-bit format of the rest, the KV cache's.

    `layers` and `experts` are the model's, for formats that differ by layer. `computes` is the format the
    device multiplies the weights in, where that is not what the weights' format asks for. `sent_bytes` are those of an activation
    on its way to another device [B], `state_bits` the most that an element of a recurrent state takes [bit].
    """

    weights: NumberFormat
    base: NumberFormat
    cache: NumberFormat
    layers: int
    experts: int
    computes: str = ""
    sent_bytes: float = 2.0
    state_bits: float = 64.0

    def bytes_per_weight(self, tensor: TensorClass, columns: Count) -> Any:
        """Stored bytes per element of a tensor class with rows of `columns` elements [B]; an array for an array of lengths."""
        if not self.weights.covering(tensor):
            return self.base.bytes_per_weight
        if not isinstance(columns, np.ndarray):
            return self.weights.bytes_of(tensor, columns, self.layers, self.experts)
        lengths, which = np.unique(columns, return_inverse=True)
        found = [self.weights.bytes_of(tensor, n, self.layers, self.experts) for n in lengths.tolist()]
        return np.array(found)[which].reshape(columns.shape)

    def bytes_beside(self, part: StoredPart) -> float:
        """Stored bytes per element of a part no step reads [B]: 16 bits, unless the format knows better."""
        return self.weights.bytes_of(part, 1, 1, 1) if self.weights.covering(part) else self.base.bytes_per_weight

    def role(self, tensor: TensorClass) -> Role:
        """The format whose rate the products of a tensor class run at: the weights' compute format, or that of the rest."""
        return "weights" if self.weights.narrows(tensor) else "rest"

    def stored(self, role: Role) -> NumberFormat:
        """The format in which matrix products of a role find their weights."""
        return self.weights if role == "weights" else self.base

    def computed(self, tensor: TensorClass) -> str:
        """The format a tensor class's matrix products run in."""
        return (self.computes or self.weights.compute) if self.role(tensor) == "weights" else self.base.compute
