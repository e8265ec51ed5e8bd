"""What is trained on: one dataset, or several as one."""

from ml_collections import FrozenConfigDict

from data_pipelines.sources import JoinedSource, Source, share_classes
from kanoclip_jax.engine.build import open_dataset, place
from kanoclip_jax.engine.settings import datasets_of
from kanoclip_jax.errors import InputError


def classes_by_dataset(
    config: FrozenConfigDict, datasets: str, classes: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """What to keep of each dataset.

    Args:
        config: where they lie.
        datasets: one id, or several with commas between.
        classes: keep these only, of whichever has them; all where empty.

    Raises:
        InputError: two ids are of one dataset.
        DataError: a class that none has, or a dataset of which nothing would stay.
    """
    names = datasets_of(datasets)
    if len(names) < 2:
        return dict.fromkeys(names, classes)
    where: dict[object, str] = {}
    for name in names:
        other = where.setdefault(place(config, name), name)
        if other != name:
            raise InputError(
                f"{other} and {name} are one dataset, and training takes each once; "
                "leave one of them out"
            )
    return share_classes(names, classes, config.data.normal_folders)


def open_auxiliary(
    config: FrozenConfigDict, datasets: str, classes: tuple[str, ...]
) -> Source:
    """Open what is trained on; several datasets are joined in the order given.

    Args:
        config: where they are, and what of them counts.
        datasets: one id, or several with commas between.
        classes: keep these only, of whichever has them; all where empty.

    Raises:
        InputError: none is named, or one twice.
        DataError: one is absent or no good, or a class that none has.
    """
    shares = classes_by_dataset(config, datasets, classes)
    if not shares:
        raise InputError(
            "no dataset is named to learn from; name one with --config.train.dataset"
        )
    parts = [open_dataset(config, name, own) for name, own in shares.items()]
    return parts[0] if len(parts) == 1 else JoinedSource(parts)


def refuse_without_masks(source: Source) -> None:
    """Training needs masks of every dataset.

    Raises:
        InputError: one has none.
    """
    for part in source.parts:
        if not part.has_masks:
            raise InputError(
                f"{part.dataset} has no masks; training needs them, so name a dataset "
                "with masks in --config.train.dataset"
            )
