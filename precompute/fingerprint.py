"""Hashes: of settings, of code as it reads without comments and docstrings, and of a stage's files."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from core.config import PROJECT_ROOT

WHOLE = 8 * 2**20  # bytes up to which a file is hashed whole
BLOCK, N_BLOCKS = 64 * 1024, 32  # of a larger one: evenly spaced blocks


def hash_json(obj: Any) -> str:
    """16 hex digits of the SHA-256 of the canonical JSON."""
    text = json.dumps(obj, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_files(patterns: Sequence[str], root: Path = PROJECT_ROOT) -> list[Path]:
    """The files of the patterns, sorted; a pattern that names nothing is a FileNotFoundError."""
    found: set[Path] = set()
    for pattern in patterns:
        matches = [p for p in root.glob(pattern) if p.is_file()]
        if not matches:
            raise FileNotFoundError(f"declared code {pattern} does not exist")
        found.update(matches)
    return sorted(found)


def code_hash(patterns: Sequence[str], root: Path = PROJECT_ROOT) -> str:
    """Hash of the syntax trees of the files: comments, docstrings and layout do not count."""
    return hash_json(
        [[p.relative_to(root).as_posix(), _file_hash(p, p.stat().st_mtime_ns)] for p in code_files(patterns, root)]
    )


@functools.lru_cache(512)
def _file_hash(path: Path, _mtime: int) -> str:
    return source_hash(path.read_text(encoding="utf-8"))


def source_hash(source: str) -> str:
    """Hash of one file's syntax tree without docstrings; the same in all versions of Python that parse it alike."""
    tree = ast.parse(source)
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
