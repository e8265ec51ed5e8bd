"""How a dataset on disk differs from the published one, as warnings or as an error."""

from collections import Counter
from collections.abc import Iterable, Iterator

from data_pipelines.catalog import Card
from data_pipelines.errors import DataError
from data_pipelines.names import name_some
from data_pipelines.notices import warn_once
from data_pipelines.records import Entry, Source

_MOST_NAMED = 5


def compare_counts(card: Card, index: Iterable[Entry]) -> Iterator[str]:
    """Yields how the counts differ from the published ones.

    Args:
      card: The dataset; where nothing is published, nothing differs.
      index: What there is of it; classes without a record are not compared.

    Yields:
      One line per difference.
    """
    found = Counter((entry.class_name, entry.label) for entry in index)
    present = [name for name in card.classes if found[name, 0] or found[name, 1]]
    for name in present:
        here = found[name, 0], found[name, 1]
        published = card.counts.get(name, here)
        if here != published:
            yield _difference(f"{card.id} class {name}", here, published)
    if card.total and len(present) == len(card.classes):
        here = tuple(sum(found[name, label] for name in present) for label in (0, 1))
        if here != card.total:
            yield _difference(card.id, here, card.total)


def _difference(what: str, here: tuple[int, ...], published: tuple[int, ...]) -> str:
    return (
        f"{what} has {here[0]} normal and {here[1]} anomalous images, published are "
        f"{published[0]} and {published[1]}"
    )


def refuse_differences(source: Source) -> None:
    """Raises DataError where the copy is not the published one."""
    missing = [f"{source.dataset} lacks the class {n}" for n in source.missing_classes]
    found = (*source.differences, *missing, *source.skipped)
    if found:
        raise DataError(
            f"{found[0]} ({len(found)} differences from the published dataset); "
            "complete the copy, or accept it with --config.data.strict=False"
        )


def warn_of_differences(source: Source, root: str) -> None:
    """Logs in one line whatever is not as it should be, once in a process."""
    said = list(source.differences[:1])
    if more := source.differences[1:]:
        plural = "" if len(more) == 1 else "s"
        said.append(f"{len(more)} more such difference{plural}")
    if source.missing_classes:
        missing = name_some(source.missing_classes)
        said.append(f"{source.dataset} in {root} lacks the classes {missing}")
    if source.skipped:
        said.append(f"{source.dataset}: skipped {len(source.skipped)} files")
    if source.strays:
        named = name_some(source.strays, _MOST_NAMED)
        what = "left out what is not part of its layout"
        said.append(f"{source.dataset}: {what}: {named}")
    if said:
        warn_once("; ".join(said))
