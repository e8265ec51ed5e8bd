"""The embedded procedural textures as prepared datasets; they need no data root."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from data_pipelines import textures
from data_pipelines.builders.base import AnomalyBuilder, Survey
from data_pipelines.records import Record


class TexturesBuilder(AnomalyBuilder, skip_registration=True):
    """Procedural textures with exact defect masks, seed 0."""

    needs_root: ClassVar[bool] = False
    part: ClassVar[textures.Split]

    @classmethod
    def survey_folder(cls, folder: Path, classes: tuple[str, ...]) -> Survey:
        """Lists the generator's own source: the pictures change only with it."""
        del folder
        sources = sorted(Path(textures.__file__).parent.glob("*.py"))
        listing = tuple(
            (path.name, len(text), zlib.crc32(text))
            for path in sources
            for text in (path.read_bytes(),)
        )
        return Survey(classes=classes, missing=(), items=(), listing=listing)

    def count(self) -> int:
        """Returns the number of pictures of the chosen classes."""
        every = {"train": textures.TRAIN_CLASSES, "eval": textures.EVAL_CLASSES}
        each = textures.count(self.part) // len(every[self.part])
        return each * len(self.survey.classes)

    def candidates(self) -> Iterator[Record]:
        """Paints the pictures of the chosen classes."""
        for record in textures.generate(self.part):
            if record["class_name"] in self.survey.classes:
                yield Record(**record)

    def record(self, candidate: Record) -> Record:
        """Returns the picture, which is a record already."""
        return candidate


class TexturesTrainBuilder(TexturesBuilder):
    """Procedural textures to train on."""

    name: ClassVar[str] = "textures_train"
    part: ClassVar[textures.Split] = "train"


class TexturesEvalBuilder(TexturesBuilder):
    """Procedural textures to evaluate on; no surface is shared with training."""

    name: ClassVar[str] = "textures_eval"
    part: ClassVar[textures.Split] = "eval"
