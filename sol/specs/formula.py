"""The arithmetic of a derived number: sums and products of numbers and of a record's own fields.

Parsed, never executed: `+ - * /`, parentheses, numbers and (dotted) field names, nothing else.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping


def arithmetic(formula: str, fields: Mapping[str, float]) -> float:
    """The value of `formula` with the record's fields put in. Raises `ValueError` for anything but arithmetic.

    >>> arithmetic("sm_count * 128 * 2 * clock_hz", {"sm_count": 16, "clock_hz": 1.3e9})
    5324800000000.0
    """
    try:
        return _value(ast.parse(formula.strip(), mode="eval").body, fields)
    except (SyntaxError, RecursionError, MemoryError, ZeroDivisionError, OverflowError):
        raise ValueError(f"formula '{formula}' is not arithmetic") from None


def _value(node: ast.expr, fields: Mapping[str, float]) -> float:
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, fields), _value(node.right, fields)
        match node.op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div():
                return left / right
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name | ast.Attribute):
        name = ast.unparse(node)
        if name in fields:
            return fields[name]
        raise ValueError(f"formula names '{name}', which the record does not have")
    raise ValueError("a formula holds numbers, fields and + - * / only")
