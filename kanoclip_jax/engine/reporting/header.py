"""The head of a report: what was evaluated, of what training, when and by what."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from kanoclip_jax.engine.reporting.tables import Shown, named

Report = Mapping[str, Any]
# In the foot of every report, for what people bring is not known.
NOT_MEDICAL = (
    "Scores say how unusual a picture is to a model, and may be wrong either way: not a "
    "medical device, not for diagnosis."
)


class Fact(NamedTuple):
    """A line of the head: what it is about, and what is said of it."""

    label: str
    text: str


def title_of(report: Report) -> str:
    """What was evaluated as tables have it; an older report says its name alone."""
    title = report.get("title", report["method"])
    row = report.get("row")
    return named(row, title) if row else title


def facts(report: Report, shown: Shown = str) -> list[Fact]:
    """What there is to say, in reading order; of what nobody knows, nothing.

    Args:
        report: of a run or a suite, maybe an older one.
        shown: how a name is shown that may be anybody's.
    """
    made = report.get("made", {})
    seconds = report["seconds"]
    rows = report.get("rows")
    spent = f"training {seconds['train']:.0f} s, evaluation {seconds['eval']:.0f} s"
    found = {
        "backbone": _backbones(report, shown),
        **(_of_rows(rows, shown) if rows else _of_run(report, shown)),
        "image size": _of_each(rows or {"": report}, _size),
        "time": f"{spent}, on {shown(made['device'])}" if made.get("device") else spent,
        "date": made.get("date", ""),
        "version": _version(made, shown),
        "command": shown(made["command"]) if made.get("command") else "",
    }
    return [Fact(label, text) for label, text in found.items() if text]


def _backbones(report: Report, shown: Shown) -> str:
    """What was frozen: CLIP, and the guide of a method that has one."""
    frozen = {"CLIP": report["clip"], "guide": report.get("guide")}
    return "; ".join(
        f"{title} {shown(found['name'])}, weights {shown(found['fingerprint'][:16])}"
        for title, found in frozen.items()
        if found
    )


def _of_run(report: Report, shown: Shown) -> dict[str, str]:
    checkpoint = report["checkpoint"]
    training = report.get("trained")
    if training is None and checkpoint is None:
        return {"trained on": "nothing: there is nothing to train"}
    return {
        "trained on": _training(training, shown) if training else "",
        "checkpoint": shown(checkpoint) if checkpoint else "none",
    }


def _training(training: Mapping[str, Any], shown: Shown) -> str:
    parts = [shown(training["dataset"])] if "dataset" in training else []
    parts += [_epochs(training)] if "epochs" in training else []
    parts += [f"seed {training['seed']}"] if "seed" in training else []
    return ", ".join(parts)


def _of_rows(rows: Mapping[str, Any], shown: Shown) -> dict[str, str]:
    """What was trained for a suite; its rows may differ in their epochs."""
    trainings = {
        row: list(filter(None, content.get("trained", ())))
        for row, content in rows.items()
    }
    datasets = dict.fromkeys(
        training["dataset"]
        for own in trainings.values()
        for training in own
        if "dataset" in training
    )
    learning = {row: rows[row] for row, own in trainings.items() if own}
    epochs = _of_each(learning, lambda row: _first_epochs(row["trained"]))
    seeds = {seed for content in rows.values() for seed in content["runs"]}
    on = " or ".join(map(shown, datasets))
    return {
        "rows": ", ".join(map(shown, rows)),
        "trained on": f"{on}, {epochs}" if on and epochs else on,
        "seeds": ", ".join(sorted(seeds, key=int)),
    }


def _first_epochs(trainings: Iterable[Mapping[str, Any] | None]) -> str:
    known = (one for one in trainings if one and "epochs" in one)
    return next(map(_epochs, known), "")


def _epochs(training: Mapping[str, Any]) -> str:
    count = training["epochs"]
    return f"{count} epoch{'' if count == 1 else 's'}"


def _size(content: Mapping[str, Any]) -> str:
    side = content.get("image_size")
    return f"{side} × {side} pixels" if side else ""


def _of_each(
    rows: Mapping[str, Mapping[str, Any]], said: Callable[[Mapping[str, Any]], str]
) -> str:
    """What all rows have in common; where they differ, whose is which."""
    by_text: dict[str, list[str]] = {}
    for row, content in rows.items():
        text = said(content)
        if text:
            by_text.setdefault(text, []).append(named(row, content.get("title", row)))
    if len(by_text) < 2:
        return "".join(by_text)
    return "; ".join(f"{text} ({', '.join(whose)})" for text, whose in by_text.items())


def _version(made: Mapping[str, str], shown: Shown) -> str:
    def parts() -> Iterator[str]:
        if made.get("version"):
            yield shown(made["version"])
        commit, dirty, _ = made.get("commit", "").partition("-dirty")
        if commit:
            yield f"commit {shown(commit)}{' with local changes' if dirty else ''}"

    return ", ".join(parts())
