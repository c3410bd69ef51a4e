"""Servers' names of formats as format ids: a dtype, or a quantisation with known bits.

`dtype` is the format of tensors outside a quantisation. A method such as gptq or awq does not give the bits, so an
option must give the format.
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
            f"quantization {short(quantization)} does not give its bits; pass dtype= with the format of the weights", ("dtype",)
        )
    return exact
