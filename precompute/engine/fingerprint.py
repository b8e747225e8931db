"""What fingerprints are made of: hashes of settings and files, and the code that a stage rests on.

That code is what the stage's file imports of ``core``, and what that imports, read from the sources:

- the stage's own file, and every module of ``core`` that is reached from it by imports: at the top of a file, in a
  function, under a condition, but not under TYPE_CHECKING, which never runs;
- a file counts as a whole, whichever of its names are used; comments and docstrings never count;
- a package's ``__init__.py`` counts where a name is taken from it that it makes itself, or where importing it does
  something; a name that it only passes on leads to the module that makes it, and to no other;
- a package that loads its names when they are asked for says from where: a constant ``DOOR``, {name: module};
- any other module that imports by a string (``importlib.import_module``) says what: a constant ``IMPORTED_BY_NAME``
  names a function that answers for a run's settings with the modules that this run may import;
- the frame of every stage does not count: errors, the run folder, and the reading of settings, of which the values
  count that a stage names under ``sections``. Nor does anything else of ``precompute``: engine, screens and commands
  start a stage and tell of it, and make none of its results.

So pages, figures, docs, the command line and the families of other models leave every stage fresh. Nothing is imported
to find this out: sources are parsed, once for each state of a file.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import SOURCE_ROOT, Config
from precompute.pipeline import load_function

LIBRARY = "core"
FRAME = ("core", "core.errors", "core.run.folder", "core.config", "core.config.reading", "core.config.sections")
DECLARATION, DOOR = "IMPORTED_BY_NAME", "DOOR"
CODE_OF = "code of "  # begins the part of a fingerprint that is a module imported by a string
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


@dataclass(frozen=True)
class Source:
    """One file as the closure reads it.

    ``imports`` are (module, name), name "" for a plain ``import module``; ``passes_on`` are a package's names that come
    from elsewhere; ``acts`` is whether importing it does more than define names.
    """

    hash: str
    imports: tuple[tuple[str, str], ...]
    passes_on: dict[str, tuple[str, str]]
    acts: bool
    declares: str


def code_of(fn: str, config: Config, root: Path | None = None) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Hashes of the modules behind a stage's ``fn`` ("module:function"): of those that every run needs, by name; and of
    those that are imported by a string, each with what it needs beyond the former.

    ``root`` is where the sources lie. Raises ValueError where one imports by a string and does not say what.
    """
    root = root or SOURCE_ROOT
    found = Closure(root)
    found.follow(fn.partition(":")[0])
    dynamic: dict[str, dict[str, str]] = {}
    waiting, seen = sorted(found.declarations), set(found.declarations)
    while waiting:
        for module in sorted(load_function(waiting.pop())(config)):
            more = Closure(root, found.modules)
            more.follow(module)
            dynamic[module] = {m: s.hash for m, s in sorted(more.modules.items()) if m not in found.modules}
            waiting += sorted(more.declarations - seen)
            seen |= more.declarations
    return {m: s.hash for m, s in sorted(found.modules.items())}, dynamic


def code_parts(fn: str, config: Config) -> dict[str, str]:
    """The same as parts of a fingerprint: "code", and "code of MODULE" for each that is imported by a string."""
    fixed, dynamic = code_of(fn, config)
    return {"code": hash_json(fixed)} | {f"{CODE_OF}{m}": hash_json(hashes) for m, hashes in dynamic.items()}


