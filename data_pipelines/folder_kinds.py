"""The images of one class of a user's folder, kind by kind, and their masks."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.folder_layout import ClassLayout, holds_masks
from data_pipelines.folder_names import (
    MASK_ENDINGS,
    NORMAL_FOLDERS,
    is_normal,
    is_result,
    looks_normal,
    masked_stems,
    masks_by_name,
    may_be_normal,
    says_pictures,
)
from data_pipelines.folder_tree import (
    Tree,
    black_and_white,
    is_blank,
    looks_like_masks,
)
from data_pipelines.layouts import Item, pair_masks
from data_pipelines.names import name_some, printable
from data_pipelines.records import Entry


@dataclass(frozen=True, eq=False)
class Kind:
    """One folder of images.

    Attributes:
      tree: The folder.
      pictures: Its images at any depth, without masks and results.
      beside: The mask of an image that lies beside it.
      inside: Folders of masks in it.
    """

    tree: Tree
    pictures: tuple[Path, ...]
    beside: dict[Path, Path]
    inside: tuple[Tree, ...]

    @property
    def name(self) -> str:
        """The kind's name, its folder's."""
        return self.tree.name


@dataclass(frozen=True)
class ClassReading:
    """One class as it was read.

    Attributes:
      name: The class's id.
      layout: Where it lies.
      items: Its images, normal ones first.
      normal: How many images each normal kind has.
      anomalous: Likewise of the kinds of anomaly.
      masks: How many masks were found where.
      remarks: What a user may not expect, one sentence each.
    """

    name: str
    layout: ClassLayout
    items: tuple[Item, ...]
    normal: dict[str, int]
    anomalous: dict[str, int]
    masks: dict[str, int]
    remarks: tuple[str, ...]


def read_class(
    layout: ClassLayout, name: str, base: Path, normal_folders: Sequence[str]
) -> ClassReading:
    """Reads the images of one class, normal kinds first, and pairs their masks.

    Args:
      layout: Where it lies.
      name: The class's id.
      base: The folder to which paths are relative.
      normal_folders: Names of kinds that mean normal, in any case.

    Raises:
      DataError: a kind that may be normal, or may be masks, and is not said to be; or
        masks that fit several images.
    """
    kinds = [read_kind(tree) for tree in layout.kinds]
    normal, anomalous = _part(kinds, normal_folders)
    remarks = _check_names(layout.level, normal, anomalous, normal_folders)
    _refuse_masks(anomalous, kinds)
    masks = _find_masks(layout, anomalous)
    if not normal:
        _refuse_blank(anomalous, masks)
    items = [
        _item(path, None, base, name, "good", 0)
        for kind in normal
        for path in kind.pictures
    ]
    # A folder of masks of which none fits is one all the same: its pictures lack them.
    found = dict.fromkeys(_mask_folders(layout, anomalous), 0)
    for kind in anomalous:
        for path in kind.pictures:
            where, mask = masks.get(path, ("", None))
            items.append(_item(path, mask, base, name, kind.name, 1))
            if mask is not None:
                found[where] = found.get(where, 0) + 1
    return ClassReading(
        name,
        layout,
        tuple(items),
        {kind.name: len(kind.pictures) for kind in normal},
        {kind.name: len(kind.pictures) for kind in anomalous},
        found,
        tuple(remarks),
    )


def read_kind(tree: Tree) -> Kind:
    """Reads one folder of images to any depth.

    Raises:
      DataError: a file is called like a mask and is none, or is one of no image.
    """
    pictures: list[Path] = []
    beside: dict[Path, Path] = {}
    inside: list[Tree] = []
    folders = [tree]
    while folders:
        folder = folders.pop(0)
        own = _pair_beside(folder.pictures)
        beside |= own
        taken = set(own.values())
        pictures += [path for path in folder.pictures if path not in taken]
        for child in folder.folders:
            if is_result(child.name) or not child.holds_pictures():
                continue
            if masks_by_name(child.name) != "no" and holds_masks(child):
                inside.append(child)
            else:
                folders.append(child)
    return Kind(tree, tuple(pictures), beside, tuple(inside))


def _pair_beside(pictures: Sequence[Path]) -> dict[Path, Path]:
    """The masks among the files of one folder, by their images."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in pictures:
        by_stem[path.stem].append(path)
    pairs: dict[Path, Path] = {}
    for path in pictures:
        for stem, sure in masked_stems(path.stem):
            images = by_stem.get(stem, [])
            where = f"{printable(str(path))} is called like the mask of"
            if not images:
                if sure and black_and_white([path]):
                    raise DataError(
                        f"{where} {printable(stem)}.*, which is not beside it; put "
                        "masks in a folder called ground_truth or masks"
                    )
                continue
            if not sure and not looks_like_masks([path]):
                raise DataError(
                    f"{where} {printable(images[0].name)}, but is not black and white; "
                    "put it in a folder called ground_truth or masks if it is one, or "
                    "call it otherwise"
                )
            if len(images) > 1 or images[0] in pairs:
                other = images[1] if len(images) > 1 else pairs[images[0]]
                raise DataError(
                    f"{where} {printable(images[0].name)}, as "
                    f"{printable(other.name)} says too or is meant too; keep one mask "
                    "for each picture, and one picture for each mask"
                )
            pairs[images[0]] = path
            break
    return pairs


