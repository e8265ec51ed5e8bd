"""One file made of modules: what is in it, what is not, and what must not be."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest

from kanoclip_jax.engine.export import pieces
from kanoclip_jax.engine.export.assemble import ROOT, assemble, collect
from kanoclip_jax.engine.export.pieces import AssemblyError
from kanoclip_jax.engine.export.standalone import MODULE, standalone

# Python 3.11 and younger: the runner is run by 3.10.
YOUNG = (
    "tomllib",
    "file_digest",
    "StrEnum",
    "add_note",
    "ExceptionGroup",
    "datetime.UTC",
)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes modules of a package called `own`, which stands for this one."""
    monkeypatch.setattr(pieces, "OWN", ("own",))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").touch()

    def put(**modules: str) -> Path:
        for name, text in modules.items():
            (tmp_path / "own" / f"{name}.py").write_text(dedent(text))
        return tmp_path

    return put


def test_modules_become_one_file(write):
    root = write(
        areas='''\
        """Areas."""

        import math
        import os

        import numpy as np
        from jaxtyping import Float

        from own.words import shout

        # Of a circle.
        _SCALE = math.pi


        def circle(radii: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
            """The areas of circles."""
            shout("areas")  # aloud
            return _SCALE * radii**2


        def square(side: float) -> float:
            """Used by nobody."""
            return os.cpu_count() * side
        ''',
        words='''\
        """Words."""

        try:
            import colours
        except ImportError:
            colours = None


        def shout(text: str) -> None:
            """Say it."""
            print(colours, text.upper())
        ''',
        main='''\
        """The areas of two circles.

        For example.
        """

        import sys
        from collections.abc import Iterator, Mapping

        import numpy as np

        from own.areas import circle


        def run() -> Iterator[float]:
            """Run."""
            yield from circle(np.arange(2))


        if __name__ == "__main__":
            sys.exit(list(run()))
        ''',
    )
    licence = "# SPDX-License-Identifier: MIT\n"
    text = assemble("own.main", root, words={'areas")': 'AREAS")'}, licence=licence)
    assert text == dedent('''\
        # SPDX-License-Identifier: MIT
        """The areas of two circles.

        For example.
        """

        from __future__ import annotations

        import math
        import sys
        from collections.abc import Iterator

        try:
            import numpy as np
        except ImportError as missing:
            _MISSING = f"{missing.name} is not installed; pip install numpy Pillow"
            if __name__ != "__main__":
                raise ImportError(_MISSING) from None
            print(f"error: {_MISSING}", file=sys.stderr)
            sys.exit(2)
        try:
            import colours
        except ImportError:
            colours = None


        # own/words.py
        #
        # Words.


        def shout(text: str) -> None:
            """Say it."""
            print(colours, text.upper())


        # own/areas.py
        #
        # Areas.

        # Of a circle.
        _SCALE = math.pi


        def circle(radii: np.ndarray) -> np.ndarray:
            """The areas of circles."""
            shout("AREAS")  # aloud
            return _SCALE * radii**2


        # own/main.py


        def run() -> Iterator[float]:
            """Run."""
            yield from circle(np.arange(2))


        if __name__ == "__main__":
            sys.exit(list(run()))
        ''')


def test_words_that_nobody_says_any_more_are_named(write):
    root = write(main='"""1."""\nprint("--config.predict.tiles")\n')
    with pytest.raises(AssemblyError, match="'--workdir' stands nowhere in the file"):
        assemble(
            "own.main", root, words={"--config.predict.tiles": "-t", "--workdir": ""}
        )


def run(text: str) -> dict:
    names = {"__name__": "assembled"}
    exec(compile(text, "assembled", "exec"), names)  # noqa: S102
    return names


