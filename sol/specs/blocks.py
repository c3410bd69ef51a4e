"""What every block of a layer states about itself: its matrices, its caches and states, its widest activation.

All of it is data: one `Matrix` for each linear map, one `CacheSpan` for each cache that grows with the tokens, one
`State` for each memory of fixed size. Parameters, stored bytes, FLOPs, cache bytes and the split over devices follow
from these rows, so that no mechanism has a second formula.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, Self

from pydantic import Field

from sol.specs.assumption import Assumption
from sol.specs.formats import TensorClass
from sol.specs.record import HandMade

Size = Annotated[int, Field(gt=0, le=2**40, strict=True)]
"""A width or a count; no model comes near the limit."""
SizeOrZero = Annotated[int, Field(ge=0, le=2**40, strict=True)]
"""A count that may be zero."""


class Matrix(NamedTuple):
    """A linear map of `columns` inputs to `rows` outputs [1], its biases, its tensor class and the operator that runs it."""

    operator: str
    tensor: TensorClass
    rows: int
    columns: int
    biases: int = 0

    @property
    def weights(self) -> int:
        """Elements without biases."""
        return self.rows * self.columns


class CacheSpan(NamedTuple):
    """What a layer keeps per token: `elements` in the cache's format [1], and `own_bytes` in another format [B].

    It keeps at most the last `tokens` tokens; None: all.
    """

    tokens: int | None
    elements: int
    own_bytes: float = 0.0


class State(NamedTuple):
    """What a layer keeps per sequence of any length: `elements` [1] of `bits` bits; None: in the 16-bit format of the weights."""

    elements: int
    bits: int | None = None


class Block(HandMade):
    """A mixer or a feed-forward block: one residual branch of a layer, or a part of one.

    The defaults are those of a block of plain matrices that keeps nothing of a sequence.
    """

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """The matrices every token goes through, in the order they run."""
        raise NotImplementedError

    @property
    def norm_elements(self) -> int:
        """Elements of the norms inside the block."""
        return 0

    @property
    def vector_elements(self) -> int:
        """Elements of everything else that is not a matrix: sinks, convolutions, decays, correction biases."""
        return 0

    @property
    def table_elements(self) -> int:
        """Elements of a table of which a token reads one row."""
        return 0

    @property
    def cache_spans(self) -> tuple[CacheSpan, ...]:
        """The caches one layer keeps of its own."""
        return ()

    @property
    def cache_heads(self) -> int:
        """Into how many heads the cache can be divided [1]: more tensor-parallel devices hold copies. 0: it divides with the rest."""
        return 0

    @property
    def cache_copies(self) -> float:
        """How many tensor-parallel devices hold the same keys and values [1]: 1 unless this is a part of a split block."""
        return 1.0

    @property
    def query_widths(self) -> tuple[int, int]:
        """Elements of one token's queries and of what they find: what devices that divide the cached tokens exchange."""
        return 0, 0

    @property
    def states(self) -> tuple[State, ...]:
        """The memories of fixed size one layer keeps of a sequence."""
        return ()

    @property
    def normed_width(self) -> int | None:
        """Elements of one token that norms of queries and keys go over; None without such norms."""
        return None

    @property
    def experts_held(self) -> int:
        """Experts stored here; 0 for a block that has none."""
        return 0

    @property
    def dense_ffn(self) -> int:
        """Inner width of what every token goes through; 0 for a block that is no feed-forward block."""
        return 0

    def routed_width(self, hidden: int) -> int:
        """Elements of one token before and after the matrices of all its experts, where each expert has a copy; 0 without experts."""
        del hidden
        return 0

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """The assumptions of pricing the block, one line each."""
        return ()

    @property
    def indivisible(self) -> int:
        """The number that tp must divide: heads, or 1 if any tp is possible."""
        return 1

    def activation_width(self, hidden: int) -> int:
        """Elements of one token alive at once inside the block: by default the outputs of all matrices but the last."""
        return sum(m.rows for m in self.matrices(hidden)[:-1])

    def expert_matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """The matrices of one expert; none for a block without experts."""
        del hidden
        return ()

    def as_mha(self) -> Block:
        """The same block with one KV head per query head; itself without such heads."""
        return self

    def shard(self, ways: int) -> Block:
        """The part of the block one of `ways` tensor-parallel devices holds: its heads, its share of the width.

        The caller has already refused a `ways` that does not divide the heads.
        """
        del ways  # a block without heads or width of its own is held whole
        return self

    def split_experts(self, ways: int, width_ways: int) -> Block:
        """The part of the block one of `ways` expert-parallel devices holds, each expert's width split `width_ways` ways."""
        del ways, width_ways  # a block without experts is not split this way
        return self

    def _with(self, **fields: object) -> Self:
        """The same block with other sizes, unchecked: parts of a valid one."""
        return self.model_copy(update=fields)

    def parameters(self, hidden: int, *, active: bool = False) -> int:
        """Elements of the block; `active` counts only the experts one token uses."""
        del active  # all of a block, unless it has experts
        linear: int = sum(m.weights + m.biases for m in self.matrices(hidden))
        return linear + self.norm_elements + self.vector_elements + self.table_elements


class StateMixer(Block):
    """What recurrent mixers share. `state_bits` is the width an engine keeps the recurrent state in [bit].

    Its last matrix is the one after the recurrence.
    """

    state_bits: Size = 32

    @property
    def state_elements(self) -> int:
        """Elements of the recurrent state of one sequence."""
        return 0

    @property
    def conv_elements(self) -> int:
        """Elements of past inputs the convolution keeps for one sequence."""
        return 0

    @property
    def states(self) -> tuple[State, ...]:
        """The recurrent state, and the past inputs of the convolution."""
        return State(self.state_elements, self.state_bits), State(self.conv_elements)

    @property
    def scan_flops(self) -> int:
        """The least FLOPs of one token beyond the matrices: state update and read-out, and the convolution."""
        return 0


class Projection(Block):
    """One linear map on its own: an attention replaced by a matrix, or the joint of a multi-token-prediction layer.

    `inputs` is how many times hidden wide its input is, `tensor` the class it is stored with.
    """

    inputs: Size = 1
    tensor: TensorClass = "o_proj"

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """The one matrix."""
        return (Matrix("projection", self.tensor, hidden, self.inputs * hidden),)


class PerLayerInput(Block):
    """An input of each layer's own (Gemma 3n and 4): `width` elements of a table of `vocab` rows, gated into the layer."""

    width: Size
    vocab: Size

    @property
    def table_elements(self) -> int:
        """The layer's part of the table."""
        return self.vocab * self.width

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """The layer's part of the model's projection of the embedding, the gate, and the way back."""
        into = Matrix("per_layer_input", "up_proj", self.width, hidden)
        return (into, into, Matrix("per_layer_input", "down_proj", hidden, self.width))
