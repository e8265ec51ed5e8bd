"""What is installed: the wheel of the source distribution holds all of both packages."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import kanoclip_jax

ROOT = Path(__file__).parents[2]
PACKAGES = ("data_pipelines", "kanoclip_jax")
VERSION = kanoclip_jax.__version__
FACTS = f"kanoclip_jax-{VERSION}.dist-info"


def build(what: str, source: Path, out: Path) -> Path:
    """Without isolation, and so without a network."""
    code = f"from setuptools import build_meta; build_meta.build_{what}({str(out)!r})"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=300,
    )
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The names in the source distribution, and the wheel that it gives."""
    pytest.importorskip("setuptools", "77")
    place = tmp_path_factory.mktemp("build")
    source = place / "source"
    ignore = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=ignore)
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, source)
    for folder in ("sdist", "wheel"):
        (place / folder).mkdir()
    archive = build("sdist", source, place / "sdist")
    with tarfile.open(archive) as file:
        names = file.getnames()
        file.extractall(place, filter="data")
    unpacked = place / f"kanoclip_jax-{VERSION}"
    return names, build("wheel", unpacked, place / "wheel")


def test_the_wheel_holds_every_file_of_both_packages(distributions) -> None:
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = set(wheel.namelist())
    own = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    facts = {f"{FACTS}/licenses/LICENSE", f"{FACTS}/licenses/NOTICE.md"}
    assert "kanoclip_jax/configs/mvtec.py" in own and "kanoclip_jax/py.typed" in own
    assert own | facts <= names
    assert {name.split("/")[0] for name in names - own} == {FACTS}


def test_the_source_distribution_holds_what_stands_beside_them(distributions) -> None:
    names = {name.partition("/")[2] for name in distributions[0]}
    beside = {"LICENSE", "NOTICE.md", "CHANGELOG.md", "CITATION.cff", "launch.py"}
    assert beside | {"README.md", "pyproject.toml"} <= names


def test_the_command_and_the_version_are_the_package_s(distributions) -> None:
    with zipfile.ZipFile(distributions[1]) as wheel:
        commands = wheel.read(f"{FACTS}/entry_points.txt").decode()
        metadata = wheel.read(f"{FACTS}/METADATA").decode().partition("\n\n")[0]
    assert "kanoclip = kanoclip_jax.command:run" in commands
    assert f"\nVersion: {VERSION}\n" in metadata
    assert "\nLicense-Expression: MIT\n" in metadata
