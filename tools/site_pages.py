"""Hooks of the documentation's site: pages that other files make, and where links lead.

The pages of `docs` are read in two places: in the repository, where a link leads to a
file, and on the site, where it leads to a page. They are written for the repository. On
the site a link to a module leads to the reference, one to a file that is a page there to
that page, and any other to the repository if `repo_url` says where that is.
"""

import html
import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
import settings_page

# Files of the repository that are pages of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "NOTICE.md": "notices.md",
    "kanoclip_jax/knowledge/data/README.md": "bundled-knowledge.md",
    "kanoclip_jax/backbones/demo/README.md": "demo-clip.md",
}
# The reference: a page of each of these folders' modules; the last one's own alone.
REFERENCE = (
    "kanoclip_jax/models",
    "kanoclip_jax/nn",
    "kanoclip_jax/ops",
    "kanoclip_jax/backbones",
    "kanoclip_jax/knowledge",
    "kanoclip_jax/metrics",
    "kanoclip_jax/viz",
    "kanoclip_jax/engine",
    "data_pipelines",
    "kanoclip_jax",
)
# What docs/reference/index.md shows by hand: the interface for users.
PUBLIC = ("detecting", "detector")
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s]+)\)")
# A flag within a sentence, and how long it may be not to break on a phone.
_CODE = re.compile(r"<code>([^<]*)</code>")
_FLAG = re.compile(r"(?<!\S)--?[a-z]\S*")
_ONE_LINE = 38
_FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that other files make."""
    made = {f"reference/{name}.md": text for name, text in reference_pages()}
    for source, page in PAGES.items():
        if (ROOT / source).exists():
            made[page] = (ROOT / source).read_text(encoding="utf-8")
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Fill in the settings, and lead links to pages."""
    name = page.file.src_uri
    if name == "settings.md":
        methods = ROOT / "kanoclip_jax" / "configs" / "methods.py"
        markdown += "\n" + settings_page.render(methods)
    source = next((s for s, made in PAGES.items() if made == name), f"docs/{name}")
    parts = _FENCE.split(markdown)
    parts[::2] = [
        _LINK.sub(lambda found: _led(found, source, name, config), part)
        for part in parts[::2]
    ]
    return "".join(parts)


def on_page_content(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mark the flags in sentences, so that none breaks after its dashes."""
    return _CODE.sub(lambda code: f"<code>{_FLAG.sub(_marked, code[1])}</code>", text)


def reference_pages() -> list[tuple[str, str]]:
    """Names and texts of the reference's pages."""
    pages = []
    for package in REFERENCE:
        pattern = "*.py" if package == REFERENCE[-1] else "**/*.py"
        files = sorted((ROOT / package).glob(pattern))
        modules = [_module(file) for file in files if _is_shown(file)]
        blocks = [f"::: {module}" for module in modules]
        name = package.replace("/", ".")
        pages.append((name, "\n\n".join([f"# {name}", *blocks]) + "\n"))
    return pages


def _marked(found: re.Match[str]) -> str:
    """A flag that does not break; of one longer than a line that is its name alone."""
    kept, value = found[0], ""
    if len(html.unescape(kept)) > _ONE_LINE:
        name, equals, value = kept.partition("=")
        kept = name + equals
    if len(html.unescape(kept)) > _ONE_LINE:
        return found[0]
    return f'<span class="flag">{kept}</span>{value}'


def _module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def _is_shown(file: Path) -> bool:
    """Whether a module has more than its first line, and no other place."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return len(lines) > 1 and file.stem not in PUBLIC


def _led(found: re.Match[str], source: str, page: str, config: MkDocsConfig) -> str:
    """A link of a page, `source` in the repository and `page` on the site, for the site."""
    label, link = found.groups()
    if "://" in link or link.startswith(("#", "mailto:")):
        return found[0]
    path, mark, anchor = link.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    place = PAGES.get(path)
    if path.startswith("docs/"):
        place = path.removeprefix("docs/")
    elif "configs" in Path(path).parts:
        place = "settings.md"
    elif path.endswith(".py") or (ROOT / path).is_dir():
        package = next((p for p in REFERENCE if f"{path}/".startswith(f"{p}/")), None)
        if package:
            place = f"reference/{package.replace('/', '.')}.md"
            anchor = _module(ROOT / path) if path.endswith(".py") else ""
            mark = "#" if anchor else ""
    if place:
        place = posixpath.relpath(place, posixpath.dirname(page) or ".")
        return f"{label}({place}{mark}{anchor})"
    if not (ROOT / path).exists():
        raise ValueError(f"{source}: the link {link} leads nowhere")
    if config.repo_url:
        return f"{label}({config.repo_url.rstrip('/')}/blob/main/{path})"
    return label[1:-1]
