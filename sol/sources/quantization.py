"""The weight format a checkpoint's `quantization_config` describes.

Only what is understood to the bit becomes a format. Anything else (mixed precision, an unknown key
that changes storage, tensors left out that no format here leaves out) gives None, and the question
then asks for a format by name instead of guessing one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sol.errors import InvalidInput
from sol.specs.formats import NumberFormat
from sol.specs.record import Source

KEPT = {"embedding", "lm_head", "norm", "router", "bias"}  # what stays in 16 bits in every format below
WHOLE_MODEL = ("fp8", "bitsandbytes")  # methods whose list replaces their own, which leaves the head out; the others take layers only
SKIP_LISTS = ("modules_to_not_convert", "llm_int8_skip_modules", "ignore")


def weight_format(quant: Any, routers: int, source: Source) -> NumberFormat | None:
    """The format of the linear layers and experts of a model with `routers` routers, or None where it is not understood."""
    if not isinstance(quant, Mapping):
        return None
    method = quant.get("quant_method")
    read = METHODS.get(method) if isinstance(method, str) else None
    fields = read(quant) if read is not None and _keeps_the_usual(quant, routers) else None
    if fields is None:
        return None
    try:
        return NumberFormat(name=f"{method}, as the checkpoint's config says", source=source, **fields)
    except InvalidInput:  # sizes no format can have
        return None


def _keeps_the_usual(quant: Mapping[str, Any], routers: int) -> bool:
    """Whether the modules left in 16 bits are those every format here leaves: every router named, and the head in a list that is given."""
    from sol.sources.tensor_names import tensor_class  # here: most models are not quantised, and its patterns take time

    kept: dict[str, str | None] = {}
    for key in SKIP_LISTS:
        names = quant.get(key)
        if names is None:
            continue
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            return False
        kept |= {n: tensor_class(n) or tensor_class(f"{n}.weight") for n in names}
        if quant.get("quant_method") in WHOLE_MODEL and "lm_head" not in kept.values():
            return False
    gates = [name for name, part in kept.items() if part == "router"]
    every_router = len(gates) >= routers or any(not re.search(r"\d", name) for name in gates)  # a name without a layer is of all
    return set(kept.values()) <= KEPT and every_router


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _integers(method: str, bits: Any, group: Any, zeros: Any) -> dict[str, Any] | None:
    """Integer weights with a 16-bit scale a group, and a zero of as many bits as a weight where they are asymmetric."""
    if not _whole(bits) or bits > 8 or not _whole(group) or not isinstance(zeros, bool):
        return None
    return {"id": f"{method}-w{bits}-g{group}", "bits": bits, "group": group, "scale_bits": 16, "zero_bits": bits if zeros else 0,
            "compute": "16-bit"}  # fmt: skip


def _gptq(quant: Mapping[str, Any]) -> dict[str, Any] | None:
    # Symmetric files store zeros too, all alike: nobody has to read them.
    if quant.get("dynamic") or quant.get("modules_in_block_to_quantize") or quant.get("lm_head"):
        return None
    symmetric = quant.get("sym")
    return _integers("gptq", quant.get("bits"), quant.get("group_size"), not symmetric if isinstance(symmetric, bool) else None)


def _awq(quant: Mapping[str, Any]) -> dict[str, Any] | None:
    bits, group = quant.get("bits", quant.get("w_bit")), quant.get("group_size", quant.get("q_group_size"))
    return _integers("awq", bits, group, quant.get("zero_point"))


def _fp8(quant: Mapping[str, Any]) -> dict[str, Any] | None:
    block = quant.get("weight_block_size")
    if quant.get("fmt") not in (None, "e4m3", "float8_e4m3fn") or quant.get("scale_fmt") or quant.get("quantized_layers"):
        return None
    if not isinstance(block, list) or len(block) != 2 or not all(_whole(n) for n in block):
        return None
    return {"id": f"fp8-block{block[0]}x{block[1]}", "bits": 8, "group": block[0] * block[1], "scale_bits": 32, "compute": "fp8"}


def _bitsandbytes(quant: Mapping[str, Any]) -> dict[str, Any] | None:
    storage, twice = quant.get("bnb_4bit_quant_storage", "uint8"), quant.get("bnb_4bit_use_double_quant", False)
    if (
        quant.get("load_in_4bit") is not True
        or quant.get("bnb_4bit_quant_type") != "nf4"
        or storage != "uint8"
        or not isinstance(twice, bool)
    ):
        return None
    # Doubly quantised: an 8-bit scale a block, and 32 bits for every 256 of them (QLoRA, section 3).
    return {"id": "nf4-dq" if twice else "nf4", "bits": 4, "group": 64, "scale_bits": 8.125 if twice else 32, "compute": "16-bit"}


METHODS = {"gptq": _gptq, "awq": _awq, "fp8": _fp8, "bitsandbytes": _bitsandbytes}
