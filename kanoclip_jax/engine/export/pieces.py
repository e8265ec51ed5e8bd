"""A module taken apart: its statements with their text, and what they define and use."""

import ast
import functools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

OWN = ("kanoclip_jax", "data_pipelines")
# What whoever runs the file must have installed.
REQUIRED = {"numpy": "numpy", "PIL": "Pillow"}
# Shapes in annotations, which only this package's tests check.
_SHAPES = "jaxtyping"


class AssemblyError(Exception):
    """A module cannot be a part of the file; the message says why."""


class Name(NamedTuple):
    """A name, and the module that gives it its meaning."""

    module: str
    name: str


class Import(NamedTuple):
    """An import of another package: `from source import name`, or all of it."""

    source: str
    name: str
    bound: str

    @property
    def meaning(self) -> str:
        """What the name stands for."""
        if self.name:
            return f"{self.source}.{self.name}"
        return self.bound if self.source.startswith(f"{self.bound}.") else self.source

    def __str__(self) -> str:
        text = self.name or self.source
        own = self.bound == text.split(".")[0]
        return text if own else f"{text} as {self.bound}"


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement of a module's own, outside of any function.

    Attributes:
        text: its lines, with the comments above it.
        first: the number of the first of them.
        tree: what the parser makes of it.
        defines: the names that it gives a meaning.
    """

    text: str
    first: int
    tree: ast.stmt
    defines: frozenset[str]

    @property
    def names(self) -> frozenset[str]:
        """All names that occur in it."""
        return frozenset(n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name))

    @property
    def is_guard(self) -> bool:
        """Whether it is an import that may fail."""
        return isinstance(self.tree, ast.Try) and any(
            isinstance(inner, (ast.Import, ast.ImportFrom)) for inner in self.tree.body
        )


@dataclass
class Module:
    """A module.

    Attributes:
        name: as it is imported.
        title: its docstring.
        root: the folder that packages lie in.
        needs: what its names of this package's other modules are.
        whole: its names for modules of this package.
        imports: of other packages.
        shapes: its names of jaxtyping's.
        statements: the rest.
    """

    name: str
    title: str
    root: Path
    needs: dict[str, Name] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    imports: list[Import] = field(default_factory=list)
    shapes: set[str] = field(default_factory=set)
    statements: list[Statement] = field(default_factory=list)

    @functools.cached_property
    def defines(self) -> frozenset[str]:
        """The names that have a meaning because of this module, read whole."""
        return frozenset().union(*(one.defines for one in self.statements))

    def uses(self, statement: Statement) -> Iterator[Name]:
        """What a statement uses of this package."""
        for node in ast.walk(statement.tree):
            found = self.meaning(node)
            if found:
                yield found

    def meaning(self, node: ast.AST) -> Name | None:
        """What a name, or an attribute of a module, stands for in this package."""
        owner = node.value if isinstance(node, ast.Attribute) else None
        if isinstance(owner, ast.Name) and owner.id in self.whole:
            return _home(Name(self.whole[owner.id], node.attr), self.root)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            # An annotation in quotes.
            return Name(self.name, node.value) if node.value in self.defines else None
        if not isinstance(node, ast.Name):
            return None
        if node.id in self.needs:
            return self.needs[node.id]
        return Name(self.name, node.id) if node.id in self.defines else None

    def write(self, statement: Statement, final: Mapping[Name, str]) -> str:
        """A statement's text, with the names that the one file has for things.

        Raises:
            AssemblyError: a name that changes is one of a function's own, too.
        """
        edits: list[tuple[ast.AST, str]] = []
        own = Name(self.name, getattr(statement.tree, "name", ""))
        if own in final:
            edits.append((_title(statement.tree), final[own]))
        inner = {node for node in ast.walk(statement.tree) if _binds(node)}
        bound = {_bound(node) for node in inner} - statement.defines
        for node in ast.walk(statement.tree):
            found = self.meaning(node)
            whole = isinstance(node, ast.Attribute) and found
            if whole or (isinstance(node, ast.Name) and found in final):
                old, new = ast.unparse(node), final.get(found, found.name)
                if old.split(".")[0] in bound and old != new:
                    raise AssemblyError(
                        f"{self.name}, line {statement.tree.lineno}: {old} becomes "
                        f"{new} in one file, and is a local name too; rename that"
                    )
                edits.append((node, new))
        return _edit(statement, edits, self.shapes)


def read(name: str, root: Path, path: tuple[str, ...] = ()) -> Module:
    """Take a module apart.

    Args:
        name: as it is imported.
        root: the folder that packages lie in.
        path: the modules that lead to it, for messages.

    Raises:
        AssemblyError: it imports what it may not.
    """
    source = find(name, root).read_text(encoding="utf-8")
    tree = ast.parse(source)
    module = Module(name, (ast.get_docstring(tree) or "").strip(), root)
    lines = source.splitlines(keepends=True)
    end = 0
    for node in tree.body:
        start, end = end, node.end_lineno
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for one in _imports(node):
                _sort(module, one, root, path)
        else:
            defines = frozenset(_bound(inner) for inner in _outer(node))
            text = "".join(lines[start:end])
            one = Statement(text, start + 1, node, defines - {""})
            _check_inner(module, one)
            module.statements.append(one)
    return module


def find(name: str, root: Path) -> Path:
    """The file of a module, or of a package's table of contents."""
    path = root.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[Import]:
    for alias in node.names:
        if isinstance(node, ast.Import):
            bound = alias.asname or alias.name.split(".")[0]
            yield Import(alias.name, "", bound)
        else:
            yield Import(node.module or "", alias.name, alias.asname or alias.name)


