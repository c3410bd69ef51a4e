"""The engine, and the fraction of a device it takes: its default, or the fraction asked for."""

from __future__ import annotations

from sol.answers.question.inputs import numbers
from sol.errors import InvalidInput, MissingSpec
from sol.sources.database.engines import load_engine
from sol.specs.engines import Engine
from sol.specs.hardware import GPU
from sol.specs.quantities import Number
from sol.units import show_count

SHARE = {  # what the pool for the cache is, by budget
    "total": "{f} of the device's memory less weights and activations",
    "static": "{f} of the device's memory less weights, activations outside it",
    "free": "{f} of what weights and activations leave free",
    "asked": "what the requested context takes, allocated at start",
}


def resolve_engine(engine: str | Engine | None, memory_fraction: Number | None, gpu: GPU | None) -> tuple[Engine | None, float | None]:
    """The engine and its fraction [0..1]; None for an engine without a fraction.

    Raises `UnknownName`, `InvalidInput`, or `MissingSpec` for a default or a capacity that is not known.
    """
    if engine is None:
        if memory_fraction is not None:
            raise InvalidInput(
                f"memory_fraction={memory_fraction!r}", "is the fraction that an engine takes", "give engine='vllm' or another as well"
            )
        return None, None
    if not isinstance(engine, str | Engine):
        raise InvalidInput(f"engine {engine!r}", "is neither a name nor an Engine", "give engine='vllm', for instance")
    found = engine if isinstance(engine, Engine) else load_engine(engine)
    if gpu is None:
        raise InvalidInput(f"engine='{found.id}' reserves a share of a device", action="give the gpu as well")
    if gpu.memory_bytes is None:
        raise MissingSpec("no source", f"gives {gpu.id} a capacity, so what {found.id} reserves of it is unknown", "leave engine out")
    if found.budget == "asked":
        if memory_fraction is not None:
            raise InvalidInput(
                f"{found.id} has no memory fraction:", "it allocates the cache of the requested context", "leave memory_fraction out"
            )
        return found, None
    if memory_fraction is None:
        if found.memory_fraction is None:
            raise MissingSpec(
                f"{found.id} has no fixed memory fraction:",
                "it derives one at launch and writes it to its log",
                "give memory_fraction=0.88, for instance",
            )
        return found, found.memory_fraction
    asked = numbers("memory_fraction", memory_fraction, above=0.0)
    if asked.size > 1 or asked.flat[0] > 1.0:
        raise InvalidInput(f"memory_fraction={memory_fraction!r}", "has no meaning", "it must be one number above 0, at most 1")
    return found, asked.item()


def reserving(engine: Engine | None, fraction: float | None) -> tuple[str, ...]:
    """The assumptions of a reservation, one line each."""
    if engine is None:
        return ()
    share = SHARE[engine.budget].format(f="" if fraction is None else f"{fraction:g}")
    default = engine.memory_fraction is not None and fraction == engine.memory_fraction
    return (
        f"{engine.id} {engine.version}{' by default' if default else ''}: its kv pool is {share}, in blocks of "
        f"{show_count(engine.block_tokens)} tokens; not counted: its runtime's memory, CUDA graphs, blocks beyond a window",
    )
