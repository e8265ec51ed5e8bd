"""Preparation: datasets checked, counted and converted, a CLIP turned into safetensors."""

from collections import Counter
from pathlib import Path

from ml_collections import FrozenConfigDict
from safetensors import SafetensorError

from data_pipelines.catalog import CATALOG
from data_pipelines.checks import SAMPLE
from data_pipelines.errors import AbsentError
from data_pipelines.locks import hold
from data_pipelines.sources import Source
from kanoclip_jax.backbones.convert import to_safetensors
from kanoclip_jax.backbones.locate import TORCH, locate, locate_guide, weights_file
from kanoclip_jax.engine.auxiliary import classes_by_dataset
from kanoclip_jax.engine.build import open_dataset
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import reason
from kanoclip_jax.models import method_class


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Prepare every dataset that the configuration names, and the backbones.

    Raises:
        AbsentError: none of the datasets is there.
    """
    del workdir, overrides
    wanted: dict[str, tuple[str, ...]] = {}
    for joined in (config.train.dataset, config.train.second_dataset):
        wanted |= classes_by_dataset(config, joined, config.train.classes)
    for name in config.eval.datasets:
        wanted.setdefault(name, config.eval.classes)
    absent: list[AbsentError] = []
    for dataset, classes in wanted.items():
        try:
            # Copies hold what is published; of folders nobody knows.
            most = SAMPLE if dataset in CATALOG else None
            source = open_dataset(config, dataset, classes, most=most)
        except AbsentError as error:
            absent.append(error)
        else:
            print("\n".join(_table(dataset, source)))
    if len(absent) == len(wanted):
        raise absent[0]
    for error in absent:
        print(f"\n{error}")
    folder = Path(config.data.prepared) / "clip"
    directory = _converted(config.clip.name, folder)
    if directory != locate(config.clip.name):
        print(f"\nCLIP converted; from now on: --config.clip.name={directory}")
    if "guide" in method_class(config.method).backbones:
        print(f"\nguide: {locate_guide(config.guide.name)}")
    return 0


def _converted(name: str, folder: Path) -> Path:
    """The directory of a CLIP in a safe format, written to `folder` where it is not.

    Raises:
        InputError: it cannot be written.
    """
    if weights_file(locate(name)).suffix not in TORCH:
        return locate(name)
    remedy = "choose another folder with --config.data.prepared=DIR"
    with hold(folder, "prepare", remedy=remedy, wait=True):
        try:
            return to_safetensors(name, folder)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{folder} cannot be written ({reason(error)}); {remedy}"
            ) from error


def _table(dataset: str, source: Source) -> list[str]:
    """What was found, class by class, beside what is published."""
    counts = Counter((entry.class_name, entry.label) for entry in source.index)
    published = CATALOG[dataset].counts if dataset in CATALOG else {}
    width = max(map(len, (*source.classes, "class")))
    about = "" if source.has_masks else " (no masks)"
    lines = ["", f"{dataset}{about}"]
    lines.append(f"  {'class':{width}}  normal  anomalous  published")
    for name in source.classes:
        found = f"  {name:{width}}  {counts[name, 0]:6}  {counts[name, 1]:9}"
        known = "{} / {}".format(*published[name]) if name in published else ""
        lines.append(f"{found}  {known:>9}".rstrip())
    return lines