def _part(
    kinds: Sequence[Kind], normal_folders: Sequence[str]
) -> tuple[list[Kind], list[Kind]]:
    names = frozenset(name.strip().lower() for name in normal_folders)
    normal = [kind for kind in kinds if is_normal(kind.name, names)]
    return normal, [kind for kind in kinds if kind not in normal]


def _check_names(
    level: Tree,
    normal: Sequence[Kind],
    anomalous: Sequence[Kind],
    normal_folders: Sequence[str],
) -> list[str]:
    """Kinds that may be normal are no anomalies, unless the user names what is normal.

    Returns:
      Remarks on what the user has said.

    Raises:
      DataError: a kind may be normal, or one that is called normal may be none.
    """
    said = {name.strip().lower() for name in normal_folders} != set(NORMAL_FOLDERS)
    where, found = printable(str(level.path)), [kind.name.strip() for kind in normal]
    others = [name for name in found if name.lower() != "no"]
    if not said and others and len(others) < len(found):
        raise DataError(
            f"{where} has {others[0]!r} beside 'no', which may mean «no good»; say "
            "what is normal, with --config.data.normal_folders=good,ok,normal or "
            f"--config.data.normal_folders={others[0]},no"
        )
    test = looks_normal if normal or said else may_be_normal
    doubtful = [kind.name for kind in anomalous if test(kind.name)]
    if not doubtful:
        return []
    names = name_some([repr(name) for name in doubtful])
    if said and normal:
        remark = f"{names} may be normal, but data.normal_folders does not name it"
        return [f"{remark}: read as a kind of anomaly"]
    # What other classes call normal stays so.
    listed = ",".join([*normal_folders, *(name.strip() for name in doubtful)])
    beside = f" beside {found[0]!r}" if found else ", and no folder is called normal"
    other = (
        f"--config.data.normal_folders={found[0]} if it is a kind of anomaly"
        if found
        else "another of its folders if it is a kind of anomaly"
    )
    raise DataError(
        f"{where} has {names}{beside}: pictures that may be normal are not scored as "
        f"defects; pass --config.data.normal_folders={listed} if they are normal, or "
        f"{other}"
    )


def _refuse_masks(anomalous: Sequence[Kind], kinds: Sequence[Kind]) -> None:
    """A kind of black and white pictures, with the names of others', is one of masks.

    Raises:
      DataError: there is one.
    """
    for kind in anomalous:
        others = [other for other in kinds if other is not kind]
        stems = {path.stem for other in others for path in other.pictures}
        if not kind.pictures or not all(p.stem in stems for p in kind.pictures):
            continue
        own = {path.stem for path in kind.pictures}
        twins = [p for other in others for p in other.pictures if p.stem in own]
        if black_and_white(list(kind.pictures)) and not black_and_white(twins):
            raise DataError(
                f"{printable(str(kind.tree.path))} looks like masks: its pictures are "
                "black and white, and called as others are; call the folder "
                "ground_truth or masks if they are, or give its pictures other names"
            )


