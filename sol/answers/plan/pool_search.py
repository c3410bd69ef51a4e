"""The search, among the priced splits of both phases, for the pools and the undivided replicas with the most requests per second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sol.answers.floor.result import Floor
from sol.errors import DoesNotFit
from sol.physics.operators.operator import Wire
from sol.physics.time import pools as physics
from sol.specs.quantities import Array
from sol.specs.split import Split

PROMPTS: Array = 2.0 ** np.arange(8.0)
"""Prompts per copy and stage of a prefill pass that are tried."""
SAME = 1.0 + 1e-9
"""Rates within this factor are equal: fewer devices win, then the earlier second token."""
NEAR = 1.01
"""A shorter pass is preferred if the rate is lower by at most this factor: a gain of 0.1 % is not worth waiting for 128 prompts."""


@dataclass(frozen=True)
class Pool:
    """Equal replicas: split, number, sequences per pass, serial floor of a pass [s], requests per second of all of them [1/s]."""

    split: Split
    replicas: int
    batch: float
    step_s: float
    requests_per_s: float

    @property
    def devices(self) -> int:
        """Devices of the whole pool."""
        return int(self.split.devices) * self.replicas


@dataclass(frozen=True)
class Undivided:
    """Replicas that do both phases: `decode` as a pool, `prompts` per prefill; `tpot_s` includes the prefill of other requests [s]."""

    decode: Pool
    prompts: float
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True)
class Division:
    """The best two pools of `devices` devices, and the best undivided replicas (None if none meets the limits).

    `requests_per_s` of both pools together; `ttft_floor_s` and `ttft_s` of the prefill, which computes the first token [s];
    `second_token_floor_s` max(prefill, cache over link) and a step, `second_token_s` prefill, transfer and step one after the other,
    `transfer_s` of one prompt's cache [s]; `users` at once that this rate carries [1].
    """

    devices: int
    prefill: Pool
    decode: Pool
    requests_per_s: float
    ttft_floor_s: float
    ttft_s: float
    second_token_floor_s: float
    second_token_s: float
    tpot_s: float
    transfer_s: float
    users: float
    undivided: Undivided | None

    @property
    def gain(self) -> float | None:
        """Requests per second relative to the undivided replicas [1]."""
        return None if self.undivided is None else self.requests_per_s / self.undivided.decode.requests_per_s


class _Group(NamedTuple):
    """Candidates with the same number of devices and of holders of a cache; none is both slower and lower in rate than another.

    `times` of a pass [s] and `rates` of a replica [1/s], both rising, and their `cells`.
    """

    devices: int
    holders: int
    times: Array
    rates: Array
    cells: Any


class _Pair(NamedTuple):
    """Two groups with the number of replicas of each; `rank` holds their rate [1/s], minus the devices, minus the second token's time."""

    rank: tuple[float, float, float]
    replicas: tuple[float, float]
    wait_s: float
    first: _Group
    then: _Group

    def beats(self, other: _Pair) -> bool:
        """Whether this pair serves more requests, or as many with fewer devices or an earlier second token."""
        mine, theirs = self.rank[0], other.rank[0]
        return mine > theirs * SAME or (mine * SAME >= theirs and self.rank[1:] > other.rank[1:])


