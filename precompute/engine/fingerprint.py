"""Hashes: of settings, of syntax without comments and docstrings, and of a stage's files."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WHOLE = 8 * 2**20  # bytes up to which a file is hashed whole
BLOCK, N_BLOCKS = 64 * 1024, 32  # of a larger one: evenly spaced blocks


def hash_json(obj: Any) -> str:
    """16 hex digits of the SHA-256 of the canonical JSON."""
    text = json.dumps(obj, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tree_hash(tree: ast.Module) -> str:
    """Hash of a file's syntax without docstrings; the same in all versions of Python that parse it alike.

    The tree loses its docstrings.
    """
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and body:
            match body[0]:
                case ast.Expr(value=ast.Constant(value=str())):
                    del body[0]
    return hashlib.sha256(_dump(tree).encode()).hexdigest()[:16]


def _dump(node: Any) -> str:
    # ast.dump differs between versions in which empty fields it shows; this leaves all empty ones out.
    if isinstance(node, ast.AST):
        fields = ((name, getattr(node, name, None)) for name in node._fields if name != "type_comment")
        shown = ",".join(f"{n}={_dump(v)}" for n, v in fields if v is not None and v != [])
        return f"{type(node).__name__}({shown})"
    if isinstance(node, list):
        return f"[{','.join(_dump(v) for v in node)}]"
    return repr(node)


def content_hash(root: Path, names: Iterable[str]) -> str:
    """Hash of the names, sizes and bytes of files; of files past 8 MiB, 32 evenly spaced blocks of 64 KiB are read."""
    total = hashlib.sha256()
    for name in sorted(names):
        path = root / name
        size = path.stat().st_size
        total.update(f"{name}\0{size}\0".encode())
        with open(path, "rb") as file:
            if size <= WHOLE:
                total.update(file.read())
            else:
                for i in range(N_BLOCKS):
                    file.seek(i * (size - BLOCK) // (N_BLOCKS - 1))
                    total.update(file.read(BLOCK))
    return total.hexdigest()[:16]
