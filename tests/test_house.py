"""The floors of the house: who may import whom, read from the source without running it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREES = ("kanoclip_jax", "data_pipelines", "tools", "benchmarks", "tests")
MODULES = sorted(
    path
    for path in [
        *ROOT.glob("*.py"),
        *(p for t in TREES for p in (ROOT / t).rglob("*.py")),
    ]
)
# What a package of kanoclip_jax may import of its sisters; all may import BASEMENT.
BASEMENT = {"documents", "errors", "files", "finite", "verdict"}
# What both trees stand on: of the standard library alone.
GROUND = {f"data_pipelines.{part}" for part in ("documents", "errors", "names")}
MIDDLE = {"nn", "knowledge", "losses", "metrics", "viz"}
ALLOWED = {
    **{part: set() for part in BASEMENT},
    "ops": set(),
    "backbones": {"ops"},
    **{part: {"backbones", "ops"} for part in MIDDLE},
    "models": MIDDLE | {"backbones", "ops"},
    "engine": MIDDLE | {"backbones", "ops", "models"},
    "configs": set(),
    "command": {"engine", "configs"},
    "__main__": {"command"},
}


def imports(path: Path) -> Iterator[str]:
    """Absolute dotted names, with the imported name where it may be a module."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def floor(path: Path) -> str:
    """The part of kanoclip_jax that a file belongs to; its own name for a module."""
    return path.relative_to(ROOT / "kanoclip_jax").with_suffix("").parts[0]


def of(tree: str) -> list[Path]:
    return [path for path in MODULES if path.is_relative_to(ROOT / tree)]


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", of("kanoclip_jax"), ids=shown)
def test_imports_go_downwards(path: Path) -> None:
    own = floor(path)
    for name in imports(path):
        head, *rest = name.split(".")
        if head != "kanoclip_jax" or not rest:
            continue
        if own == "__init__":
            pytest.fail(f"the package itself imports {name}")
        if rest[0] not in {own, *BASEMENT}:
            assert rest[0] in ALLOWED[own], f"{own} must not import {name}"


@pytest.mark.parametrize("path", of("data_pipelines"), ids=shown)
def test_data_pipelines_is_an_island(path: Path) -> None:
    heads = {name.split(".")[0] for name in imports(path)}
    assert not heads & {"jax", "jaxlib", "flax", "optax", "orbax", "kanoclip_jax"}


@pytest.mark.parametrize("path", of("kanoclip_jax"), ids=shown)
def test_only_engine_uses_data_pipelines_and_only_backbones_transformers(
    path: Path,
) -> None:
    heads = {name.split(".")[0] for name in imports(path)}
    if floor(path) != "engine":
        theirs = {n for n in imports(path) if n.startswith("data_pipelines.")}
        assert all(".".join(n.split(".")[:2]) in GROUND for n in theirs)
    if floor(path) != "backbones":
        assert not heads & {"transformers", "tokenizers", "huggingface_hub"}
    if path.name not in ("embedding.py", "plots.py", "tradeoff.py"):
        assert "matplotlib" not in heads, "it takes long to import"
    assert not heads & {"torch", "tensorflow", "launch", "configs", "tests", "tools"}


@pytest.mark.parametrize("name", sorted(GROUND))
def test_ground_needs_nothing_but_the_standard_library(name: str) -> None:
    heads = {n for n in imports(ROOT / f"{name.replace('.', '/')}.py")}
    own = {n for n in heads if n.startswith("data_pipelines")}
    assert {n.split(".")[0] for n in heads - own} <= sys.stdlib_module_names
    assert all(".".join(n.split(".")[:2]) in GROUND for n in own)


def test_launcher_is_the_command_alone() -> None:
    heads = {name.rpartition(".")[0] for name in imports(ROOT / "launch.py")}
    assert heads == {"kanoclip_jax.command"}


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "a module opens with one sentence that says what it is"
    first = docstring.splitlines()[0]
    assert first == first.strip() and first[-1] in ".;:,?!" or "\n" in docstring


def test_nothing_is_called_utils() -> None:
    parts = {part for path in MODULES for part in path.relative_to(ROOT).parts}
    assert not {part for part in parts if "utils" in part.lower()}


def test_every_part_of_the_package_has_a_floor() -> None:
    assert {floor(path) for path in of("kanoclip_jax")} - {"__init__"} <= set(ALLOWED)
