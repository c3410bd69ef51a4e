"""The built-in models any device answers for without a dtype: stored in 16 bits, not quantised and not in fp32."""

from __future__ import annotations

from hypothesis import strategies as st

from sol import load_model
from sol.sources.database.database import model_ids

SIXTEEN_BIT = [m for m in model_ids() if load_model(m).dtype in (None, "bf16", "fp16") and not load_model(m).quantization]
MODELS = st.sampled_from(SIXTEEN_BIT)
