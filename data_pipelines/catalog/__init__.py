"""The catalogue: one card per dataset, found by its id."""

import difflib
from collections.abc import Iterable

from data_pipelines.catalog import industrial, medical, synthetic
from data_pipelines.catalog.card import Card
from data_pipelines.errors import DataError

__all__ = ["CATALOG", "Card", "find_card", "nearest", "select_classes"]

CATALOG: dict[str, Card] = {
    card.id: card for card in (*industrial.CARDS, *medical.CARDS, *synthetic.CARDS)
}


def find_card(dataset: str) -> Card:
    """Returns a dataset's card; raises DataError naming the nearest id."""
    if dataset not in CATALOG:
        raise DataError(
            f"unknown dataset {dataset!r}; {nearest(dataset, CATALOG)}, or use "
            "folder:PATH for a folder of your own"
        )
    return CATALOG[dataset]


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Says which allowed name is meant, or lists them all where none is near."""
    allowed = tuple(allowed)
    folded = {choice.lower(): choice for choice in allowed}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    if close:
        return f"the nearest is {folded[close[0]]!r}"
    return f"allowed are {', '.join(allowed)}"


def select_classes(
    dataset: str, wanted: Iterable[str], available: Iterable[str]
) -> tuple[str, ...]:
    """Keeps the wanted classes in the dataset's order, all where none is named.

    Raises:
      DataError: a wanted class that the dataset lacks, naming the nearest.
    """
    wanted, available = tuple(wanted), tuple(available)
    for name in wanted:
        if name not in available:
            raise DataError(
                f"{dataset} has no class {name!r}; {nearest(name, available)}"
            )
    return tuple(name for name in available if not wanted or name in wanted)
