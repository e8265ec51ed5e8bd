"""The card: what is published about a dataset."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """What is published about a dataset.

    Attributes:
      id: Name on the command line and of the folder below the data root.
      title: Name in reports.
      description: What it shows, in one sentence.
      domain: `industrial`, `medical` or `synthetic`.
      classes: Class id to the name used in prompts, in the dataset's order.
      has_masks: Whether anomalous images carry masks.
      split: Which of its images are used: those that the published tables use.
      counts: Class id to (normal, anomalous) images of the published test split; empty
        where there is none.
      licence: Under which its images may be used.
      citation: What to cite.
      homepage: Where to get it.
      size: Of the download, for people.
      total: (normal, anomalous) images of all classes, where only these are published.
    """

    id: str
    title: str
    description: str
    domain: str
    classes: dict[str, str]
    has_masks: bool
    split: str
    counts: dict[str, tuple[int, int]]
    licence: str
    citation: str
    homepage: str
    size: str
    total: tuple[int, int] | None = None
