"""Prompts that an engine passes through a pipeline in chunks: of which engine, and how that is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np

from sol.answers.question.ask import Question
from sol.physics.time.chunks import in_chunks
from sol.physics.time.estimate import TimeParts
from sol.sources.database.engines import is_engine, load_engine
from sol.specs.calibration import Calibration
from sol.specs.engines import Engine
from sol.specs.split import Split
from sol.specs.step import Step


def chunked(
    q: Question, calibration: Calibration, step: Step, split: Split, whole: Callable[[Step, Split], TimeParts]
) -> TimeParts:  # fmt: skip
    """The parts of a step: of a prompt on a pipeline in chunks where the engine does so, else of the whole pass."""
    at_once, engine = whole(step, split), _overlaps(q, calibration)
    if engine is None or engine.step_tokens is None or engine.chunks_in_flight is None:
        return at_once
    found = in_chunks(step, split, engine.step_tokens, engine.chunks_in_flight, whole)
    if not isinstance(split.pp, np.ndarray):
        return found
    staged = split.pp > 1
    mixed = {f.name: np.where(staged, getattr(found, f.name), getattr(at_once, f.name)) for f in fields(TimeParts)}
    return TimeParts(**mixed)


def chunk_lines(q: Question, calibration: Calibration) -> tuple[str, ...]:
    """What an estimate assumes of a prompt on a pipeline."""
    engine = _overlaps(q, calibration)
    if engine is None:
        return ()
    said = f"{engine.name} passes chunks of {engine.step_tokens:g} tokens, {engine.chunks_in_flight:g} of them at once"
    return (f"{said}, which needs every layer and the head on the devices",)


def _overlaps(q: Question, calibration: Calibration) -> Engine | None:
    """The engine if the stages of its pipeline work on chunks of this prompt side by side: of one sequence, with nothing beside it."""
    staged = bool(np.any(np.asarray(q.split.pp) > 1))
    if not staged or q.phase != "prefill" or q.step.beside or np.any(q.step.batch > 1) or not is_engine(calibration.engine):
        return None
    engine = load_engine(calibration.engine)
    return engine if engine.chunks_in_flight is not None and engine.step_tokens is not None else None
