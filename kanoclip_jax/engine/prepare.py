"""Preparation: datasets checked and converted, a CLIP turned into safetensors."""

from collections import Counter
from pathlib import Path

from ml_collections import FrozenConfigDict

from data_pipelines.sources import Source
from kanoclip_jax.clip.convert import to_safetensors
from kanoclip_jax.clip.locate import locate
from kanoclip_jax.engine.build import open_dataset


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Prepare the backbone and every dataset that the configuration names."""
    del workdir, overrides
    folder = Path(config.data.prepared) / "clip"
    directory = to_safetensors(config.clip.name, folder)
    if directory != locate(config.clip.name):
        print(f"CLIP converted; from now on: --config.clip.name={directory}")
    sources = {
        dataset: open_dataset(config, dataset, classes)
        for dataset, classes in (
            (config.train.dataset, config.train.classes),
            *((dataset, config.eval.classes) for dataset in config.eval.datasets),
        )
    }
    for dataset, source in sources.items():
        print("\n".join(_table(dataset, source)))
    return 0


def _table(dataset: str, source: Source) -> list[str]:
    counts = Counter((entry.class_name, entry.label) for entry in source.index)
    width = max(map(len, source.classes))
    lines = ["", f"{dataset}{'' if source.has_masks else ' (no masks)'}"]
    for name in source.classes:
        normal, anomalous = counts[name, 0], counts[name, 1]
        lines.append(f"  {name:{width}}  {normal:5} normal  {anomalous:5} anomalous")
    return lines
