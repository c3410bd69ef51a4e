"""Prefill and decode on separate or on the same devices: requests per second, the first two tokens, time per output token.

    pools       prefill b / max( t(b) , b·KV/link )      decode B / max( (output − 1)·t(B) , B·KV/link )
    undivided   B / ( (output − 1)·t(B) + B·t(b)/b )      the prefill of b prompts at a time stops every decode
    first       t(b): the prefill computes it
    second      max( t(b) , KV/link ) + t(B) at least; t(b) + KV/link + t(B) one after the other

A pool is a number of equal replicas. The rate of both pools is that of the slower. Not counted: queueing, bursts, and
chunked prefill, which an undivided replica may use. Symbols: docs/notation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sol.physics.memory.cache import kv_bytes, state_bytes
from sol.specs.links import Topology
from sol.specs.model import Model
from sol.specs.parts import Count
from sol.specs.quantities import Array
from sol.specs.split import Split
from sol.specs.step import Storage


def request_kv_bytes(model: Model, prompt_tokens: Array, storage: Storage) -> Array:
    """Bytes of one prompt's cache, and of its recurrent states [B]: what travels from prefill to decode, once."""
    return kv_bytes(model, prompt_tokens, storage.cache) + state_bytes(model, storage)


def holders(split: Split) -> Count:
    """Devices that hold the cache of one sequence together, and so share sending or receiving it [1]."""
    return split.tp * split.pp


def apart(devices: int, links: Topology) -> int:
    """The distance between two pools of `devices` devices in all [1]: inside the innermost domain that holds them, else beyond it."""
    within = 1
    for link in links.levels:
        if link.domain is None or devices <= link.domain:
            return within
        within = int(link.domain)
    return within


def prefill_rate(prompts: Array, prefill_s: Array, transfer_s: Array) -> Array:
    """Requests per second of one prefill replica [1/s]: its caches leave while the next prompts are computed."""
    return prompts / np.maximum(prefill_s, prompts * transfer_s)


def decode_rate(batch: Array, step_s: Array, transfer_s: Array, output_tokens: float) -> Array:
    """Requests per second of one decode replica [1/s]: caches arrive while it decodes; the prefill gave the first token."""
    return batch / np.maximum((output_tokens - 1.0) * step_s, batch * transfer_s)


def undivided_rate(batch: Array, step_s: Array, prompts: Array, prefill_s: Array, output_tokens: float) -> Array:
    """Requests per second of a replica that does both, prefill not mixed with decode [1/s]."""
    return batch / ((output_tokens - 1.0) * step_s + batch * prefill_s / prompts)


def undivided_tpot(batch: Array, step_s: Array, prompts: Array, prefill_s: Array, output_tokens: float) -> Array:
    """Time per output token if the prompts of other sequences stop decode steps [s]."""
    others = np.maximum(batch / prompts - 1.0, 0.0)
    return step_s + others * prefill_s / (output_tokens - 1.0)


class Second(NamedTuple):
    """Time to the second token [s]: its floor, and that of prefill, transfer and a decode step one after the other."""

    floor_s: Array
    serial_s: Array


def second_token(
    prefill_floor_s: Array, prefill_s: Array, transfer_floor_s: Array, transfer_s: Array, step_floor_s: Array, step_s: Array
) -> Second:  # fmt: skip
    """The second token of a request that is prefilled in one pool and decoded in another [s].

    A layer's cache may travel while the next layers are computed, so that prefill and transfer overlap; the step needs all of it.
    """
    return Second(np.maximum(prefill_floor_s, transfer_floor_s) + step_floor_s, prefill_s + transfer_s + step_s)


def users(rate: Array, second_s: Array, tpot_s: Array, output_tokens: float) -> Array:
    """Requests at once that a rate carries [1], by Little's law: each stays until its last token."""
    stays: Array = second_s + np.maximum(output_tokens - 2.0, 0.0) * tpot_s
    return rate * stays


class Shared(NamedTuple):
    """Replicas of either pool [1], and the requests per second of both together [1/s]."""

    prefill: Array
    decode: Array
    rate: Array


def matched(total: int, prefill_devices: Array, prefill: Array, decode_devices: Array, decode: Array) -> Shared:
    """The numbers of replicas of each kind, in `total` devices, that serve the most requests per second.

    Shapes broadcast: devices [1] and requests per second [1/s] of one replica of either kind. The rate is zero where not one of
    each fits. Of equal rates the fewest prefill replicas are kept.
    """
    none: Array = 0.0 * (prefill * decode)
    found = Shared(none, none, none)
    for replicas in range(1, int(np.floor(total / prefill_devices.min())) + 1):
        left = np.floor((total - replicas * prefill_devices) / decode_devices)
        rate = np.where(left >= 1.0, np.minimum(replicas * prefill, left * decode), 0.0)
        better = rate > found.rate
        found = Shared(np.where(better, replicas, found.prefill), np.where(better, left, found.decode), np.where(better, rate, found.rate))
    needed = np.ceil(found.rate / decode * (1.0 - 1e-12))
    return found._replace(decode=np.minimum(found.decode, np.where(found.rate > 0.0, np.maximum(needed, 1.0), 0.0)))
