"""Write what follows from the data: the reference pages, the JSON schemas, the tripwires. `python -m tools.generate`.

A test holds every file written here equal to what this would write. The tripwires are counts and
column sums per file: a number that changes anywhere shows up in them.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from sol import formats, gpus, links, load_gpu, models
from sol.sources.checkpoints.gguf_keys import ARCHS, STATES
from sol.sources.checkpoints.gguf_keys import KEYS as GGUF_KEYS
from sol.sources.config.keys import KEYS
from sol.sources.config.kinds import KINDS, SAME_AS, Kind, kind_of
from sol.sources.database.database import gpu_ids
from sol.sources.database.tomlfiles import data_root
from sol.tabular import Table
from tools.schemas import schemas

ROOT = Path(__file__).parent.parent
GRADES = {
    "A": "the vendor's own text, or the device's own report",
    "B": "a vendor's document quoted by others",
    "C": "secondary",
    "D": "arithmetic, with its formula",
}


def main() -> None:
    """Write every generated file and print the coverage."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print("\n".join(coverage_lines()))


def generated() -> dict[Path, str]:
    """Every generated file and what it holds."""
    files = {
        ROOT / "docs" / "devices.md": devices_page(),
        ROOT / "docs" / "models.md": page(
            "Models", "Parameters are computed from the architecture; no total is stored. A source: `sol show MODEL`.", models()
        ),
        ROOT / "docs" / "formats.md": page(
            "Number formats", "Stored bits include scales and zeros. A source: `sol show FORMAT`.", formats()
        ),
        ROOT / "docs" / "kinds.md": kinds_page(),
        ROOT / "docs" / "links.md": page("Links", "One direction, one device. A source: `sol show LINK`.", links()),
        ROOT / "tests" / "fixtures" / "tripwires.json": json.dumps(tripwires(), indent=1) + "\n",
    }
    for name, schema in schemas().items():
        files[data_root() / "schema" / f"{name}.schema.json"] = json.dumps(schema, indent=1) + "\n"
    return files


def page(title: str, intro: str, *tables: Table) -> str:
    """A page of tables in Markdown."""
    parts = [f"# {title}", "", intro, ""]
    for table in tables:
        parts += [markdown(table), *(f"*{line}*" for line in table.footer), ""]
    return "\n".join(parts)


