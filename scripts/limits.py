"""Fails when a file or a function has grown too long to be read at one sitting."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LIMIT_LINES = 400
FUNCTION_LIMIT_LINES = 70
FOLDERS = ("dockd", "packaging", "scripts", "tests", "bench")


def findings(path: Path) -> Iterator[str]:
    """What is too long in the Python file at `path`, one line each."""
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    if lines > FILE_LIMIT_LINES:
        yield f"{path}: {lines} lines, at most {FILE_LIMIT_LINES}"
    for node in ast.walk(ast.parse(text, str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LIMIT_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LIMIT_LINES}"


def main() -> int:
    """Prints the findings of all folders; 1 if there are any."""
    found = [line for folder in FOLDERS for path in sorted(Path(folder).rglob("*.py")) for line in findings(path)]
    print("\n".join(found) if found else "limits: kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
