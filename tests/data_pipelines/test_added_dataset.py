"""`docs/adding-a-dataset.md` is followed to the letter, but for where the code stands."""

import importlib
import re
from pathlib import Path

import pytest

from data_pipelines.builders import BUILDERS
from data_pipelines.catalog import CATALOG

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-dataset.md"


def test_the_page_s_dataset_is_read_like_every_other(
    open_dataset, mvtec_class, tmp_path, monkeypatch
) -> None:
    card, reader = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "brackets.py").write_text(f"{card}\n\n{reader}")
    monkeypatch.syspath_prepend(tmp_path / "code")
    module = importlib.import_module("brackets")
    monkeypatch.setitem(CATALOG, module.BRACKETS.id, module.BRACKETS)
    monkeypatch.setitem(BUILDERS, "brackets", module.BracketsBuilder)

    mvtec_class(tmp_path / "root" / "brackets", "left", 2, 3)
    mvtec_class(tmp_path / "root" / "brackets", "right", 1, 1)
    source = open_dataset("brackets")
    assert source.classes == ("left", "right") and len(source) == 7
    assert source.prompt_names == {"left": "metal bracket", "right": "metal bracket"}
    assert source.has_masks and not source.differences
    labels = [entry.label for entry in source.index]
    assert (labels.count(0), labels.count(1)) == (3, 4)


@pytest.mark.parametrize("link", re.findall(r"\]\((\.\./[^)]+)\)", PAGE.read_text()))
def test_its_links_lead_somewhere(link: str) -> None:
    assert (PAGE.parent / link).exists()
