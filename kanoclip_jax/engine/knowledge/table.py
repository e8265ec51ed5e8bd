"""What an inspection of the knowledge base prints: a table, extremes, what eq. 2 does."""

from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
from jaxtyping import Float

from data_pipelines.names import printable
from kanoclip_jax.engine.reporting import tables
from kanoclip_jax.knowledge.statistics import ClassStatistics
from kanoclip_jax.losses import KnowledgeScope, knowledge_loss

_SOURCES = ("llm", "vqa", "template")
_COSINES = {
    "hand-written": ("cos normal", "cos abnormal"),
    "learned": ("cos LNP", "cos LAP"),
}
Means = Mapping[str, Float[np.ndarray, " d"]]
Prompts = Mapping[str, Float[np.ndarray, "c 2 d"]]


def by_class(
    statistics: Mapping[str, ClassStatistics],
    means: Means,
    prompts: Prompts,
    length: int,
) -> list[str]:
    """A line for each class.

    Args:
        statistics: by class id.
        means: unit knowledge means of the classes that have one.
        prompts: unit features of `hand-written` and perhaps `learned` prompts, in the
            order of `statistics`.
        length: tokens that fit.
    """
    given = dict.fromkeys(s for own in statistics.values() for s in own.sources)
    sources = list(dict.fromkeys([*_SOURCES, *given]))
    head = ["class", *sources, "background", "tokens", f"> {length}"]
    head += ["repeated", "in any case"]
    rows = [head + [word for kind in prompts for word in _COSINES[kind]]]
    for position, (name, own) in enumerate(statistics.items()):
        row = [name, *(str(own.sources.get(source, 0)) for source in sources)]
        row += [str(own.background), _spread(own.tokens)]
        row += [str(sum(count > length for count in own.tokens))]
        row += [str(own.repeated), str(own.repeated_folded)]
        for text in prompts.values():
            row += [_cosine(means.get(name), vector) for vector in text[position]]
        rows.append(row)
    return [
        *tables.to_markdown(rows),
        "",
        f"tokens: shortest / median / longest; a text of more than {length} is split",
        "repeated: sentences that are there already, to the letter or in any case",
        "cos: of the class's knowledge mean (eq. 3) with its prompts",
    ]


def extremes(statistics: Mapping[str, ClassStatistics]) -> list[str]:
    """The sentences nearest to each class's mean and farthest from it."""
    lines = []
    for name, own in statistics.items():
        found = (("nearest", own.nearest), ("farthest", own.farthest))
        shown = printable(name)
        lines += ["", shown if own.nearest else f"{shown}: no abnormal sentence"]
        lines += [
            f"  {word:8}  {likeness.cosine:.3f}  {printable(likeness.text)}"
            for word, likeness in found
            if likeness is not None
        ]
    return lines


def activity(
    names: Sequence[str],
    means: Means,
    prompts: Prompts,
    margin: float,
    scope: KnowledgeScope,
) -> list[str]:
    """Whether eq. 2 acts, as it stands with each kind of prompts."""
    rows = [position for position, name in enumerate(names) if name in means]
    if not rows:
        return []
    knowledge = np.stack([means[names[position]] for position in rows])
    lines = []
    for kind, text in prompts.items():
        terms = knowledge_loss(knowledge, text[rows], margin, scope)
        acts = (
            f"for {terms.active * len(rows):.0f} of {len(rows)} classes"
            if scope == "class"
            else ("for the means over classes" if terms.active else "nowhere")
        )
        lines.append(
            f"eq. 2 with {kind} prompts acts {acts} at margin {margin:g}: loss "
            f"{terms.loss:.4f}, distance {terms.distance_abnormal:.3f} to abnormal and "
            f"{terms.distance_normal:.3f} to normal prompts"
        )
    return lines


def _spread(counts: Sequence[int]) -> str:
    if not counts:
        return "–"
    return f"{min(counts)} / {median(counts):g} / {max(counts)}"


def _cosine(mean: np.ndarray | None, prompt: np.ndarray) -> str:
    return "–" if mean is None else f"{mean @ prompt:.3f}"
