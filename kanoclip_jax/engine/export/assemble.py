"""One file made of modules: a module, and all that it uses of this package.

Python's own parser says where each statement of a module begins and ends; the text in
between, comments too, is taken over as it stands. Left out are imports between the
modules, definitions that nothing in the file uses, and shapes of annotations. A name
that means two things in two modules gets that of its module before it.
"""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kanoclip_jax.engine.export.pieces import (
    REQUIRED,
    AssemblyError,
    Import,
    Module,
    Name,
    Statement,
    read,
)

ROOT = Path(__file__).parents[3]
_WIDTH = 88
# What stands in the file for imports that must not fail.
_REQUIRE = """\
try:
{imports}
except ImportError as missing:
    _MISSING = f"{{missing.name}} is not installed; pip install {packages}"
    if __name__ != "__main__":
        raise ImportError(_MISSING) from None
    print(f"error: {{_MISSING}}", file=sys.stderr)
    sys.exit(2)"""

Kept = Mapping[str, list[Statement]]


def assemble(
    name: str,
    root: Path = ROOT,
    *,
    words: Mapping[str, str] | None = None,
    licence: str = "",
) -> str:
    """Write a module and all that it uses of this package as one file.

    Args:
        name: the module; it is the last part of the file.
        root: the folder that packages lie in.
        words: text to put in the place of other text, as of names of settings.
        licence: lines of comment for its head.

    Raises:
        AssemblyError: some module imports what the file must do without, or words
            that are to be replaced are not there.
    """
    modules = collect(name, root)
    kept = _prune(modules)
    final = _rename(modules, kept)
    sections = [
        _heading(module, last=module is modules[-1]) + _join(module, own, final)
        for module in modules
        if (own := [one for one in kept[module.name] if not one.is_guard])
    ]
    head = [
        f'{licence}"""{_title(modules[-1])}"""',
        "from __future__ import annotations",
        _import(modules, kept),
    ]
    text = "\n\n\n".join(["\n\n".join(head), *sections]) + "\n"
    for old, new in (words or {}).items():
        if old not in text:
            raise AssemblyError(f"{old!r} stands nowhere in the file; say it no more")
        text = text.replace(old, new)
    compile(text, f"{name}.py", "exec", dont_inherit=True)
    return text


def collect(name: str, root: Path = ROOT) -> list[Module]:
    """A module and all that it uses of this package, each after what it uses.

    Raises:
        AssemblyError: one of them imports what none of them may.
    """
    found: dict[str, Module] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise AssemblyError(f"{' uses '.join([*path, name])}: a circle")
        if name in found:
            return
        module = read(name, root, path)
        for other, inner in module.needs.values():
            visit(other, (*path, name))
            if inner not in found[other].defines:
                raise AssemblyError(f"{name} imports {inner} of {other}, not there")
        for other in module.whole.values():
            visit(other, (*path, name))
        found[name] = module

    visit(name, ())
    return list(found.values())


def _prune(modules: list[Module]) -> Kept:
    """What the last module uses, and what that uses, in the order it is written in."""
    kept: dict[str, list[Statement]] = {module.name: [] for module in modules}
    by_name = {
        Name(module.name, name): (module, one)
        for module in modules
        for one in module.statements
        for name in one.defines
    }
    # What defines nothing does something.
    todo = [
        (module, one)
        for module in modules
        for one in module.statements
        if module is modules[-1] or not one.defines
    ]
    seen = {id(one) for _, one in todo}
    while todo:
        module, one = todo.pop()
        kept[module.name].append(one)
        for name in module.uses(one):
            if name in by_name and id(by_name[name][1]) not in seen:
                seen.add(id(by_name[name][1]))
                todo.append(by_name[name])
    return {
        name: sorted(part, key=lambda one: one.first) for name, part in kept.items()
    }


