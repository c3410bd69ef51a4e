"""llama.cpp's names of the formats of weights and cache, as format ids.

The words are those of `llama_ftype_name` (after an architecture and a size, as in "llama 8B Q4_K -
Medium") and of ggml's types. A name without a format here is kept, and an option must replace it.
"""

from __future__ import annotations

import re

MODEL = re.compile(r"(?P<name>.*?)\s+(?:mostly )?(?P<ftype>(?:all F32|BF16|F16|[TI]?Q\d|MXFP4|NVFP4).*)")
GUESSED = " (guessed)"
FTYPES = {
    "all F32": "f32", "F16": "fp16", "BF16": "bf16", "Q4_0": "q4_0", "Q5_0": "q5_0", "Q5_1": "q5_1", "Q8_0": "q8_0",
    "Q4_K - Medium": "q4_k_m", "Q5_K - Medium": "q5_k_m", "Q6_K": "q6_k",
}  # fmt: skip
CACHE_TYPES = {"f16": "fp16"}


def model_and_format(model_type: str) -> tuple[str, str | None]:
    """The architecture and size, and the weight format in our word or llama.cpp's; None where none is named.

    >>> model_and_format("llama 8B Q4_K - Medium"), model_and_format("llama 7B mostly Q4_0")
    (('llama 8B', 'q4_k_m'), ('llama 7B', 'q4_0'))
    """
    match = MODEL.fullmatch(model_type[:200])
    if match is None:
        return model_type, None
    ftype = match["ftype"].removesuffix(GUESSED)
    return match["name"], FTYPES.get(ftype, ftype)


def cache_format(word: str) -> str:
    """A cache type in our word, or llama.cpp's own."""
    return CACHE_TYPES.get(word, word)
