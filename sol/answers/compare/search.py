"""Why is a measurement so far from the floor? The suspects whose numbers fit, most likely first."""

from __future__ import annotations

from sol.answers.compare import too_fast, too_slow, wrong_place
from sol.answers.compare.suspects import SHOWN, STRONG, WEAK, Case, Suspect


def suspects(case: Case) -> tuple[Suspect, ...]:
    """The suspects that fit, most likely first; none at the limit."""
    finders = too_fast.FINDERS if case.fraction > 1.0 else (*too_slow.FINDERS, *wrong_place.FINDERS)
    if case.fraction > 1.0 and too_fast.permitted(case):
        finders = (too_fast.permitted,)  # nothing need be wrong
    found = sorted((s for find in finders for s in find(case)), key=lambda s: -s.weight)
    strong = bool(found) and found[0].weight >= STRONG
    return tuple(s for s in found[:SHOWN] if s.weight >= WEAK or not strong)
