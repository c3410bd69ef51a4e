"""Why is a measurement so far from light? Suspects that could be true of it, the likeliest first."""

from __future__ import annotations

from sol.answers.compare import allowed, many_devices, misread, narrower, too_fast, too_slow, wrong_place
from sol.answers.compare.suspects import MOST_REACHED, SHOWN, STRONG, WEAK, Case, Finder, Suspect


def suspects(case: Case) -> tuple[Suspect, ...]:
    """The suspects that explain the measured time, likeliest first; none where it is an ordinary one."""
    weighed = (case.weighed(s) for find in _finders(case) for s in find(case))
    found = sorted((s for s in weighed if s is not None), key=lambda s: -s.weight)
    if any(s.share is not None and s.share <= MOST_REACHED for s in found):  # what nobody came as near to light is noise beside
        found = [s for s in found if s.share is None or s.share <= MOST_REACHED]
    strong = bool(found) and found[0].weight >= STRONG
    return tuple(s for s in found[:SHOWN] if s.weight >= WEAK or not strong)


def _finders(case: Case) -> tuple[Finder, ...]:
    if case.fraction <= MOST_REACHED:
        return (*misread.SLOW, *too_slow.FINDERS, *wrong_place.FINDERS, *many_devices.FINDERS)
    if case.fraction <= 1.0:
        return (narrower.other_tensors, wrong_place.does_not_fit)  # possible, and nearer to light than anybody came
    if case.measured_s >= case.optimistic_s:
        return allowed.FINDERS  # nothing need be wrong
    fast = (*misread.FAST, narrower.other_tensors, *too_fast.FINDERS)
    unsure = case.unsure_s is not None and case.measured_s >= case.unsure_s
    return (allowed.unknown_cache, *fast) if unsure else fast
