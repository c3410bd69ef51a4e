"""A llama- or qwen-like decoder in plain PyTorch with random weights, to be timed: see device.py."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from sol.specs.mixers import Attention
from sol.specs.model import Model

CUDA = "cuda"


def random(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Small random numbers on the device."""
    return torch.randn(shape, device=CUDA, dtype=torch.bfloat16).mul_(0.05).to(dtype)


class Decoder:
    """A llama- or qwen-like decoder with random weights and a static cache of `length` tokens."""

    def __init__(self, model: Model, batch: int, length: int, fp8: bool = False) -> None:
        (group,) = model.groups
        self.att = next(b for b in group.blocks if isinstance(b, Attention))
        mlp = next(b for b in group.blocks if hasattr(b, "ffn"))
        self.model, self.batch, self.length, self.layers, self.fp8 = model, batch, length, group.count, fp8
        d, q, kv = model.hidden, self.att.heads * self.att.head_dim, self.att.kv_heads * self.att.head_dim
        dtype = torch.float8_e4m3fn if fp8 else torch.bfloat16
        self.weights = [[random(s, dtype) for s in ((q + 2 * kv, d), (d, q), (2 * mlp.ffn, d), (d, mlp.ffn))] for _ in range(self.layers)]
        self.bias = torch.zeros(q + 2 * kv, device=CUDA, dtype=torch.bfloat16)
        self.norm = torch.ones(d, device=CUDA, dtype=torch.bfloat16)
        self.head = random((model.vocab, d), torch.bfloat16)
        self.one = torch.ones((), device=CUDA)
        self.resize(batch, length)

    def resize(self, batch: int, length: int) -> None:
        """Another cache, full of random tokens."""
        self.cache: list[Any] = []
        self.batch, self.length = batch, length
        shape = (batch, self.att.kv_heads, length, self.att.head_dim)
        self.cache = [[random(shape, torch.bfloat16) for _ in range(2)] for _ in range(self.layers)]
        self.angles = torch.randn(2, 1, 1, length, self.att.head_dim, device=CUDA, dtype=torch.bfloat16)

    def linear(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """x·wᵀ, in fp8 through a cast of x."""
        if not self.fp8:
            return functional.linear(x, w)
        flat = x.reshape(-1, x.shape[-1])
        rows = flat.shape[0]
        padded = functional.pad(flat, (0, 0, 0, -rows % 16)) if rows % 16 else flat
        y = torch._scaled_mm(padded.to(torch.float8_e4m3fn), w.t(), self.one, self.one, out_dtype=torch.bfloat16)
        return y[:rows].reshape(*x.shape[:-1], -1)

    def rope(self, x: torch.Tensor, at: int) -> torch.Tensor:
        """Rotary embedding from position `at` on."""
        cos, sin = (a[:, :, at : at + x.shape[2]] for a in self.angles)
        left, right = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-right, left), dim=-1) * sin

    def __call__(self, ids: torch.Tensor, past: int) -> torch.Tensor:
        """Logits of the last token; `ids` (batch, new), the cache holding `past` tokens."""
        new, a, d = ids.shape[1], self.att, self.model.hidden
        x = functional.embedding(ids, self.head)
        for (qkv, o, up, down), (keys, values) in zip(self.weights, self.cache, strict=True):
            h = self.linear(functional.rms_norm(x, (d,), self.norm), qkv) + self.bias
            q, k, v = (
                t.view(self.batch, new, -1, a.head_dim).transpose(1, 2)
                for t in h.split((a.heads * a.head_dim, *[a.kv_heads * a.head_dim] * 2), dim=-1)
            )
            q, k = self.rope(q, past), self.rope(k, past)
            keys[:, :, past : past + new] = k
            values[:, :, past : past + new] = v
            grouped = a.kv_heads < a.heads
            y = functional.scaled_dot_product_attention(
                q, keys[:, :, : past + new], values[:, :, : past + new], is_causal=new > 1, enable_gqa=grouped
            )
            x = x + self.linear(y.transpose(1, 2).reshape(self.batch, new, -1), o)
            gate, wide = self.linear(functional.rms_norm(x, (d,), self.norm), up).chunk(2, dim=-1)
            x = x + self.linear(functional.silu(gate) * wide, down)
        return functional.linear(functional.rms_norm(x[:, -1:], (d,), self.norm), self.head)
