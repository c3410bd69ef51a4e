"""What each quantisation method's config says: which schemes, for which modules, and which are left out.

One reader per `quant_method`; each gives a `Statement`, or None where a key it does not understand
could change what is stored. Facts of the layouts, and where each was read:

- GPTQ, AWQ: packed integers, a 16-bit scale and (asymmetric) a zero of as many bits a group
- fp8: an fp32 scale per block (DeepSeek-V3, arXiv:2412.19437) or tensor; fbgemm_fp8: an fp32 scale per row (vLLM, quantization/fbgemm_fp8)
- bitsandbytes: blocks of 64 (QLoRA, arXiv:2305.14314); 8-bit: an fp32 scale per row (LLM.int8(), arXiv:2208.07339)
- ModelOpt: github.com/NVIDIA/Model-Optimizer@a2fbac7 (torch/export/quant_utils, convert_hf_config)
- Quark: its MXFP4 and FP8, as vLLM's quantization/quark reads them
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sol.sources.quantization.compressed import compressed
from sol.sources.quantization.schemes import EVERY, MXFP4, MXFP8, NVFP4, ROW, Scheme, Statement, is_size, name_set

SKIP_LISTS = ("modules_to_not_convert", "llm_int8_skip_modules", "ignored_layers", "ignore", "exclude")


def stated(quant: Mapping[str, Any], kind: str | None) -> Statement | None:
    """What a `quantization_config` of a model of some kind says; None where it is not understood."""
    method = quant.get("quant_method", "modelopt" if "quant_algo" in quant else None)
    read = METHODS.get(method) if isinstance(method, str) else None
    return None if read is None else read(quant, kind)


def _everywhere(quant: Mapping[str, Any], scheme: Scheme | None, *, head: bool, **how: Any) -> Statement | None:
    """One scheme for every linear layer, the lists left out; `head`: whether a list replaces the head the method leaves by itself."""
    lists = [name_set(quant.get(key)) for key in SKIP_LISTS]
    if scheme is None or None in lists:
        return None
    given = any(quant.get(key) is not None for key in SKIP_LISTS)
    left = frozenset[str]().union(*(listed for listed in lists if listed))
    return Statement(str(quant.get("quant_method")), ((EVERY, scheme),), left=left, head=head and given, **how)


def _integers(method: str, bits: Any, group: Any, zeros: Any) -> Scheme | None:
    """Integer weights with a 16-bit scale per group, and a zero of as many bits as a weight where they are asymmetric."""
    if not is_size(bits) or bits > 8 or not (is_size(group) or group == -1) or isinstance(group, bool) or not isinstance(zeros, bool):
        return None
    size = "row" if group == -1 else f"g{group}"
    return Scheme(f"{method}-w{bits}-{size}", bits, "16-bit", (1, ROW if group == -1 else group), 16, bits if zeros else 0)


def _gptq(quant: Mapping[str, Any], kind: str | None) -> Statement | None:
    # Symmetric files store zeros too, all alike: nobody has to read them.
    if quant.get("dynamic") or quant.get("modules_in_block_to_quantize") or quant.get("lm_head"):
        return None
    symmetric = quant.get("sym")
    scheme = _integers("gptq", quant.get("bits"), quant.get("group_size"), not symmetric if isinstance(symmetric, bool) else None)
    return _everywhere(quant, scheme, head=False)


def _awq(quant: Mapping[str, Any], kind: str | None) -> Statement | None:
    bits, group = quant.get("bits", quant.get("w_bit")), quant.get("group_size", quant.get("q_group_size"))
    if str(quant.get("version", "gemm")).lower() != "gemm":
        return None  # other layouts pad
    return _everywhere(quant, _integers("awq", bits, group, quant.get("zero_point")), head=False)


def _fp8(quant: Mapping[str, Any], kind: str | None) -> Statement | None:
    if quant.get("fmt") not in (None, "e4m3", "float8_e4m3fn") or quant.get("quantized_layers") or quant.get("quant_algo"):
        return None
    if quant.get("scale_fmt") and not (quant["scale_fmt"] == "ue8m0" and kind in POWERS_IN_FP32):
        return None
    block = quant.get("weight_block_size")
    if block is None:
        said = quant.get("activation_scheme") in ("static", "dynamic")
        return _everywhere(quant, ALGORITHMS["FP8"] if said else None, head=True)
    if not isinstance(block, list) or len(block) != 2 or not all(is_size(n) for n in block):
        return None
    return _everywhere(quant, Scheme(f"fp8-block{block[0]}x{block[1]}", 8, "fp8", (block[0], block[1]), 32), head=True)


POWERS_IN_FP32 = {"deepseek_v3", "deepseek_v32"}
"""Kinds whose power-of-two scales (scale_fmt ue8m0) are stored in fp32: DeepSeek-V3.1 and V3.2 hold no 8-bit exponents."""


def _fbgemm(quant: Mapping[str, Any], kind: str | None) -> Statement | None:
    return _everywhere(quant, Scheme("fp8-row", 8, "fp8", (1, ROW), 32), head=True)


def _bitsandbytes(quant: Mapping[str, Any], kind: str | None) -> Statement | None:
    four, eight = quant.get("load_in_4bit", False), quant.get("load_in_8bit", False)
    if eight is True and four is False:
        return _everywhere(quant, Scheme("int8-row", 8, "int8", (1, ROW), 32), head=True)
    storage, twice = quant.get("bnb_4bit_quant_storage", "uint8"), quant.get("bnb_4bit_use_double_quant", False)
    if four is not True or eight or quant.get("bnb_4bit_quant_type") != "nf4" or storage != "uint8" or not isinstance(twice, bool):
        return None
    # Doubly quantised: an 8-bit scale per block, and 32 bits for every 256 of them (QLoRA, section 3).
    scheme = Scheme("nf4-dq" if twice else "nf4", 4, "16-bit", (1, 64), 8.125 if twice else 32, flat=True)
    return _everywhere(quant, scheme, head=True)


def _mxfp4(quant: Mapping[str, Any], kind: str | None) -> Statement | None:
    # The config says nothing of activations: an engine may quantise them, and the fastest way is what bounds it.
    return _everywhere(quant, MXFP4._replace(id="mxfp4-experts"), head=True, only_experts=True)


def _modelopt(quant: Mapping[str, Any], kind: str | None) -> Statement | None:
    algo, listed = quant.get("quant_algo"), quant.get("exclude_modules", quant.get("ignore"))
    left = name_set(listed)
    if not isinstance(algo, str) or left is None or listed is None:
        return None  # without a list nothing is known to be left out, and ModelOpt always leaves something
    if algo.upper() == "MIXED_PRECISION":
        layers = quant.get("quantized_layers")
        if not isinstance(layers, Mapping) or not layers or not all(isinstance(v, Mapping) for v in layers.values()):
            return None
        read = {str(name): _algorithm(layer.get("quant_algo"), layer.get("group_size")) for name, layer in layers.items()}
        named = {name: scheme for name, scheme in read.items() if scheme is not None}
        return Statement("modelopt", named=named, left=left, style="glob") if len(named) == len(layers) else None
    scheme = _algorithm(algo, quant.get("group_size", _modelopt_group(quant)))
    if scheme is None or quant.get("quantized_layers"):
        return None
    return Statement("modelopt", ((EVERY, scheme),), left=left, style="glob")


def _modelopt_group(quant: Mapping[str, Any]) -> Any:
    """The group size config.json says, where it says one, in a group of compressed-tensors' form."""
    groups = quant.get("config_groups")
    only = next(iter(groups.values())) if isinstance(groups, Mapping) and len(groups) == 1 else None
    weights = only.get("weights") if isinstance(only, Mapping) else None
    return weights.get("group_size") if isinstance(weights, Mapping) else None