def markdown(table: Table) -> str:
    """A table in Markdown, formatted as it is for people."""
    head = [c.title for c in table.columns]
    rule = [":---" if c.left else "---:" for c in table.columns]
    rows = [["–" if v is None else c.show(v) for c, v in zip(table.columns, row, strict=True)] for row in table.rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


def kinds_page() -> str:
    """Which kinds of config.json are read, with which mechanisms, and which key means what."""
    parts = [
        "# Kinds of config.json", "",
        f"{len(KINDS)} kinds (`model_type`) are read, each a set of traits of mechanisms; anything else is refused by name. A kind's own",
        "defaults are those of its published class. A config with keys of a mechanism its kind does not have is refused as well.", "",
        "| model_type | attention | layers | feed-forward |", "| :--- | :--- | :--- | :--- |",
    ]  # fmt: skip
    parts += [f"| {name} | {' | '.join(_traits(kind_of(name)))} |" for name in sorted(KINDS)]
    parts += ["", "Read as another kind: " + ", ".join(f"`{a}` as `{b}`" for a, b in sorted(SAME_AS.items())) + ".", ""]
    parts += ["## Keys", "", "The first key found counts.", "", "| meaning | keys |", "| :--- | :--- |"]
    parts += [f"| {meaning} | {', '.join(f'`{k}`' for k in keys)} |" for meaning, keys in KEYS.items()]
    return "\n".join([*parts, *_gguf(), ""])


def _gguf() -> list[str]:
    """Which GGUF architecture is which kind, and which of its keys is which."""
    lines = ["", "## GGUF", "", "The architectures of GGUF files that are read, and the kind each is.", ""]
    lines += ["| general.architecture | model_type |", "| :--- | :--- |"]
    for name, arch in sorted(ARCHS.items()):
        lines.append(f"| {name} | {' or '.join(dict.fromkeys((*(kind for _, kind in arch.instead), arch.kind)))} |")
    lines += ["", "Their keys, after the architecture's name; a/b is a quotient.", ""]
    lines += ["| key of GGUF | key of config.json |", "| :--- | :--- |"]
    rows = [(theirs, ours) for table in (GGUF_KEYS, *STATES.values()) for ours, theirs in table.items()]
    return lines + [f"| `{key}` | {', '.join(f'`{o}`' for t, o in rows if t == key)} |" for key in dict.fromkeys(t for t, _ in rows)]


def _traits(kind: Kind) -> tuple[str, str, str]:
    attention = ["latent" if kind.latent else "none" if kind.layout == "mixer only" else "softmax"]
    attention += [f"q and k normed per {'head' if kind.qk_norm == 'head' else 'width'}"] * bool(kind.qk_norm) + ["sinks"] * kind.sinks
    attention += ["output gate"] * kind.output_gate + ["indexer"] * kind.indexer
    attention += {"typed": [], "all": ["window"], "even": ["window in even layers"], "pattern": ["window by pattern"],
                  "upper": ["window in upper layers if said"], "chunks": ["chunks"],
                  "cycles": ["window by cycle"]}[kind.window]  # fmt: skip
    layers = [f"{kind.norms} norm{'s' if kind.norms != 1 else ''}" + {0: " without weights", 1: "", 2: " with biases"}[kind.norm_vectors]]
    layers += [f"{kind.state.replace('_', ' ')} state" + (" beside attention" if kind.parallel_state else "")] if kind.state else []
    layers += ["sizes by layer"] * kind.shapes + ["prediction layers stored"] * kind.mtp
    if attention == ["none"]:
        return "none", ", ".join(layers), "none"
    feed = ["gated" if kind.gated else "plain"] + (["experts" if kind.moe == "all" else "experts if said"] if kind.moe else [])
    feed += ["shared experts"] * bool(kind.shared) + ["router correction"] * bool(kind.correction)
    return ", ".join(attention), ", ".join(layers), ", ".join(feed)


def devices_page() -> str:
    """Every device, vendor by vendor, and how good the evidence is."""
    vendors = sorted({load_gpu(i).vendor for i in gpu_ids()})
    parts = ["# Devices", "", "Dense rates with fp32 accumulation, one device each. A source for every number: `sol show DEVICE`.", ""]
    for vendor in vendors:
        parts += [f"## {vendor}", "", markdown(gpus(f"vendor={vendor}")), ""]
    parts += ["## Evidence", "", *(f"    {line}" for line in coverage_lines()), ""]
    return "\n".join(parts)


def coverage() -> dict[str, Counter[str]]:
    """Numbers by evidence grade, for each kind of field."""
    counts: dict[str, Counter[str]] = {}
    for gpu_id in gpu_ids():
        for field, cite in load_gpu(gpu_id).cites.items():
            kind = "peaks" if field.startswith("flops_per_s") else field.partition(".")[0]
            counts.setdefault(kind, Counter())[cite.evidence or "?"] += 1
    return counts


def coverage_lines() -> list[str]:
    """The coverage as a small text table."""
    counts = coverage()
    total: Counter[str] = sum(counts.values(), Counter())
    lines = [f"{'evidence of ' + str(len(gpu_ids())) + ' devices':26}" + "".join(f"{g:>6}" for g in GRADES) + f"{'all':>7}"]
    for kind, grades in [*sorted(counts.items()), ("all numbers", total)]:
        lines.append(f"{kind:26}" + "".join(f"{grades[g]:6}" for g in GRADES) + f"{sum(grades.values()):7}")
    share = " · ".join(f"{g} {100 * total[g] / sum(total.values()):.0f} % ({GRADES[g]})" for g in GRADES)
    return [*lines, share]


def tripwires() -> dict[str, Any]:
    """Counts and column sums of every data file."""
    wires: dict[str, Any] = {}
    for path in sorted(data_root().glob("*/*.toml")):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        sums: dict[str, float] = {}
        counts: Counter[str] = Counter()
        _walk(data, "", sums, counts)
        wires[f"{path.parent.name}/{path.name}"] = {
            "records": len(data) - ("sources" in data),
            "numbers": sum(counts.values()),
            "sums": dict(sorted(sums.items())),
        }
    for path in sorted(data_root().glob("*/*.csv")):
        lines = path.read_text(encoding="utf-8").splitlines()
        wires[f"{path.parent.name}/{path.name}"] = {"records": len(lines) - 1, "characters": sum(map(len, lines))}
    return wires


def _walk(value: Any, column: str, sums: dict[str, float], counts: Counter[str]) -> None:
    """Add up every number below `value` under the name of its innermost key."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _walk(inner, column if key == "value" else key, sums, counts)
    elif isinstance(value, list):
        for inner in value:
            _walk(inner, column, sums, counts)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        sums[column] = sums.get(column, 0.0) + value
        counts[column] += 1


if __name__ == "__main__":
    main()