def test_one_name_has_one_meaning(write):
    """Two modules' own `_read` stay apart; modules as a whole, passed on, renamed."""
    root = write(
        files='"""1."""\ndef _read(): return "file"\ndef load(): return _read()\n',
        texts='"""2."""\ndef _read(): return "text"\ndef load(): return _read()\n',
        passed='"""3."""\nfrom own import files\nload = files.load\n',
        main="""\
        '''4.'''
        from own import passed, texts
        from own.files import load as first
        from own.texts import load
        def both(): return [first(), load(), passed.load(), texts.load()]
        """,
    )
    assert run(assemble("own.main", root))["both"]() == ["file", "text"] * 2


def test_a_local_name_is_not_mistaken(write):
    root = write(
        one='"""1."""\ndef size(): return 1\n',
        two='"""2."""\ndef size(): return 2\ndef twice(size): return 2 * size\n',
        main='"""3."""\nfrom own import two\nfrom own.one import size\n'
        "def all(): return size(), two.size(), two.twice(4)\n",
    )
    with pytest.raises(AssemblyError, match="line 3: size becomes two_size .* local"):
        assemble("own.main", root)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import scipy", "own.two, which own.one for own.main uses, imports scipy"),
        ("from jax import numpy", "imports jax; .*try … except ImportError"),
        ("def f():\n    from own import one", "own in line 3, within a function"),
        ("if True:\n    import torch", "torch in line 3, .*import it at the top"),
        ("from own.one import g", "own.one uses own.two uses own.one: a circle"),
        ("import own.one", "take «from … import …»"),
        ("from own.main import nothing", "a circle"),
    ],
)
def test_what_must_not_be_imported_is_named(write, text, words):
    root = write(
        main='"""1."""\nfrom own.one import g\n',
        one='"""2."""\nfrom own.two import f\ndef g(): return f()\n',
        two=f'"""3."""\n{text}\ndef f(): return 1\n',
    )
    with pytest.raises(AssemblyError, match=words):
        assemble("own.main", root)


def test_what_is_not_there_is_named(write):
    root = write(main='"""1."""\nfrom own.one import g\n', one='"""2."""\n')
    with pytest.raises(AssemblyError, match="own.main imports g of own.one, not there"):
        assemble("own.main", root)


def test_the_runner_is_made_of_the_packages_own_modules():
    """It grows by these alone: each is to do without JAX and scipy."""
    names = {module.name for module in collect(MODULE, ROOT)}
    assert {
        "data_pipelines.pictures.decode",
        "data_pipelines.pictures.values",
        "kanoclip_jax.engine.prediction.inputs",
        "kanoclip_jax.engine.prediction.predictions",
        "kanoclip_jax.engine.prediction.results",
        "kanoclip_jax.engine.prediction.tiles",
        "kanoclip_jax.engine.resize",
        "kanoclip_jax.verdict",
        "kanoclip_jax.viz.heatmap",
        "kanoclip_jax.viz.regions",
    } <= names
    kind, _, owner, *_ = (ROOT / "LICENSE").read_text(encoding="utf-8").splitlines()
    head = f"# {owner}\n# SPDX-License-Identifier: {kind.split()[0]}\n"
    assert standalone().startswith(head)
    own = (ROOT / f"{MODULE.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert len(own.splitlines()) < 500


def test_the_runner_is_python_3_10_and_speaks_of_its_own_options():
    text = standalone()
    tree = ast.parse(text, feature_version=(3, 10))
    assert not [word for word in YOUNG if word in text]
    said = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    # For datasets, whose files may be skipped; nothing in the runner says it.
    said.remove("or skip such files with --config.data.skip_bad_files=True")
    assert not [text for text in said if "--workdir" in text or "--config.d" in text]
    heads = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    known = {*sys.stdlib_module_names, "numpy", "PIL", "tifffile"}
    assert {head.split(".")[0] for head in heads} - known <= {"pydicom", "pillow_heif"}


@pytest.mark.skipif(not find_spec("ruff"), reason="ruff is not installed")
def test_the_runner_is_clean(tmp_path):
    (tmp_path / "runner.py").write_text(standalone(), encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--isolated"]
    command += ["--extend-select=I", "runner.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
