"""TFDS builders of the catalogue's datasets, and their prepared copies."""

from data_pipelines.builders.base import AnomalyBuilder
from data_pipelines.builders.btad import BtadBuilder
from data_pipelines.builders.dagm import DagmBuilder
from data_pipelines.builders.mpdd import MpddBuilder
from data_pipelines.builders.mvtec import MvtecBuilder
from data_pipelines.builders.prepared import open_prepared
from data_pipelines.builders.sdd import (
    SddAnomalyclipBuilder,
    SddBuilder,
    SddThirdsBuilder,
)
from data_pipelines.builders.textures import TexturesEvalBuilder, TexturesTrainBuilder
from data_pipelines.builders.visa import VisaBuilder

__all__ = ["BUILDERS", "AnomalyBuilder", "open_prepared"]

BUILDERS: dict[str, type[AnomalyBuilder]] = {
    builder.name: builder
    for builder in (
        MvtecBuilder,
        VisaBuilder,
        MpddBuilder,
        BtadBuilder,
        SddBuilder,
        SddThirdsBuilder,
        SddAnomalyclipBuilder,
        DagmBuilder,
        TexturesTrainBuilder,
        TexturesEvalBuilder,
    )
}