def _find_masks(
    layout: ClassLayout, anomalous: Sequence[Kind]
) -> dict[Path, tuple[str, Path]]:
    """The mask of each anomalous image that has one, and where it lies in words.

    Raises:
      DataError: masks lie in two places, or cannot be told apart.
    """
    found: dict[Path, tuple[str, Path]] = {}
    for kind in anomalous:
        places = [
            *([layout.masks.name] if layout.masks else ()),
            *(["the pictures themselves"] if kind.beside else ()),
            *(_inside(kind, tree) for tree in kind.inside),
        ]
        if len(places) > 1 and (layout.masks or kind.beside):
            raise DataError(
                f"{printable(str(kind.tree.path))} has masks in two places, "
                f"{' and '.join(map(printable, places[:2]))}; keep them in one"
            )
        found |= {i: ("beside the pictures", m) for i, m in kind.beside.items()}
        for tree in kind.inside:
            below = [p for p in kind.pictures if p.is_relative_to(tree.path.parent)]
            pairs = _pair(below, tree.all_pictures())
            found |= _named(_inside(kind, tree), pairs)
    if layout.masks:
        found |= _named(layout.masks.name, _pair_kinds(layout.masks, anomalous))
    return found


def _mask_folders(layout: ClassLayout, anomalous: Sequence[Kind]) -> list[str]:
    own = [layout.masks.name] if layout.masks else []
    return own + [_inside(kind, tree) for kind in anomalous for tree in kind.inside]


def _inside(kind: Kind, masks: Tree) -> str:
    return f"{kind.name}/{masks.path.relative_to(kind.tree.path).as_posix()}"


def _named(where: str, pairs: dict[Path, Path | None]) -> dict[Path, tuple[str, Path]]:
    return {image: (where, mask) for image, mask in pairs.items() if mask}


def _pair_kinds(masks: Tree, kinds: Sequence[Kind]) -> dict[Path, Path | None]:
    """Pairs kind by kind, or all kinds at once with one flat folder of masks."""
    folders = [f for f in masks.folders if f.holds_pictures() and not is_result(f.name)]
    if masks.pictures and folders:
        raise DataError(
            f"{printable(str(masks.path))} holds masks ({masks.pictures[0].name}) and "
            f"folders of masks ({folders[0].name}); keep either"
        )
    if masks.pictures:
        return _pair([p for kind in kinds for p in kind.pictures], masks.pictures)
    pairs: dict[Path, Path | None] = {}
    for kind in kinds:
        own = masks.find(kind.name)
        if own:
            pairs |= _pair_nested(kind.tree.path, kind.pictures, own)
    return pairs


def _pair_nested(
    folder: Path, pictures: Sequence[Path], masks: Tree
) -> dict[Path, Path | None]:
    """Pairs sub-folder by sub-folder where masks have the same, else all at once."""
    if not any(child.holds_pictures() for child in masks.folders):
        return _pair(pictures, masks.pictures)
    groups: dict[Path, list[Path]] = defaultdict(list)
    for path in pictures:
        groups[path.parent.relative_to(folder)].append(path)
    where = {tree.path.relative_to(masks.path): tree for tree in masks.walk()}
    return {
        image: mask
        for part, own in groups.items()
        if part in where
        for image, mask in _pair(own, where[part].pictures).items()
    }


def _pair(pictures: Iterable[Path], masks: Iterable[Path]) -> dict[Path, Path | None]:
    return pair_masks(list(pictures), list(masks), MASK_ENDINGS)


def _refuse_blank(
    anomalous: Sequence[Kind], masks: dict[Path, tuple[str, Path]]
) -> None:
    """Folders called `images` do not say that all of them are anomalous.

    Raises:
      DataError: some of their masks mark nothing.
    """
    if not all(says_pictures(kind.name) for kind in anomalous):
        return
    blank = [mask for _, mask in masks.values() if is_blank(mask)]
    if blank:
        raise DataError(
            f"{printable(str(anomalous[0].tree.path))} does not say which pictures are "
            f"normal, and {len(blank)} of {len(masks)} masks mark nothing "
            f"({name_some([mask.name for mask in blank])}); put normal pictures in a "
            "folder called good beside it"
        )


def _item(
    image: Path, mask: Path | None, base: Path, name: str, defect: str, label: int
) -> Item:
    path = image.relative_to(base).as_posix()
    return Item(image, mask, Entry(path, name, defect, label))
