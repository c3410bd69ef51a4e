"""Reading TOML records: whole files from users, single records from the shipped database.

The shipped files are large and a command needs one device, so a record is cut out as text (from its
header to the next record's) and only that text, with the sources it names, is parsed. A test holds
every cut record equal to the same record of the whole file.
"""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from sol.errors import BadFile

_HEADER = re.compile(r'^\[+\s*(?:"([^"\n]+)"|([\w-]+))(?:\s*\.\s*(?:"([^"\n]+)"|([\w-]+)))?', re.M)
_SOURCE = re.compile(r'\bsource\s*=\s*"([^"]+)"')
_NAMES = re.compile(r'^\[(?:"([^"\n]+)"|([\w-]+))\]|^aliases\s*=\s*\[([^\]]*)\]', re.M)  # a record's own header, or its aliases
_STRING = re.compile(r'"([^"]*)"')
MAX_FILE_BYTES = 16 * 2**20


@lru_cache(maxsize=1)
def data_root() -> Path:
    """The folder `hardware_db`: inside the installed package, else beside it in an editable install."""
    package = Path(__file__).resolve().parents[2]
    for candidate in (package / "hardware_db", package.parent / "hardware_db"):
        if candidate.is_dir():
            return candidate
    raise BadFile("the installation", f"has no hardware_db beside {package}", "reinstall llm-sol")


class TomlRecords:
    """The records of one TOML file by id; the text is cut up, and parsed, only when a record is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = path.read_text(encoding="utf-8")
        self._pieces: tuple[dict[str, list[str]], dict[str, str]] | None = None

    def ids(self) -> list[tuple[str, list[str]]]:
        """Every record's id and aliases, in the file's order."""
        found: list[tuple[str, list[str]]] = []
        for match in _NAMES.finditer(self._text):
            if match.group(3) is None:
                found.append((match.group(1) or match.group(2), []))
            elif found and not found[-1][1]:
                found[-1][1].extend(_STRING.findall(match.group(3)))
        return found

    def holds(self, record_id: str) -> bool:
        """Whether any table of the file is of this record."""
        return record_id in self._cut()[0]

    def load(self, record_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The record's table and the tables of the sources it names."""
        records, sources = self._cut()
        pieces = records[record_id]
        named = sorted(set(_SOURCE.findall("".join(pieces))))
        text = "".join([*pieces, *(sources[n] for n in named if n in sources)])
        data = tomllib.loads(text)
        return data[record_id], data.get("sources", {})

    def says(self, record_id: str, key: str, text: str) -> bool:
        """Whether the record's own table holds the line `key = "text"`; nothing is parsed for it."""
        return re.search(rf'^{key}\s*=\s*"{re.escape(text)}"', self._cut()[0][record_id][0], re.M) is not None

    def _cut(self) -> tuple[dict[str, list[str]], dict[str, str]]:
        if self._pieces is None:
            records: dict[str, list[str]] = {}
            sources: dict[str, str] = {}
            matches = list(_HEADER.finditer(self._text))
            for match, following in zip(matches, [*matches[1:], None], strict=True):
                piece = self._text[match.start() : following.start() if following else len(self._text)]
                first, second = match.group(1) or match.group(2), match.group(3) or match.group(4)
                if first == "sources":
                    sources[second] = piece
                else:
                    records.setdefault(first, []).append(piece)
            self._pieces = records, sources
        return self._pieces


def read_toml(path: Path) -> dict[str, Any]:
    """A whole TOML file as a dictionary; `BadFile` names the file and what is wrong with it."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadFile(f"{path}:", f"larger than {MAX_FILE_BYTES // 2**20} MiB", "give a TOML file of records")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFile(f"{path}:", f"cannot be read ({error.strerror or error})", "give the path of a TOML file") from None
    except UnicodeDecodeError:
        raise BadFile(f"{path}:", "is not UTF-8 text", "give a TOML file of records") from None
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{path}:", f"is not valid TOML: {str(error).lower()}") from None
    except RecursionError:
        raise BadFile(f"{path}:", "is nested too deeply", "give a TOML file of records") from None
