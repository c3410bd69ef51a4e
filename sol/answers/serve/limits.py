"""The largest request rate that keeps limits on the first token and on every later one."""

from __future__ import annotations

import numpy as np

from sol.answers.question.inputs import number
from sol.answers.serve.server import Server
from sol.answers.serve.solve import table_of
from sol.errors import InvalidInput
from sol.physics.serving.steady import MOST_UTILIZATION
from sol.units import show_seconds

WORDS = {"ttft_s": "time to the first token", "tpot_s": "time per output token"}


def resolve_limits(ttft_s: object, tpot_s: object) -> dict[str, float | None]:
    """The limits by name [s], None without one. Raises `InvalidInput`."""
    given = {"ttft_s": ttft_s, "tpot_s": tpot_s}
    return {name: None if limit is None else number(name, limit, above=0.0) for name, limit in given.items()}


def resolve_range_ratio(ratio: object, requests: float | None) -> float | None:
    """The part of the longest output that the shortest is, of a run. Raises `InvalidInput`."""
    if ratio is None:
        return None
    if requests is None:
        raise InvalidInput(f"range_ratio={ratio!r}", "is of a run that starts with all users at once", "give requests= with it")
    found = number("range_ratio", ratio, at_least=0.0)
    if found > 1.0:
        raise InvalidInput(f"range_ratio={found:g}", "is above 1", "the shortest length is a part of the longest: 0 to 1")
    return found


def kept(server: Server, limits: dict[str, float | None]) -> tuple[float, str]:
    """The largest request rate that keeps the limits [1/s], and which of them binds. Raises `InvalidInput` where none does.

    Never more than 90 % of what the server carries, beyond which the first token depends on how requests arrive.
    """
    table, _, _ = table_of(server, closed=False)
    most, why = float(np.interp(MOST_UTILIZATION * table.most_rate, table.load, table.decoding)), "utilization"
    for name, limit in limits.items():
        if limit is None:
            continue
        times = np.maximum.accumulate(getattr(table.times, name))
        if limit < times[0]:
            raise InvalidInput(
                f"no request rate keeps {name}={limit:g}:", f"the {WORDS[name]} of a request alone is {show_seconds(float(times[0]), 4)}",
                f"allow {float(times[0]):.4g} or more, or use more or faster devices",
            )  # fmt: skip
        there = float(np.interp(limit, times, table.decoding))
        if there < most:
            most, why = there, name
    if most <= 0.0:
        raise InvalidInput(
            f"no request rate keeps {why}={limits[why]:g}:", "only a request that is alone does", f"allow a longer {WORDS[why]}"
        )
    return float(np.interp(most, table.decoding, table.load)), why
