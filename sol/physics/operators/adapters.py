"""How many elements a LoRA adapter adds: rank·(inputs + outputs) for every matrix it adapts (arXiv:2106.09685)."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from sol.specs.formats import TensorClass
from sol.specs.model import ModelPart

DENSE: tuple[TensorClass, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
"""Every matrix of a layer but routers and experts; up_proj is gate and up together."""


@lru_cache(maxsize=1024)
def adapter_elements(model: ModelPart, rank: int, targets: Collection[TensorClass] = DENSE) -> int:
    """Elements of one adapter of rank `rank` on the matrices of the `targets` classes, in every layer [1].

    Experts ("experts_up", "experts_down") are adapted one by one. A checkpoint that stores several
    matrices as one (phi3's qkv) has them counted apart here, as the classes name them.
    """
    total = 0
    for group in model.groups:
        for block in group.blocks:
            matrices = [(1, m) for m in block.matrices(model.hidden)]
            matrices += [(block.experts_held, m) for m in block.expert_matrices(model.hidden)]
            total += sum(group.count * n * rank * (m.rows + m.columns) for n, m in matrices if m.tensor in targets)
    return total