def _algorithm(algo: Any, group: Any) -> Scheme | None:
    """The scheme of one of ModelOpt's algorithms."""
    known = ALGORITHMS.get(algo.upper()) if isinstance(algo, str) else None
    if known is None or isinstance(group, bool):
        return None
    said = group if group not in (None, 0) or known.bits == 4 else known.block[1] if known.block else None
    return known if known.block is None or known.block[1] == ROW or said == known.block[1] else None


ALGORITHMS = {
    "FP8": Scheme("fp8", 8, "fp8"),
    "FP8_PER_CHANNEL_PER_TOKEN": Scheme("fp8-row", 8, "fp8", (1, ROW), 32),
    "NVFP4": NVFP4,
    "W4A16_NVFP4": NVFP4._replace(id="nvfp4-a16", compute="16-bit", otherwise=None),
    "MXFP8": MXFP8,
    "W4A8_MXFP4_FP8": MXFP4._replace(id="mxfp4-a8", compute="fp8", otherwise=None),
}


def _quark(quant: Mapping[str, Any], kind: str | None) -> Statement | None:
    given, left = quant.get("global_quant_config"), name_set(quant.get("exclude"))
    if not isinstance(given, Mapping) or left is None or any("*" in n and not n.startswith("re:") for n in left):
        return None
    if quant.get("layer_quant_config") or quant.get("layer_type_quant_config") or given.get("bias") or given.get("output_tensors"):
        return None
    scheme, inputs = _quark_form(given.get("weight")), given.get("input_tensors")
    act = "16-bit" if inputs is None else getattr(_quark_form(inputs), "compute", None)
    if scheme is None or act is None or (scheme.bits == 8 and act == "fp4"):
        return None
    if act != scheme.compute:
        scheme = scheme._replace(id=f"{scheme.id}-a{16 if act == '16-bit' else 8}", compute=act, otherwise=None)
    return Statement("quark", ((EVERY, scheme),), left=left, style="regex")


def _quark_form(part: Any) -> Scheme | None:
    """The scheme one part of a Quark config describes."""
    said = [part.get(key) for key in ("dtype", "qscheme", "group_size", "scale_format")] if isinstance(part, Mapping) else None
    if said == ["fp4", "per_group", 32, "e8m0"]:
        return MXFP4
    return ALGORITHMS["FP8"] if said is not None and said[:3] == ["fp8_e4m3", "per_tensor", None] else None


METHODS = {
    "gptq": _gptq, "awq": _awq, "fp8": _fp8, "fbgemm_fp8": _fbgemm, "bitsandbytes": _bitsandbytes, "mxfp4": _mxfp4,
    "compressed-tensors": compressed, "modelopt": _modelopt, "modelopt_fp4": _modelopt, "quark": _quark,
}  # fmt: skip
