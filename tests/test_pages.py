"""README and docs: what they lead to is there, and all settings are told of."""

import re
import sys
from pathlib import Path

import pytest

from kanoclip_jax.command.overrides import keys
from kanoclip_jax.configs import base, methods

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def code_left_out(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as both the repository and the site make them."""
    headings = re.findall(r"^#+ (.+)$", code_left_out(page), flags=re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {re.sub(r"\s", "-", heading.strip()) for heading in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(code_left_out(page)):
        path, _, anchor = link.partition("#")
        if "://" in link or (page.parent.name == "reference" and not anchor):
            # The reference's pages are made with the site.
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_page_of_settings_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import settings_page

    page = settings_page.render(ROOT / "kanoclip_jax" / "configs" / "methods.py")
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \| (.*) \|$", page, flags=re.MULTILINE)
    told = {key: (default, meaning) for key, default, meaning in rows}
    known = {key for key in keys(base.get_config()) if not key.startswith("row_")}
    assert known <= set(told)
    # Of a second backbone there is no more to say than its section's own line.
    first = {key: meaning for key, _, meaning in reversed(rows)}
    assert {key for key in known if not first[key]} == {"guide.name"}
    said = "pictures a step, of all devices together (`--batch-size`)"
    assert told["train.batch_size"] == ("`8`", said)
    assert told["clip.name"][1].startswith("A Hugging Face id, a local directory")
    # Settings of other methods, with those that they share.
    assert told["model.clusters"] == ("`20`", "of five times as many patches,")
    assert {f"model.{key}" for key in methods.CRANE_PLUS} <= set(told)
    sys.modules.pop("settings_page")
