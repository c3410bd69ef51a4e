"""Which scheme each module of a checkpoint is stored in, by the patterns its quantisation config names modules with.

The tools differ in what a pattern means: ModelOpt's are wildcards, compressed-tensors' exact names or
regular expressions, the others' parts of names. Every pattern has to be accounted for: one that
matches no module here, and names nothing that is left in 16 bits anyway, makes the whole config not
understood, because a module may be called otherwise than this library thinks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import translate

from sol.sources.quantization.linear_modules import MAX_MODULES, Checkpoint, Module
from sol.sources.quantization.schemes import Scheme, Statement
from sol.sources.tensors.tensor_names import tensor_class

OUTSIDE = {"tower", "mtp", "norm", "bias", "embedding", "buffer", "scale"}
"""Classes no method quantises, or that are no part of the language model."""
ROOT = re.compile(r"^(?:(?:model|language_model|backbone|transformer)\.)+")
PLAIN = re.compile(r"[\w.\-]+")
SAFE = re.compile(r"(?:\\[.d]\+?|\[[\w\-]+\]\+?|[\w\-^$]|\.[*+]?|\((?:\?:)?[\w\-|]+\))*")
"""Expressions that cannot take long: quantifiers on single characters only, groups of words only."""
MAX_PATTERN, MAX_OPEN = 128, 2
MAX_PATTERNS = {"regex": 64, "glob": 1024, "part": 1024}
Matcher = Callable[[str], bool]
"""Whether a module (its name from "layers" on) is meant."""


class Unclear(Exception):
    """Two tools would read the config differently, or this one does not know how to."""


def schemes(statement: Statement, checkpoint: Checkpoint) -> list[tuple[Module, Scheme | None]] | None:
    """The scheme of every module, None for those left in 16 bits; None instead of a list where the config is not understood."""
    try:
        return _schemes(statement, checkpoint)
    except Unclear:
        return None


def _schemes(statement: Statement, checkpoint: Checkpoint) -> list[tuple[Module, Scheme | None]]:
    numbered = any(re.search(r"experts\.\d", name) for name in (*statement.left, *statement.named))
    if numbered and sum(m.copies for m in checkpoint.modules) > MAX_MODULES:
        raise Unclear
    spelled = [(module, _spelled(module, numbered)) for module in checkpoint.modules]
    known = {name for _, names in spelled for name in names}
    left = _left(statement, known, checkpoint.layers)
    scheme_of = _named(statement.named, known) if statement.named else _grouped(statement, known)
    found: list[tuple[Module, Scheme | None]] = []
    for module, names in spelled:
        given = {None if left(name) or _never(statement, module, name, checkpoint) else scheme_of(name) for name in names}
        unusual = module.tensor == "lm_head" if statement.style == "part" else False  # some engines never take the head
        unusual |= statement.only_experts and not module.tensor.startswith("experts")
        if len(given) > 1 or (unusual and given != {None}):
            raise Unclear
        found.append((module, given.pop()))
    return found


def _never(statement: Statement, module: Module, name: str, checkpoint: Checkpoint) -> bool:
    """Whether a method leaves a module in 16 bits by itself."""
    if module.tensor == "router":
        return not checkpoint.router_is_linear
    # Of the indexer's weights no scale is stored: DeepSeek-V3.2's published count.
    return (module.tensor == "lm_head" and not statement.head) or (statement.method == "fp8" and name.endswith("indexer.weights_proj"))


def _spelled(module: Module, numbered: bool) -> tuple[str, ...]:
    """The names a config may have for a module; all experts' only where a pattern tells them apart."""
    return tuple(name.format(i) for name in module.names for i in (range(module.copies) if numbered and "{}" in name else (0,)))


def _tail(name: str) -> str:
    """A name from "layers" on."""
    # GLM-5's FP8 configs call the projection of the indexer's weights indexers_proj; no tensor is called so.
    return ROOT.sub("", name.removesuffix(".weight")).replace("self_attn.indexers_proj", "self_attn.indexer.weights_proj")


def _parent(name: str) -> str:
    """The module of all experts of a layer, which some classes store as one; other names as they are."""
    before, found, _ = name.partition(".experts")
    return before + found


def _named(named: Mapping[str, Scheme], known: set[str]) -> Callable[[str], Scheme | None]:
    """Scheme by module name, every name accounted for."""
    given = {_tail(name): scheme for name, scheme in named.items()}
    if len(given) != len(named) or not set(given) <= known | set(map(_parent, known)):
        raise Unclear
    return lambda name: given.get(name, given.get(_parent(name)))


