"""Folders of images and their masks: listing, and pairing by stem."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_pipelines.errors import DataError
from data_pipelines.records import Entry
from data_pipelines.suffixes import is_document, is_hidden, is_picture

# Other people's predictions lie among some published datasets.
_PREDICTIONS = "pred"
_EXTRA_TOP_FOLDERS = 3


@dataclass(frozen=True)
class Item:
    """An image on disk, its mask where it has one, and its index entry."""

    image: Path
    mask: Path | None
    entry: Entry


def list_entries(folder: Path) -> list[Path]:
    """Lists the visible files and folders by name, without known clutter."""
    return sorted(
        path
        for path in folder.iterdir()
        if not is_hidden(path.name) and path.name.lower() != _PREDICTIONS
    )


def find_folder(folder: Path, *names: str) -> Path | None:
    """Finds the first sub-folder of one of these names, whatever its case."""
    wanted = {name.lower() for name in names}
    found = (path for path in list_entries(folder) if path.name.lower() in wanted)
    return next((path for path in found if path.is_dir()), None)


def find_path(folder: Path, path: str) -> Path | None:
    """Follows a path of sub-folders, each whatever its case; None where it ends."""
    inner: Path | None = folder
    for part in path.split("/"):
        inner = inner and find_folder(inner, part)
    return inner


def find_start(folder: Path, is_start: Callable[[Path], bool]) -> Path:
    """Descends through extra top folders to where a dataset's content begins.

    Args:
      folder: The dataset's folder.
      is_start: Whether a folder holds what is expected at the top.

    Returns:
      The first folder that does, reached through folders that hold a single visible
      sub-folder each; `folder` where there is none.
    """
    inner = folder
    for _ in range(_EXTRA_TOP_FOLDERS):
        if is_start(inner):
            return inner
        below = [path for path in list_entries(inner) if path.is_dir()]
        if len(below) != 1:
            break
        inner = below[0]
    return inner if is_start(inner) else folder


def find_strays(
    base: Path, folders: Iterable[Path], known: Collection[Path]
) -> tuple[str, ...]:
    """Names what lies in the folders and is not known, documents aside."""
    known = set(known)
    return tuple(
        path.relative_to(base).as_posix()
        for folder in folders
        for path in list_entries(folder)
        if path not in known and (path.is_dir() or not is_document(path.name))
    )


@contextlib.contextmanager
def naming_unreadable(folder: Path) -> Iterator[None]:
    """Turns an operating system's refusal into a DataError that names the path."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or folder} cannot be read ({error.strerror or error}); "
            "make it readable for this user"
        ) from error


def list_images(folder: Path) -> list[Path]:
    """Lists the visible image files by name, whatever the suffix's case."""
    return sorted(
        path for path in folder.iterdir() if is_picture(path.name) and path.is_file()
    )


def pair_masks(
    images: Sequence[Path],
    masks: Sequence[Path],
    endings: Sequence[str] = ("_mask", ""),
) -> dict[Path, Path | None]:
    """Finds each image's mask by its stem, never by position.

    Args:
      images: Image files.
      masks: Mask files, called by an image's stem and an ending.
      endings: The endings, the preferred one first.

    Returns:
      Each image's mask, None where there is none.

    Raises:
      DataError: one mask fits two images, or two masks fit one.
    """
    by_stem: dict[str, Path] = {}
    for mask in masks:
        if mask.stem in by_stem:
            raise DataError(
                f"two masks share a stem: {by_stem[mask.stem]} and {mask.name}; "
                "remove one"
            )
        by_stem[mask.stem] = mask
    pairs: dict[Path, Path | None] = {}
    owner: dict[Path, Path] = {}
    for image in images:
        names = (f"{image.stem}{ending}" for ending in endings)
        mask = next((by_stem[name] for name in names if name in by_stem), None)
        if mask in owner:
            raise DataError(
                f"mask {mask} fits two images, {owner[mask]} and {image}; "
                "give every image its own stem"
            )
        if mask is not None:
            owner[mask] = image
        pairs[image] = mask
    return pairs


def make_items(
    images: Sequence[Path],
    masks: Sequence[Path] = (),
    *,
    base: Path,
    class_name: str,
    defect: str,
    label: int,
) -> list[Item]:
    """Makes the items of one kind, their masks paired by stem.

    Args:
      images: Image files.
      masks: Mask files; none where the kind has no masks.
      base: The folder to which paths are relative.
      class_name: The class's id.
      defect: The kind.
      label: 0 normal, 1 anomalous.

    Returns:
      One item per image, in order.
    """
    pairs = pair_masks(images, masks)
    return [
        Item(
            image,
            pairs[image],
            Entry(image.relative_to(base).as_posix(), class_name, defect, label),
        )
        for image in images
    ]


def is_below(*names: str) -> bool:
    """Says whether paths from a file stay below the folder they are relative to."""
    paths = [PurePosixPath(name) for name in names]
    return not any(path.is_absolute() or ".." in path.parts for path in paths)


def scan_kinds(
    kinds: Sequence[Path],
    masks: Path | None,
    *,
    base: Path,
    class_name: str,
    normal_names: frozenset[str],
) -> Iterator[Item]:
    """Yields the images of one class, normal kinds first.

    Args:
      kinds: Folders of images, one per kind.
      masks: Folder with one sub-folder of masks per kind, or the masks themselves.
      base: The dataset's folder, to which paths are relative.
      class_name: The class's id.
      normal_names: Lower-case folder names that mean normal.
    """
    anomalous = []
    for kind in kinds:
        if kind.name.lower() not in normal_names:
            anomalous.append(kind)
            continue
        for image in list_images(kind):
            path = image.relative_to(base).as_posix()
            yield Item(image, None, Entry(path, class_name, "good", 0))
    images = {kind: list_images(kind) for kind in anomalous}
    for kind, mask_of in _pair_kinds(images, masks).items():
        for image in images[kind]:
            path = image.relative_to(base).as_posix()
            yield Item(image, mask_of[image], Entry(path, class_name, kind.name, 1))


def _pair_kinds(
    images: dict[Path, list[Path]], masks: Path | None
) -> dict[Path, dict[Path, Path | None]]:
    """Pairs kind by kind, or all kinds at once with one flat folder of masks."""
    if masks is None:
        return {kind: dict.fromkeys(files) for kind, files in images.items()}
    flat = list_images(masks)
    if flat:
        pairs = pair_masks([file for files in images.values() for file in files], flat)
        return {kind: {f: pairs[f] for f in files} for kind, files in images.items()}
    return {
        kind: pair_masks(
            files,
            list_images(masks / kind.name) if (masks / kind.name).is_dir() else (),
        )
        for kind, files in images.items()
    }
