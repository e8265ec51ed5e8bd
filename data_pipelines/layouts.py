"""Folders of images and their masks: listing, and pairing by stem."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.records import Entry

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
)


@dataclass(frozen=True)
class Item:
    """An image on disk, its mask where it has one, and its index entry."""

    image: Path
    mask: Path | None
    entry: Entry


def list_folders(folder: Path, follow: bool = False) -> list[Path]:
    """Lists the visible sub-folders by name; symlinked ones only where `follow`."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".")
        and path.is_dir()
        and (follow or not path.is_symlink())
    )


def list_images(folder: Path) -> list[Path]:
    """Lists the visible image files by name, whatever the suffix's case."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )


def pair_masks(
    images: Sequence[Path], masks: Sequence[Path]
) -> dict[Path, Path | None]:
    """Finds each image's mask by its stem, never by position.

    Args:
      images: Image files.
      masks: Mask files, called `STEM_mask.*` (preferred) or `STEM.*`.

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
        mask = by_stem.get(f"{image.stem}_mask") or by_stem.get(image.stem)
        if mask in owner:
            raise DataError(
                f"mask {mask} fits two images, {owner[mask]} and {image}; "
                "give every image its own stem"
            )
        if mask is not None:
            owner[mask] = image
        pairs[image] = mask
    return pairs


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
