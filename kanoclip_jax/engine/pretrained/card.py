"""The model card: what a head is, what it was made of and what it is not for."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCardData

from data_pipelines.catalog import CATALOG
from data_pipelines.names import markdown, markdown_code, readable
from kanoclip_jax.engine.prediction.calibration import Calibration
from kanoclip_jax.engine.pretrained import public
from kanoclip_jax.engine.pretrained.hub import is_id
from kanoclip_jax.engine.reporting.tables import COLUMNS, percent, to_markdown
from kanoclip_jax.engine.settings import datasets_of
from kanoclip_jax.models.base import Method
from kanoclip_jax.verdict import shown

_LIBRARY = "kanoclip-jax"
# Licences of pictures as the hub knows them.
_LICENCES = {
    "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
    "CC BY 4.0": "cc-by-4.0",
    "CC0": "cc0-1.0",
}
# What owners of weights say of them, by the beginning of their names.
_TERMS = {
    "openai/clip-": (
        "OpenAI's code is MIT; whether that covers the weights has been an open question "
        "since 2021. Its model card puts any deployed use, commercial or not, out of "
        "scope, and a detector on these weights inherits that"
    ),
    "facebook/dinov2": "Apache-2.0, © Meta Platforms, Inc. and affiliates",
    "demo": (
        "MIT, bundled with the package; it has seen nothing but procedural textures and "
        "is of no use on photographs"
    ),
}
_NO_TERMS = "it has a licence of its own, which its owner's page states"
_MEDICAL = (
    "**Not a medical device, not for diagnosis.** A score of a medical picture is a "
    "research result."
)


class Licence(NamedTuple):
    """Under which a head is handed on.

    Attributes:
        id: as the hub knows it, or `other`.
        about: why this one.
    """

    id: str
    about: str


def licence_of(given: str, datasets: Sequence[str]) -> Licence:
    """A head's licence: as given, or that of all pictures it learned from.

    Args:
        given: an id of the hub's list, such as `apache-2.0`; empty takes the pictures'.
        datasets: what it was trained on.
    """
    if given:
        return Licence(given, "as whoever saved it says")
    found = {_of_pictures(dataset) for dataset in datasets} or {"other"}
    if found == {"mit"}:
        return Licence("mit", "its pictures were painted by the package itself")
    if len(found) == 1 and "other" not in found:
        return Licence(
            found.pop(),
            "that of the pictures it was trained on. Whether a licence of pictures "
            "reaches weights is disputed: decide, or ask",
        )
    return Licence(
        "other", "none was stated, and the pictures that it learned from have their own"
    )


def render(
    meta: Mapping[str, Any],
    report: Mapping[str, Any] | None,
    calibrations: Sequence[Calibration],
    method: Method,
    *,
    name: str,
    licence: str = "",
) -> str:
    """The card as Markdown behind its YAML; no folder of the machine is named.

    Args:
        meta: what `config.json` says.
        report: of its evaluation, None where there is none.
        calibrations: its thresholds.
        method: what it is.
        name: the folder's, or the repository's.
        licence: see `licence_of`.
    """
    datasets = datasets_of(public.dataset(meta.get("dataset", "")))
    terms = licence_of(licence, datasets)
    blocks = [
        f"---\n{_yaml(meta, report, method, datasets, terms, name)}\n---",
        *_introduction(meta, method, datasets),
        "## Load it",
        *_loading(calibrations),
        "## What it was trained on",
        *_data(meta, datasets),
        "## How it was trained",
        _training(meta),
        "## What it finds",
        *_figures(report, datasets),
        "## Thresholds",
        _thresholds(calibrations),
        "## The backbone, which is not in this folder",
        *_backbones(method),
        "## Limits",
        _limits(method),
        "## Licence",
        f"{markdown_code(terms.id)}: {terms.about}.",
    ]
    return "\n\n".join(blocks) + "\n"


def _of_pictures(dataset: str) -> str:
    card = CATALOG.get(dataset)
    if card is None:
        return "other"
    return "mit" if card.domain == "synthetic" else _LICENCES.get(card.licence, "other")


def _yaml(
    meta: Mapping[str, Any],
    report: Mapping[str, Any] | None,
    method: Method,
    datasets: Sequence[str],
    terms: Licence,
    name: str,
) -> str:
    """The front matter, by the hub's own writer."""
    results = [
        EvalResult(
            task_type="image-segmentation",
            task_name="zero-shot anomaly detection",
            dataset_type=dataset,
            dataset_name=_title(dataset),
            metric_type=column,
            metric_name=title,
            metric_value=round(result["mean"][column], 4),
        )
        for dataset, result in (report or {"datasets": {}})["datasets"].items()
        for column, title in COLUMNS.items()
        if result["mean"][column] is not None
    ]
    names = [found["name"] for found in method.backbone_identity().values()]
    data = ModelCardData(
        license=terms.id,
        library_name=_LIBRARY,
        pipeline_tag="image-segmentation",
        tags=["anomaly-detection", "zero-shot", "jax", meta["config"]["method"]],
        datasets=[d for d in datasets if d in CATALOG] or None,
        metrics=list(dict.fromkeys(r.metric_type for r in results)) or None,
        base_model=[n for n in names if is_id(n)] or None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml().strip()


def _introduction(
    meta: Mapping[str, Any], method: Method, datasets: Sequence[str]
) -> Iterator[str]:
    on = f", trained on {_and(map(_title, datasets))}" if datasets else ""
    yield f"# {markdown(method.title)}{markdown(on)}"
    named = _and(
        f"{field.upper()} {markdown_code(public.place(found['name']))}"
        for field, found in method.backbone_identity().items()
    )
    what, also = "Settings of a method that learns nothing,", ""
    if meta["parameters"]:
        what = f"A head of {meta['parameters']:,} parameters"
        also = ", also of things that it was never trained on"
    yield (
        f"{what} for zero-shot anomaly detection on the frozen {named}: it scores pictures "
        f"and outlines what is wrong in them{also}. Saved by {_LIBRARY} "
        f"{meta['saved_with'][_LIBRARY]}."
    )
    yield _MEDICAL


def _loading(calibrations: Sequence[Calibration]) -> Iterator[str]:
    known = readable(calibrations[0].class_name) if calibrations else "metal nut"
    yield (
        f"`pip install {_LIBRARY}`; then, with this folder's place or its id on the hub:"
    )
    yield (
        "```python\n"
        "from kanoclip_jax import Detector\n\n"
        'detector = Detector.from_pretrained("FOLDER or USER/NAME")\n'
        f'print(detector.predict("picture.png", class_name={json.dumps(known)}).score)\n'
        "```"
    )
    yield (
        "Every command of the package takes it as `--config.checkpoint`, too. Changed "
        "files and another backbone are refused."
    )


def _data(meta: Mapping[str, Any], datasets: Sequence[str]) -> Iterator[str]:
    if not datasets:
        yield (
            "That was not known where it was saved."
            if meta["parameters"]
            else "Nothing: it learns nothing."
        )
        return
    rows = [["dataset", "licence of its pictures", "cite"]]
    for dataset in datasets:
        card = CATALOG.get(dataset)
        own = [card.licence, card.citation] if card else ["its owner's", "–"]
        rows.append([_title(dataset), *own])
    yield _table(rows)
    if meta.get("classes"):
        yield f"Classes: {markdown(_and(map(readable, meta['classes'])))}."


def _training(meta: Mapping[str, Any]) -> str:
    facts, train = [], meta.get("train", {})
    steps = meta.get("data", {}).get("next_index")
    if steps and train:
        facts.append(f"{steps} steps of {train['batch_size']} pictures")
    if train:
        facts.append(f"{train['epochs']} epochs")
        facts.append(
            f"Adam at {train['prompt_learning_rate']:g} (prompts) and "
            f"{train['learning_rate']:g} (all else)"
        )
    if "seed" in meta:
        facts.append(f"seed {meta['seed']}")
    if meta.get("seconds"):
        facts.append(f"{meta['seconds']:.0f} s of training")
    size = meta["config"]["clip"]["image_size"]
    facts.append(f"pictures squared to {size} px")
    origin = f"Saved from {_step(meta['origin'])}. " if meta["origin"] else ""
    said = "; ".join(facts)
    return f"{origin}{said[:1].upper()}{said[1:]}. All settings are in `config.json`."


def _step(origin: str) -> str:
    return f"step {origin}" if origin.isdecimal() else markdown_code(origin)


def _figures(
    report: Mapping[str, Any] | None, trained_on: Sequence[str]
) -> Iterator[str]:
    if report is None or not report["datasets"]:
        yield "No report lay beside the checkpoint, so nothing is claimed here."
        return
    yield "Means over classes in percent; each class's figures are in `report.json`."
    rows = [["dataset", "normal", "anomalous", *COLUMNS.values()]]
    notes = []
    for dataset, result in report["datasets"].items():
        mean = result["mean"]
        counts = [str(mean[kind]) for kind in ("normal", "anomalous")]
        title = _title(dataset) + (" (trained on)" if dataset in trained_on else "")
        rows.append([title, *counts, *(percent(mean[c]) for c in COLUMNS)])
        notes += [f"- {_title(dataset)}: {note}" for note in result.get("notes", ())]
    yield _table(rows)
    if notes:
        yield "\n".join(map(markdown, notes))


def _thresholds(calibrations: Sequence[Calibration]) -> str:
    if not calibrations:
        return (
            "None are in this folder, so scores have no labels: choose some on normal "
            "pictures of your own with `--mode=calibrate`."
        )
    rows = [["class", "image", "pixel", "chosen on"]]
    for found in calibrations:
        facts = found.facts
        count = f"{facts.get('normal', '?')} normal, {facts.get('anomalous', '?')} anomalous"
        limits = found.thresholds
        rows.append([found.class_name, shown(limits.image), shown(limits.pixel), count])
    return (
        f"{_table(rows)}\n\nThey are of the pictures they were chosen on: another camera "
        "or light needs its own."
    )


def _backbones(method: Method) -> Iterator[str]:
    for field, found in method.backbone_identity().items():
        name = public.place(found["name"])
        terms = next((t for k, t in _TERMS.items() if name.startswith(k)), _NO_TERMS)
        yield (
            f"{field.upper()} {markdown_code(name)}, weights "
            f"{markdown_code(found['fingerprint'][:16])}. Licence: {terms}."
        )
    yield (
        "It is looked for under that name; where it lies elsewhere, pass its folder: "
        f'`Detector.from_pretrained(…, {method.backbones[0]}="FOLDER")`.'
    )


def _limits(method: Method) -> str:
    size, patch = method.image_size, method.clip.patch
    squashed = (
        f"Pictures are squashed to {size} px, and what is smaller than a patch of "
        f"{patch} px there is not seen; `tiles` cuts large ones into windows."
    )
    ranks = (
        "A score is no probability: it ranks pictures of one class. Thresholds belong to "
        "one class, this head and one way of reading pictures."
    )
    unlike = (
        "It finds what looks unlike the normal; what is missing, or wrong only by count "
        "or meaning, it may not find. Try it on pictures of your own first."
    )
    limits = (_MEDICAL, squashed, ranks, unlike)
    return "\n".join(f"- {limit}" for limit in limits)


def _title(dataset: str) -> str:
    if dataset in CATALOG:
        return CATALOG[dataset].title
    return dataset.removeprefix("folder:")


def _table(rows: list[list[str]]) -> str:
    return "\n".join(to_markdown(rows, markdown))


def _and(names: Iterable[str]) -> str:
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last