def _grouped(statement: Statement, known: set[str]) -> Callable[[str], Scheme | None]:
    """Scheme by targets: a name before an expression before "Linear"; two of one rank that differ are not understood."""
    exact: dict[str, set[Scheme]] = {}
    open_: list[tuple[Matcher, Scheme]] = []
    every: set[Scheme] = set()
    for targets, scheme in statement.groups:
        for target in targets:
            if target == "Linear":
                every.add(scheme)
            elif target.startswith("re:"):
                open_.append((_expression(target), scheme))
            else:
                exact.setdefault(_tail(target), set()).add(scheme)
    if not set(exact) <= known | set(map(_parent, known)) or len(open_) > MAX_PATTERNS[statement.style]:
        raise Unclear

    def scheme_of(name: str) -> Scheme | None:
        ranks = (exact.get(name, exact.get(_parent(name), set())), {scheme for match, scheme in open_ if match(name)}, every)
        given = next((rank for rank in ranks if rank), set())
        if len(given) > 1:
            raise Unclear
        return next(iter(given), None)

    return scheme_of


def _left(statement: Statement, known: set[str], layers: int) -> Matcher:
    """Whether a module is left in 16 bits, every pattern accounted for."""
    style, parts = statement.style, statement.style == "part"
    within = {name[: dot.start()] for name in known for dot in re.finditer(r"\.", name)} if parts else set(map(_parent, known))
    plain = {p: _tail(p) for p in statement.left if PLAIN.fullmatch(p) and (not parts or _tail(p).startswith("layers."))}
    exact = {tail for tail in plain.values() if tail in known or tail in within}
    open_ = statement.left - plain.keys()
    if len(open_) > MAX_PATTERNS[style]:
        raise Unclear
    matchers = {p: {"glob": _wildcard, "regex": _expression, "part": _part}[style](p) for p in open_}
    used = {p: match for p, match in matchers.items() if any(match(name) for name in known)}
    unused = [*(p for p, tail in plain.items() if tail not in exact), *(open_ - used.keys())]
    if not all(_outside(p, layers) for p in unused):
        raise Unclear
    return lambda name: _among(name, exact, parts) or any(match(name) for match in used.values())


def _among(name: str, exact: set[str], parts: bool) -> bool:
    """Whether a name is one of `exact`, or of the modules in one of them."""
    if name in exact or _parent(name) in exact:
        return True
    for end in range(len("layers.0"), len(name)) if parts and exact else ():
        if name[:end] in exact:
            if name[end] != ".":
                raise Unclear  # the letters go on: part of the name for one tool, another name for the next
            return True
    return False


def _outside(pattern: str, layers: int) -> bool:
    """Whether a pattern without a module names what is left in 16 bits anyway: a norm, a tower, a draft layer."""
    name = pattern.removeprefix("re:").replace("\\.", ".").strip("^$").replace(".*", "*").strip("*.")
    number = re.search(r"(?:^|\.)layers\.(\d{1,9})(?:\.|$)", name)
    kind = tensor_class(name) or tensor_class(f"{name}.weight")
    return kind in OUTSIDE or (number is not None and int(number[1]) >= layers)


def _wildcard(pattern: str) -> Matcher:
    """A shell pattern with "*" alone."""
    if not PLAIN.fullmatch(pattern.replace("*", "")) or pattern.count("*") > MAX_OPEN or len(pattern) > MAX_PATTERN:
        raise Unclear
    compiled = re.compile(translate(_tail(pattern)))
    return lambda name: compiled.match(name) is not None


def _expression(pattern: str) -> Matcher:
    """An expression after "re:", matched from the start of a name."""
    text = pattern.removeprefix("re:")
    text = text if text.endswith("\\.$") else re.sub(r"\.\*\$?$", "", text)
    calm = len(text) <= MAX_PATTERN and len(re.findall(r"\.[*+]", text)) <= MAX_OPEN and text.count("+") <= 2 * MAX_OPEN
    if not pattern.startswith("re:") or not calm or not SAFE.fullmatch(text):
        raise Unclear
    rooted = re.sub(r"^\^?(?:(?:model|language_model|backbone)\\?\.)+", "", text)
    try:
        compiled = re.compile(rooted)
    except re.error:
        raise Unclear from None

    def match(name: str) -> bool:
        if text.startswith(".*"):
            # Before layers there is always something; before the head there may be nothing.
            answers = {compiled.match(root + name) is not None for root in (("", "model.") if name == "lm_head" else ("model.",))}
            if len(answers) > 1:
                raise Unclear
            return answers.pop()
        meant = compiled.match(name) is not None
        if meant and rooted == text and name != "lm_head":
            raise Unclear  # names do not start so
        return meant

    return match


def _part(pattern: str) -> Matcher:
    """Whole components of a name, in a row; a name that only holds the letters is read differently by different tools."""
    tail = _tail(pattern)
    if "*" in tail:
        within, under = _wildcard(tail), _wildcard(f"{tail}.*")
        return lambda name: within(name) or under(name)
    if not PLAIN.fullmatch(tail):
        raise Unclear

    def match(name: str) -> bool:
        whole = f".{tail}." in f".{name}."
        if tail in name and not whole:
            raise Unclear
        return whole

    return match
