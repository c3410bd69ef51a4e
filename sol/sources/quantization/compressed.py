"""What a compressed-tensors config says: groups of modules, each with its weights and activations.

The layouts are those of github.com/vllm-project/compressed-tensors@ac8e2ba: `compressors` says what is
stored, `quantization/lifecycle/initialize.py` that scales have the model's 16-bit type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sol.sources.quantization.schemes import MXFP4, MXFP8, NVFP4, ROW, Scheme, Statement, is_size, name_set

TENSOR = (0, 0)
"""As a block: all of a tensor."""
PLAIN = {
    # Layout: the types and widths of weights it keeps in just so many bits; narrower integers take whole bytes elsewhere.
    "pack-quantized": (("int", 2), ("int", 4), ("int", 8)),
    "int-quantized": (("int", 8),),
    "float-quantized": (("float", 8),),
    "naive-quantized": (("int", 8), ("float", 8)),
}
FIXED = {
    # Layout: its one scheme, and the type of its scales where the config says it.
    "nvfp4-pack-quantized": (NVFP4, "torch.float8_e4m3fn"),
    "mxfp4-pack-quantized": (MXFP4, "torch.uint8"),
    "mxfp8-quantized": (MXFP8, "torch.uint8"),
}
ACTIVATIONS = ((("float", 8), "fp8"), (("int", 8), "int8"), (("float", 4), "fp4"))


def compressed(quant: Mapping[str, Any], kind: str | None) -> Statement | None:
    """The statement of a compressed-tensors config; None where it is not understood."""
    del kind  # the config says it all
    given, left = quant.get("config_groups"), name_set(quant.get("ignore"))
    if not isinstance(given, Mapping) or not given or left is None or quant.get("quantization_status", "compressed") != "compressed":
        return None
    if quant.get("sparsity_config") not in (None, {}) or quant.get("transform_config") not in (None, {}):
        return None
    groups = []
    for group in given.values():
        targets = name_set(group.get("targets")) if isinstance(group, Mapping) else None
        scheme = _scheme(group, group.get("format") or quant.get("format")) if targets else None
        if not targets or scheme is None or any(t != "Linear" and not t.startswith("re:") and "." not in t for t in targets):
            return None  # other classes are not linear layers, and a lone word may be one
        groups.append((targets, scheme))
    return Statement("compressed-tensors", tuple(groups), left=left, style="regex")


def _scheme(group: Mapping[str, Any], layout: Any) -> Scheme | None:
    weights, act = group.get("weights"), _activations(group.get("input_activations"))
    if not isinstance(weights, Mapping) or act is None or group.get("output_activations") is not None or not isinstance(layout, str):
        return None
    block = _block(weights)
    if block is None or weights.get("dynamic") not in (None, False):
        return None
    return _fixed(weights, layout, block, act) if layout in FIXED else _plain(weights, layout, block, act)


def _activations(inputs: Any) -> str | None:
    """The format activations are multiplied in."""
    if inputs is None:
        return "16-bit"
    said = (inputs.get("type"), inputs.get("num_bits")) if isinstance(inputs, Mapping) else None
    return next((name for known, name in ACTIVATIONS if said == known), None)


def _block(weights: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns one scale is for."""
    strategy, group, block = weights.get("strategy"), weights.get("group_size"), weights.get("block_structure")
    if strategy is None:
        strategy = "tensor" if group is None else "channel" if group == -1 else "group"
    if strategy == "block" and group is None and isinstance(block, list) and len(block) == 2 and all(is_size(n) for n in block):
        return (block[0], block[1])
    if strategy == "tensor" and group is None and block is None:
        return TENSOR
    if strategy == "channel" and group in (None, -1) and block is None:
        return (1, ROW)
    return (1, group) if strategy in ("group", "tensor_group") and is_size(group) and block is None else None


def _fixed(weights: Mapping[str, Any], layout: str, block: tuple[int, int], act: str) -> Scheme | None:
    """A layout that is one scheme, whatever activations are."""
    scheme, scales = FIXED[layout]
    said = (weights.get("type"), weights.get("num_bits"), weights.get("symmetric", True), block)
    if said != ("float", scheme.bits, True, scheme.block) or weights.get("scale_dtype") not in (None, scales) or act == "int8":
        return None
    if act == scheme.compute:
        return scheme
    return scheme._replace(id=f"{scheme.id}-a{_width(act)}", compute=act, otherwise=None) if act != "fp4" else None


def _plain(weights: Mapping[str, Any], layout: str, block: tuple[int, int], act: str) -> Scheme | None:
    """Integers or 8-bit floats, with a 16-bit scale per row, group or block."""
    symmetric = weights.get("symmetric", True)
    form = next((f for f in PLAIN.get(layout, ()) if f == (weights.get("type"), weights.get("num_bits"))), None)
    if form is None or weights.get("scale_dtype") is not None or not isinstance(symmetric, bool) or act == "fp4":
        return None
    kind, bits = form
    if kind == "float" and (act == "int8" or not symmetric):
        return None
    name = f"{kind}-w{bits}a{_width(act)}"
    if block == TENSOR:
        return Scheme(name, bits, act)
    size = "row" if block == (1, ROW) else f"g{block[1]}" if block[0] == 1 else f"block{block[0]}x{block[1]}"
    return Scheme(f"{name}-{size}", bits, act, block, 16, 0 if symmetric else bits)  # zeros are packed as the weights are


def _width(act: str) -> int:
    return 16 if act == "16-bit" else 8