def _sort(module: Module, one: Import, root: Path, path: tuple[str, ...]) -> None:
    """Note an import: of this package's modules, or of others that are allowed."""
    head = one.source.split(".")[0]
    if head == _SHAPES:
        module.shapes.add(one.bound)
    elif head in OWN and not one.name:
        raise AssemblyError(
            f"{module.name} has «import {one.source}»; take «from … import …»"
        )
    elif head in OWN and find(f"{one.source}.{one.name}", root).exists():
        module.whole[one.bound] = f"{one.source}.{one.name}"
    elif head in OWN:
        module.needs[one.bound] = _home(Name(one.source, one.name), root)
    elif head in sys.stdlib_module_names or head in REQUIRED:
        if head != "__future__":
            module.imports.append(one)
    else:
        chain = f", which {' for '.join(reversed(path))} uses," if path else ""
        raise AssemblyError(
            f"{module.name}{chain} imports {one.source}; the exported runner does with "
            f"Python's own library, {' and '.join(REQUIRED.values())}: write it "
            "without, or import it within «try … except ImportError»"
        )


@functools.cache
def _home(name: Name, root: Path) -> Name:
    """Where a name that a module may only pass on has its meaning."""
    tree = ast.parse(find(name.module, root).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for one in _imports(node):
                own = one.source.split(".")[0] in OWN
                if own and one.bound == name.name:
                    return _home(Name(one.source, one.name), root)
    return name


def _check_inner(module: Module, statement: Statement) -> None:
    """Allow imports of others within functions and guards, of this package nowhere."""
    for node in ast.walk(statement.tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            heads = {one.source.split(".")[0] for one in _imports(node)}
            scope = isinstance(statement.tree, (ast.FunctionDef, ast.ClassDef))
            if heads & {*OWN, _SHAPES} or not (scope or statement.is_guard):
                raise AssemblyError(
                    f"{module.name} imports {', '.join(heads)} in line {node.lineno}, "
                    "within a function or a condition; import it at the top"
                )


def _bound(node: ast.AST) -> str:
    """The name that a node gives a meaning; empty where none."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return node.name
    if isinstance(node, ast.alias):
        return (node.asname or node.name).split(".")[0]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    return node.arg if isinstance(node, ast.arg) else ""


def _binds(node: ast.AST) -> bool:
    return bool(_bound(node))


def _outer(node: ast.AST) -> Iterator[ast.AST]:
    """A statement's parts, without those whose names are their own."""
    yield node
    scopes = (ast.FunctionDef, ast.ClassDef, ast.Lambda)
    scopes += (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    if not isinstance(node, scopes):
        for child in ast.iter_child_nodes(node):
            yield from _outer(child)


def _title(node: ast.AST) -> ast.Name:
    """The name of a function or a class as a node of its own."""
    word = "class " if isinstance(node, ast.ClassDef) else "def "
    start = node.col_offset + len(word)
    end = start + len(node.name.encode())
    return ast.Name(
        node.name,
        lineno=node.lineno,
        end_lineno=node.lineno,
        col_offset=start,
        end_col_offset=end,
    )


def _edit(
    statement: Statement, edits: list[tuple[ast.AST, str]], shapes: set[str]
) -> str:
    """Put other text in the place of nodes; `Float[np.ndarray, "h"]` is `np.ndarray`."""
    data = statement.text.encode()
    offsets = [0]
    for line in data.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))

    def place(line: int, column: int) -> int:
        return offsets[line - statement.first] + column

    def span(node: ast.AST) -> tuple[int, int]:
        end = place(node.end_lineno, node.end_col_offset)
        return place(node.lineno, node.col_offset), end

    cuts = [(*span(node), new.encode()) for node, new in edits]
    for node in ast.walk(statement.tree):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id in shapes
            and isinstance(node.slice, ast.Tuple)
        ):
            (start, end), (first, last) = span(node), span(node.slice.elts[0])
            cuts += [(start, first, b""), (last, end, b"")]
    for start, end, new in sorted(cuts, reverse=True):
        data = data[:start] + new + data[end:]
    text = data.decode().strip("\n")
    # What were arrays of two types are now one.
    return text.replace("np.ndarray | np.ndarray", "np.ndarray") if shapes else text
