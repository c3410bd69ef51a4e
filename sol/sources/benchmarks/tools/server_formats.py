"""What servers say of formats, as ours: a dtype, or a quantisation that is one to the bit.

`dtype` is what tensors outside a quantisation are in; a method such as gptq or awq is a family whose
bits are the checkpoint's, so it is asked for.
"""

from __future__ import annotations

from sol.errors import short
from sol.sources.benchmarks.importer import Given, Unreadable
from sol.sources.benchmarks.names import UNSAID

EXACT = {"fp8": "fp8", "nvfp4": "nvfp4", "mxfp4": "mxfp4", "w8a16": "w8a16"}


def weight_format(dtype: str | None, quantization: str | None, given: Given) -> str | None:
    """The format's word: of a quantisation that names its bits, else the dtype; None where the model decides."""
    if quantization is None or quantization.lower() in UNSAID:
        return dtype
    exact = EXACT.get(quantization.lower())
    if exact is None and "dtype" not in given:
        raise Unreadable(
            f"quantization {short(quantization)} does not say its bits; pass dtype= to say what the weights are in", ("dtype",)
        )
    return exact
