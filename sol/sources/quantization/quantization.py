"""The formats a quantised checkpoint's config describes: of its weights, and of its KV cache.

Only what is understood to the bit becomes a format. Anything else (an unknown key that changes storage, a pattern that
names no module) gives None, and an error then asks for a format by name. A scale stored once per tensor is not
counted, as in the database's formats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sol.specs.formats import NumberFormat
from sol.specs.record import Source

if TYPE_CHECKING:
    from sol.sources.quantization.linear_modules import Checkpoint
    from sol.sources.quantization.schemes import Statement

KEPT = {"embedding", "lm_head", "norm", "router", "bias"}  # what stays in 16 bits where no modules are known


def weight_format(quant: Any, routers: int, source: Source, side: Any = None, checkpoint: Checkpoint | None = None) -> NumberFormat | None:
    """The format of a model with `routers` routers, or None where it is not understood.

    `quant` is the config's `quantization_config`, `side` what stands in a hf_quant_config.json beside it;
    both given must say the same. Without `checkpoint`, the modules by name, only a format of every
    linear layer and expert is understood.
    """
    given = [{"quant_method": "modelopt", **beside} if isinstance(beside, Mapping) else beside for beside in _sides(side)]
    if quant is not None:
        given.append(quant)
    if not given or not all(isinstance(said, Mapping) for said in given):
        return None
    from sol.sources.quantization.methods import stated  # here: most models are not quantised

    statements = [stated(said, None if checkpoint is None else checkpoint.kind) for said in given]
    statement = statements[0]
    if statement is None or any(other != statement for other in statements):
        return None
    if checkpoint is None:
        return _whole_model(statement, routers, source)
    from sol.sources.quantization.formats import combined
    from sol.sources.quantization.names import schemes

    found = schemes(statement, checkpoint)
    return None if found is None else combined(statement.method, found, source, tied=checkpoint.tied)


def cache_format(quant: Any, side: Any = None) -> str | None:
    """The id of the format the checkpoint says its KV cache is kept in; None where it says nothing of one.

    What is no format here is returned in the config's own words, so that whoever looks it up says them.
    """
    said = {name for name in map(_cache, (quant, *_sides(side))) if name is not None}
    return " or ".join(sorted(said)) if said else None


def _sides(side: Any) -> list[Any]:
    """What a hf_quant_config.json says, if there is one."""
    return [] if side is None else [side.get("quantization") if isinstance(side, Mapping) else side]


def _cache(quant: Any) -> str | None:
    if not isinstance(quant, Mapping):
        return None
    said = quant.get("kv_cache_scheme", quant.get("kv_cache_quant_algo"))
    if said is None:
        return None
    form = (said.get("type"), said.get("num_bits")) if isinstance(said, Mapping) else said.lower() if isinstance(said, str) else said
    for known, name in CACHES:
        if form == known:
            return name
    return repr(form)[:40]


CACHES = (
    (("float", 8), "fp8"), (("int", 8), "int8"), (("float", 4), "nvfp4"), ("fp8", "fp8"), ("static", "fp8"), ("int8", "int8"),
    ("nvfp4", "nvfp4"),
)  # fmt: skip
"""What configs say of a cache, and the format it is; "static" is AutoFP8's word for an 8-bit one."""


def _whole_model(statement: Statement, routers: int, source: Source) -> NumberFormat | None:
    """One format for every linear layer and expert, if nothing but what stays in 16 bits is left out."""
    schemes = {scheme for _, scheme in statement.groups}
    plain = len(schemes) == 1 and all(targets == {"Linear"} for targets, _ in statement.groups) and not statement.only_experts
    if not plain or not _keeps_the_usual(statement, routers):
        return None
    from sol.sources.quantization.formats import format_of

    return format_of(statement.method, schemes.pop(), ("linear", "experts"), source)


def _keeps_the_usual(statement: Statement, routers: int) -> bool:
    """Whether what is left in 16 bits is what every format here leaves: every router by name, the head by name or anyway."""
    from sol.sources.tensors.tensor_names import tensor_class

    if not all(re.fullmatch(r"[\w.\-]+", name) for name in statement.left):
        return False  # a pattern: it takes the modules' names to know what it means
    kept = {name: tensor_class(name) or tensor_class(f"{name}.weight") for name in statement.left}
    if statement.head and "lm_head" not in kept.values():
        return False
    gates = [name for name, part in kept.items() if part == "router"]
    every_router = len(gates) >= routers or any(not re.search(r"\d", name) for name in gates)  # a name without a layer is of all
    return set(kept.values()) <= KEPT and every_router
