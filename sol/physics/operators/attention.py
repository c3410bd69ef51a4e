"""How many query-key pairs causal attention computes, and how much of the cache it reads.

Exact sums in closed form, per sequence; a token pairs with itself too. Only the causal half is counted: the
attention of a prefill of n tokens equals that of n decode steps. Symbols: docs/notation.
"""

from __future__ import annotations

import numpy as np

from sol.physics.operators.operator import Amount, larger, smaller


def causal_pairs(new_tokens: Amount, past_tokens: Amount, window: int | None = None, chunk: int | None = None) -> Amount:
    """Query-key pairs of `new_tokens` queries after `past_tokens` cached ones [1, per sequence].

    Full attention: Σᵢ (past + i) = n·past + n(n+1)/2 for i = 1…n. With a sliding window W:
    Σᵢ min(past + i, W); the first W − past queries see everything before them, the rest W tokens.
    With chunks of C tokens that see only themselves: F(past + n) − F(past), where
    F(x) = ⌊x/C⌋·C(C+1)/2 + r(r+1)/2 and r = x mod C.

    Shapes broadcast. Source: physics of causal masks; a window as in arXiv:2310.06825.

    >>> causal_pairs(np.array([32768.0]), np.array([0.0]), window=1024)
    array([33030656.])
    >>> causal_pairs(np.array([16384.0]), np.array([0.0]), chunk=8192)
    array([67117056.])
    """
    if chunk is not None:
        pairs: Amount = _chunked_pairs(past_tokens + new_tokens, chunk) - _chunked_pairs(past_tokens, chunk)
        return pairs
    if window is None:
        return new_tokens * past_tokens + new_tokens * (new_tokens + 1.0) * 0.5
    growing = smaller(larger(window - past_tokens, 0.0), new_tokens)
    return growing * past_tokens + growing * (growing + 1.0) * 0.5 + (new_tokens - growing) * window


def _chunked_pairs(tokens: Amount, chunk: int) -> Amount:
    whole = np.floor(tokens / chunk)
    rest = tokens - whole * chunk
    pairs: Amount = whole * (chunk * (chunk + 1.0) * 0.5) + rest * (rest + 1.0) * 0.5
    return pairs


def cached_tokens_read(past_tokens: Amount, window: int | None = None, chunk: int | None = None) -> Amount:
    """Cached tokens whose keys and values one step must read [1, per sequence].

    A window of W tokens holds the query itself, so at most W − 1 of the past are in sight. Of chunks of C
    tokens the current one: past mod C.
    """
    if chunk is not None:
        current: Amount = past_tokens - np.floor(past_tokens / chunk) * chunk
        return current
    return past_tokens if window is None else smaller(past_tokens, window - 1.0)


def tokens_held(tokens: Amount, ways: Amount) -> Amount:
    """Of cached tokens dealt out one by one over `ways` devices, those of the fullest [1]: ⌈n/ways⌉; an average is divided."""
    if not isinstance(ways, np.ndarray) and ways == 1.0:
        return tokens
    held: Amount = np.where(tokens == np.floor(tokens), np.ceil(tokens / ways), tokens / ways)
    return held


def cached_tokens_written(new_tokens: Amount, span: int | None = None) -> Amount:
    """New tokens whose keys and values must be kept after the step, of at most `span` ever kept [1, per sequence]."""
    return new_tokens if span is None else smaller(new_tokens, float(span))
