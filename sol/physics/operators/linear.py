"""The rows of linear layers: what the matrices of a block move and compute. Symbols: docs/notation.

The bytes and shapes of a block's matrices do not depend on the step, so they are worked out once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from sol.physics.operators.operator import Amount, Cost, Operator, row
from sol.specs.blocks import Block, Matrix
from sol.specs.model import LayerGroup
from sol.specs.parts import Count, Parts
from sol.specs.quantities import Array
from sol.specs.step import Role, Storage


@dataclass(frozen=True, eq=False)
class Linear:
    """The matrices one operator runs in one layer: stored bytes with biases [B], elements, and widths [1].

    `inputs` is the width they read together, `outputs` what they write, `unfused_width` both where each matrix is
    a kernel of its own.
    """

    operator: str
    role: Role
    stored_bytes: Amount
    weights: Count
    inputs: Count
    outputs: Count
    unfused_width: Count
    matrices: tuple[Matrix | Parts, ...]

    def shape(self) -> str:
        """Inputs times outputs, matrix by matrix, for a reader."""
        rows = " + ".join(str(m.rows) for m in self.matrices) if all(m.columns == self.inputs for m in self.matrices) else ""
        several = len(self.matrices) > 1 and rows
        sizes = f"{self.inputs}·({rows})" if several else " + ".join(f"{m.columns}·{m.rows}" for m in self.matrices)
        biases = sum(m.biases for m in self.matrices)
        return f"in·out = {sizes}" + (f", {biases} biases" if biases else "")


def stored_bytes(matrix: Matrix | Parts, storage: Storage) -> Amount:
    """Bytes of one matrix and its biases as stored [B]."""
    weights: Amount = matrix.weights * storage.bytes_per_weight(matrix.tensor, matrix.columns)
    biases: Amount = matrix.biases * storage.bytes_per_weight("bias", 1)
    return weights + biases


@lru_cache(maxsize=4096)
def linears(block: Block | Parts, hidden: int, storage: Storage) -> tuple[Linear, ...]:
    """The linear operators of a block, in the order they first run."""
    grouped: dict[str, list[Matrix | Parts]] = {}
    for matrix in block.matrices(hidden):
        grouped.setdefault(matrix.operator, []).append(matrix)
    return tuple(_merged(name, matrices, storage) for name, matrices in grouped.items())


def _merged(name: str, matrices: list[Matrix | Parts], storage: Storage) -> Linear:
    return Linear(
        operator=name, role=storage.role(matrices[0].tensor), stored_bytes=sum(stored_bytes(m, storage) for m in matrices),
        weights=sum(m.weights for m in matrices), inputs=reduce(np.maximum, (m.columns for m in matrices)),
        outputs=sum(m.rows for m in matrices), unfused_width=sum(m.columns + m.rows for m in matrices), matrices=tuple(matrices),
    )  # fmt: skip


def linear_row(linear: Linear, layers: int, tokens: Array, cost: Cost) -> Operator:
    """The row of a linear operator: its bytes once a step, 2·T·weights FLOPs."""
    return row(
        linear.operator, layers, linear.role, weight_bytes=layers * linear.stored_bytes, flops=tokens * (2.0 * layers * linear.weights),
        shape=linear.shape, cost=cost,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def expert_bytes(block: Block | Parts, hidden: int, storage: Storage) -> Amount:
    """Stored bytes of one expert [B]."""
    return sum(stored_bytes(m, storage) for m in block.expert_matrices(hidden))


@lru_cache(maxsize=4096)
def small_bytes(group: LayerGroup | Parts, hidden: int, storage: Storage) -> Amount:
    """Stored bytes of one layer's norms and of its vectors that belong to no matrix [B]."""
    vectors = group.scalars + sum(b.vector_elements for b in group.blocks)
    stored: Amount = group.norm_elements(hidden) * storage.bytes_per_weight("norm", 1) + vectors * storage.bytes_per_weight("bias", 1)
    return stored


def layer_bytes(group: LayerGroup | Parts, hidden: int, storage: Storage) -> Amount:
    """Stored bytes of one layer, every expert included [B]."""
    total = small_bytes(group, hidden, storage)
    for block in group.blocks:
        total = total + sum(linear.stored_bytes for linear in linears(block, hidden, storage))
        total = total + block.table_elements * storage.bytes_per_weight("embedding", hidden)
        if block.expert_matrices(hidden):
            total = total + block.experts_held * expert_bytes(block, hidden, storage)
    return total