class Closure:
    """Follows imports from one module to the next; ``modules`` are those that count, by name."""

    def __init__(self, root: Path, known: dict[str, Source] | None = None):
        self.root = root
        self.modules: dict[str, Source] = dict(known or {})
        self.declarations: set[str] = {s.declares for s in self.modules.values() if s.declares}

    def follow(self, module: str) -> None:
        """Count a module, and what it imports."""
        if module in self.modules or module in FRAME:
            return
        source = self.modules[module] = source_at(source_path(module, self.root), module)
        if source.declares:
            self.declarations.add(source.declares)
        for imported, name in source.imports:
            self._imported(imported, name)

    def _imported(self, module: str, name: str) -> None:
        """Follow ``from module import name``, or ``import module`` where the name is ""."""
        if module.split(".")[0] != LIBRARY:
            return
        parents = module.split(".")
        for package in (".".join(parents[:i]) for i in range(1, len(parents))):
            self._enter(package)
        below = f"{module}.{name}"
        passed_on = self._enter(module) if name else {}
        if name in passed_on:
            self._imported(*passed_on[name])
        elif name and _find(below, self.root):
            self.follow(below)
        else:
            self.follow(module)

    def _enter(self, package: str) -> dict[str, tuple[str, str]]:
        """The names that a package passes on; it counts itself where entering it does something."""
        path = _find(package, self.root)
        if path is None or path.name != "__init__.py":
            return {}
        source = source_at(path, package)
        if source.acts:
            self.follow(package)
        return source.passes_on


def _find(module: str, root: Path) -> Path | None:
    stem = root.joinpath(*module.split("."))
    return next((p for p in (stem / "__init__.py", stem.with_suffix(".py")) if p.is_file()), None)


def source_path(module: str, root: Path) -> Path:
    """Where a module's source lies, below ``root`` or elsewhere on the path; ModuleNotFoundError where it does not."""
    if found := _find(module, root):
        return found
    spec = importlib.util.find_spec(module) if module.split(".")[0] != LIBRARY else None
    if spec is None or not spec.origin:
        raise ModuleNotFoundError(f"there is no source of {module} in {root}")
    return Path(spec.origin)


def source_at(path: Path, module: str) -> Source:
    """What a file imports, and the hash of its syntax; kept for as long as the file stays as it is."""
    stat = path.stat()
    return _read_source(path, module, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(4096)
def _read_source(path: Path, module: str, _mtime: int, _size: int) -> Source:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    imports = [found for node in _running(tree) for found in _imports(node, package)]
    declares, door = _constant(tree, DECLARATION) or "", _constant(tree, DOOR) or {}
    for call in _imports_by_string(tree) if "import_module" in text or "__import__" in text else ():
        if call.args and isinstance(call.args[0], ast.Constant):
            imports.append((str(call.args[0].value), ""))
        elif not declares and not door:
            raise ValueError(
                f"{path}, line {call.lineno}, imports by a string: {DECLARATION} has to name a function that says what"
            )
    passes_on = {
        (alias.asname or alias.name): (_module(node, package), alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    } | {name: (made_in, name) for name, made_in in door.items()}
    acts = any(_acts(node) for node in tree.body)
    return Source(tree_hash(tree), tuple(dict.fromkeys(imports)), passes_on, acts, declares)


def _running(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements of a file, but those under TYPE_CHECKING."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        never = isinstance(node, ast.If) and _is_type_checking(node.test)
        for part in ("orelse",) if never else ("body", "orelse", "handlers", "finalbody", "cases"):
            waiting += getattr(node, part, [])


def _is_type_checking(test: ast.expr) -> bool:
    return _last_name(test) == "TYPE_CHECKING"


def _imports(node: ast.AST, package: str) -> list[tuple[str, str]]:
    if isinstance(node, ast.Import):
        return [(alias.name, "") for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [(_module(node, package), "" if alias.name == "*" else alias.name) for alias in node.names]
    return []


def _module(node: ast.ImportFrom, package: str) -> str:
    """The absolute name of the module that ``from .. import`` names."""
    if not node.level:
        return node.module or ""
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def _imports_by_string(tree: ast.Module) -> list[ast.Call]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [call for call in calls if _last_name(call.func) in ("import_module", "__import__")]


def _last_name(node: ast.expr) -> str:
    """``c`` of ``a.b.c``; "" for what is no name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _constant(tree: ast.Module, name: str) -> Any:
    """The literal that a file's constant is set to; None where there is none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and _last_name(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    return None


def _acts(node: ast.stmt) -> bool:
    """Whether a statement of a file does more than define names, as a docstring or an import does not."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return not all(isinstance(target, ast.Name) for target in targets)
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        return any(map(_acts, node.orelse))
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    return not isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