class Search:
    """The priced splits of both phases (rows: splits; columns: prompts or batches), searched for each number of devices."""

    def __init__(
        self, splits: list[Split], prefills: Floor, decodes: Floor, kv_bytes: Array, output_tokens: float,
        limits: dict[str, float | None], needed: float | None = None,
    ) -> None:  # fmt: skip
        """`needed`: requests per second that are enough [1/s]."""
        self.needed = 0.0 if needed is None else needed
        self.splits, self.prefills, self.decodes, self.kv_bytes, self.output = splits, prefills, decodes, kv_bytes, output_tokens
        self.first_limit, self.token_limit = (np.inf if v is None else v for v in (limits["ttft_s"], limits["tpot_s"]))
        self.prompts, self.batch = (f.question.step.batch for f in (prefills, decodes))
        self.can = [f.valid if f.fits is None else f.valid & f.fits for f in (prefills, decodes)]
        self.sizes = np.array([s.devices for s in splits])
        self.alike: dict[tuple[int, int], list[int]] = {}
        for i, split in enumerate(splits):
            self.alike.setdefault((int(split.devices), int(physics.holders(split))), []).append(i)

    def best(self, total: int, stride: int) -> Division | None:
        """The two pools of `total` devices with the highest rate, `stride` devices apart; None if none fits within the limits."""
        ways = np.arange(1.0, total + 1.0)
        send = self.decodes.question.rates.network
        assert send is not None  # several devices have links
        least, likely = (np.broadcast_to(v, ways.shape) for v in send(Wire("send", self.kv_bytes / ways, 2, stride))[:2])
        busy = least[np.minimum(self.sizes, total) - 1][:, None]  # of a replica's links, for each of its requests
        first = self._groups(0, physics.prefill_rate(self.prompts, self.prefills.serial_s, busy), self.first_limit, total)
        steps = np.maximum(self.decodes.serial_s, self.decodes.interval_s)
        then = self._groups(1, physics.decode_rate(self.batch, steps, busy, self.output), self.token_limit, total)
        if not first:
            return None
        size, holders, took, rate = (np.concatenate(v) for v in zip(*(_columns(g) for g in first), strict=True))
        of = np.repeat(np.arange(len(first)), [g.times.size for g in first])
        found: _Pair | None = None
        for group in then:
            wait = likely[np.minimum(holders, group.holders).astype(int) - 1]
            able = np.flatnonzero(size + group.devices <= total)
            if not able.size:
                continue
            step, each = group.times[-1], group.rates[-1]  # the highest rate, and the longest step, within the limit
            shared = physics.matched(total, size[able], rate[able], np.array([group.devices]), np.array([each]))
            used, second = shared.prefill * size[able] + shared.decode * group.devices, took[able] + wait[able] + step
            i = _foremost(shared.rate, used, second)
            rank = float(shared.rate[i]), -float(used[i]), -float(second[i])
            pair = _Pair(rank, (float(shared.prefill[i]), float(shared.decode[i])), float(wait[able[i]]), first[of[able[i]]], group)
            if found is None or pair.beats(found):
                found = pair
        return None if found is None else self._division(total, found, least)

    def _division(self, total: int, pair: _Pair, least: Array) -> Division:
        """These pools, each with its shortest pass at nearly the same rate, which is no less than the rate that is needed."""
        chosen, cells = [], []
        enough = max(pair.rank[0] / NEAR, min(self.needed, pair.rank[0]))
        for group, replicas, batch in zip((pair.first, pair.then), pair.replicas, (self.prompts, self.batch), strict=True):
            k = int(np.argmax(replicas * group.rates * SAME >= enough))
            i, j = group.cells[k]
            pool = Pool(self.splits[i], int(replicas), float(batch[i, j]), float(group.times[k]), replicas * float(group.rates[k]))
            chosen.append(pool)
            cells.append((i, j))
        prefill, decode = chosen
        ways = min(pair.first.holders, pair.then.holders)
        rate = min(prefill.requests_per_s, decode.requests_per_s)
        first_floor_s, (i, j) = self.prefills.latency_s[cells[0]], cells[1]
        second = physics.second_token(
            first_floor_s, np.array(prefill.step_s), least[ways - 1], np.array(pair.wait_s), self.decodes.latency_s[i, j],
            np.array(decode.step_s),
        )  # fmt: skip
        at_once = physics.users(np.array(rate), second.serial_s, np.array(decode.step_s), self.output)
        return Division(
            devices=total, prefill=prefill, decode=decode, requests_per_s=rate, ttft_floor_s=float(first_floor_s), ttft_s=prefill.step_s,
            second_token_floor_s=float(second.floor_s), second_token_s=float(second.serial_s), tpot_s=decode.step_s,
            transfer_s=pair.wait_s, users=float(at_once), undivided=self.undivided(total),
        )  # fmt: skip

    def _groups(self, phase: int, rates: Array, limit: float, total: int) -> list[_Group]:
        """The candidates of one phase that fit, leave devices for the other phase and keep the limit, by devices and holders."""
        times = (self.prefills, self.decodes)[phase].serial_s
        found = []
        for (devices, holders), rows in self.alike.items():
            if devices >= total:
                continue
            allowed = np.argwhere(self.can[phase][rows] & (times[rows] <= limit))
            if not allowed.size:
                continue
            cells = np.column_stack((np.array(rows)[allowed[:, 0]], allowed[:, 1]))
            took, rate = times[tuple(cells.T)], rates[tuple(cells.T)]
            order = np.lexsort((-rate, took))
            took, rate, cells = took[order], rate[order], cells[order]
            more = rate > np.concatenate(([0.0], np.maximum.accumulate(rate)[:-1]))
            found.append(_Group(devices, holders, took[more], rate[more], cells[more]))
        return found

    def undivided(self, total: int) -> Undivided | None:
        """The replicas that do both phases with the highest rate; None if none fits within the limits."""
        prompts, batch = self.prompts[:, :, None], self.batch[:, None, :]
        prefill_s, step_s = self.prefills.serial_s[:, :, None], self.decodes.serial_s[:, None, :]
        able = self.can[0][:, :, None] & self.can[1][:, None, :] & (self.sizes <= total)[:, None, None] & (prompts <= batch)
        tpot = physics.undivided_tpot(batch, step_s, prompts, prefill_s, self.output)
        able = able & (prefill_s <= self.first_limit) & (tpot <= self.token_limit)
        if not able.any():
            return None
        replicas = np.floor(total / self.sizes)[:, None, None]
        one = physics.undivided_rate(batch, step_s, prompts, prefill_s, self.output)
        used = replicas * self.sizes[:, None, None] + 0.0 * one
        i, p, b = np.unravel_index(_foremost(np.where(able, replicas * one, 0.0), used, prefill_s + 0.0 * one, NEAR), one.shape)
        pool = Pool(
            self.splits[i], int(replicas[i, 0, 0]), float(batch[i, 0, b]), float(step_s[i, 0, b]), float(replicas[i, 0, 0] * one[i, p, b])
        )
        return Undivided(pool, float(prompts[i, p, 0]), float(prefill_s[i, p, 0]), float(tpot[i, p, b]))

    def refusal(self, total: int) -> DoesNotFit:
        """The error if no two pools of up to `total` devices fit within the limits."""
        gpu, model = self.decodes.question.gpu.id, self.decodes.question.model.id
        fits = [can.any(axis=1) & (self.sizes < total) for can in self.can]
        if not all(f.any() and self.sizes[f].min() * 2 <= total for f in fits):
            sizes = self.sizes[self.can[1].any(axis=1)]
            least = f"one replica takes {sizes.min()}" if sizes.size else "no replica fits"
            return DoesNotFit(
                f"no two pools of {model} fit {total}×{gpu}:", least, "use more devices, a narrower dtype or a shorter request"
            )
        fastest = [float(np.min(f.serial_s[can])) for f, can in zip((self.prefills, self.decodes), self.can, strict=True)]
        asked = [f"{name}={v:g}" for name, v in (("ttft_s", self.first_limit), ("tpot_s", self.token_limit)) if np.isfinite(v)]
        return DoesNotFit(
            f"no two pools of up to {total}×{gpu} keep {' and '.join(asked)}:",
            f"the fastest prefill takes {fastest[0]:.4g} s, the fastest step {fastest[1]:.4g} s",
            "use more devices, or longer limits",
        )


def _columns(group: _Group) -> tuple[Array, Array, Array, Array]:
    return np.full(group.times.shape, float(group.devices)), np.full(group.times.shape, float(group.holders)), group.times, group.rates


def _foremost(rate: Array, used: Array, wait: Array, alike: float = SAME) -> int:
    """The cell with the highest rate; among equal rates (factor `alike`) the fewest devices, then the earliest token."""
    top = np.flatnonzero(rate.ravel() * alike >= rate.max())
    return int(top[np.lexsort((wait.ravel()[top], used.ravel()[top]))[0]])
