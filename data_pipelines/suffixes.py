"""What a file's name says of its content: a picture, one that is not read, a document."""

from pathlib import PurePath

from data_pipelines.pictures.formats import IMAGE_SUFFIXES

# Pictures and films that are known by their names and are not read: never passed over
# in silence.
UNREAD_SUFFIXES = (
    frozenset(
        (
            *(".heic", ".heif", ".hif", ".jxl", ".jxr", ".wdp", ".bpg"),
            *(".dcm", ".dicom", ".nii", ".mha", ".mhd", ".nrrd"),
            *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
            *(".tga", ".pcx", ".sgi", ".rgb", ".ras", ".pfm", ".hdr", ".exr", ".dds"),
            *(".psd", ".xcf", ".svg", ".eps", ".ico", ".icns", ".xbm", ".xpm"),
            *(".fit", ".fits", ".fts", ".czi", ".nd2", ".lif", ".svs", ".ndpi", ".vsi"),
            *(".avi", ".mp4", ".m4v", ".mov", ".mkv", ".wmv", ".mpg", ".mpeg", ".webm"),
        )
    )
    - IMAGE_SUFFIXES
)
_DOCUMENTS = frozenset(
    (
        *(".txt", ".md", ".rst", ".pdf", ".html", ".htm", ".css", ".js", ".rtf"),
        *(".csv", ".tsv", ".xls", ".xlsx", ".ods", ".doc", ".docx", ".odt", ".pptx"),
        *(".json", ".jsonl", ".ndjson", ".xml", ".yaml", ".yml", ".toml", ".ini"),
        *(".cfg", ".log", ".lst", ".list", ".names", ".bib", ".tex", ".py", ".ipynb"),
        *(".sh", ".bat", ".md5", ".sha1", ".sha256", ".lock", ".url", ".lnk"),
        *(".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".zst"),
    )
)
_DOCUMENT_NAMES = frozenset(
    (
        *("readme", "license", "licence", "copying", "notice", "citation", "version"),
        *("changelog", "authors", "contributors", "md5sums", "sha256sums"),
        *("checksums", "dvc.lock", "makefile"),
    )
)
# Left behind by desktops, archivers and file servers.
CLUTTER = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"),
        *("@eadir", "$recycle.bin", "system volume information", "lost+found"),
    )
)


def suffix_of(name: str) -> str:
    """Returns a name's suffix in lower case, with its dot; empty where it has none."""
    return PurePath(name).suffix.lower()


def is_picture(name: str) -> bool:
    """Says whether a file's name is that of a visible picture."""
    return not name.startswith(".") and suffix_of(name) in IMAGE_SUFFIXES


def is_unread(name: str) -> bool:
    """Says whether a file's name is that of a visible picture that is not read."""
    return not name.startswith(".") and suffix_of(name) in UNREAD_SUFFIXES


def is_document(name: str) -> bool:
    """Says whether a file's name is that of what lies beside pictures and is none."""
    lower = name.lower()
    return suffix_of(name) in _DOCUMENTS or lower in _DOCUMENT_NAMES


def is_hidden(name: str) -> bool:
    """Says whether a file or folder is hidden, or what a desktop left behind."""
    return name.startswith(".") or name.lower() in CLUTTER


def count_suffixes(names: list[str]) -> str:
    """Returns how many there are of each suffix, as in `.dcm 2, .heic 1`."""
    found: dict[str, int] = {}
    for name in names:
        found[suffix_of(name)] = found.get(suffix_of(name), 0) + 1
    return ", ".join(f"{suffix} {count}" for suffix, count in sorted(found.items()))