def _rename(modules: list[Module], kept: Kept) -> dict[Name, str]:
    """The names in the file of what has another name in its module."""
    imported = {one.bound for module in modules for one in module.imports}
    defined = [
        Name(module.name, name)
        for module in modules
        for one in kept[module.name]
        if not one.is_guard
        for name in one.defines
    ]
    whole = {other for module in modules for other in module.whole.values()}
    count = Counter(name for _, name in defined)
    final: dict[Name, str] = {}
    for one in defined:
        unclear = count[one.name] > 1 and one.module != modules[-1].name
        # `documents.read` says more than `read`.
        short = one.module in whole and one.name[0].islower()
        if unclear or short or one.name in imported:
            final[one] = _longer(one, 1)
    twice = Counter(final.values())
    return {
        one: _longer(one, 2) if twice[new] > 1 else new for one, new in final.items()
    } | {
        found: final.get(found, found.name)
        for module in modules
        for bound, found in module.needs.items()
        if bound != found.name and found not in final
    }


def _longer(one: Name, parts: int) -> str:
    """A name behind that of its module."""
    hidden = "_" if one.name.startswith("_") else ""
    above = "_".join(one.module.split(".")[-parts:])
    return f"{hidden}{above}_{one.name.lstrip('_')}"


def _title(module: Module) -> str:
    return f"{module.title}\n" if "\n" in module.title else module.title


def _heading(module: Module, last: bool) -> str:
    path = f"{module.name.replace('.', '/')}.py"
    # The last one's title is the file's.
    lines = [path, *([] if last else ["", *module.title.splitlines()])]
    return "\n".join(f"# {line}".rstrip() for line in lines)


def _join(
    module: Module, statements: Iterable[Statement], final: Mapping[Name, str]
) -> str:
    """Statements, two empty lines around functions and classes."""
    text, former = "", None
    for one in statements:
        large = isinstance(one.tree, (ast.FunctionDef, ast.ClassDef, ast.If))
        apart = former is None or one.text.startswith("\n")
        text += "\n\n\n" if large or former else "\n\n" if apart else "\n"
        text += module.write(one, final)
        former = large
    return text


def _import(modules: Iterable[Module], kept: Kept) -> str:
    """The one block of imports; what must be installed is named where it is not."""
    own, required = {Import("sys", "", "sys")}, set()
    guards: dict[str, str] = {}
    for module in modules:
        used = frozenset().union(*(one.names for one in kept[module.name]))
        for one in module.imports:
            if one.bound in used:
                head = one.source.split(".")[0]
                (required if head in REQUIRED else own).add(one)
        for one in kept[module.name]:
            if one.is_guard:
                guards.setdefault(ast.dump(one.tree), one.text.strip("\n"))
    # `import a` and `import a.b` give `a` the same meaning.
    meanings = Counter(
        bound for bound, _ in {(one.bound, one.meaning) for one in own | required}
    )
    unclear = sorted(name for name, times in meanings.items() if times > 1)
    if unclear:
        raise AssemblyError(
            f"{', '.join(unclear)}: imported as one thing here and as another there"
        )
    must = "\n".join(f"    {line}" for line in _sorted(required, _WIDTH - 4))
    require = _REQUIRE.format(imports=must, packages=" ".join(REQUIRED.values()))
    return "\n".join(
        [*_sorted(own, _WIDTH), "", *([require] if must else []), *guards.values()]
    )


def _sorted(imports: Iterable[Import], width: int) -> Iterator[str]:
    """Import lines as ruff sorts them."""
    sources: dict[str, list[str]] = {}
    for one in imports:
        if one.name:
            sources.setdefault(one.source, []).append(str(one))
    yield from sorted(f"import {one}" for one in imports if not one.name)

    def rank(name: str) -> tuple[int, str]:
        return 0 if name.isupper() else 1 if name[0].isupper() else 2, name

    for source in sorted(sources):
        names = sorted(sources[source], key=rank)
        line = f"from {source} import {', '.join(names)}"
        if len(line) <= width:
            yield line
        else:
            yield f"from {source} import ("
            yield from (f"    {name}," for name in names)
            yield ")"
