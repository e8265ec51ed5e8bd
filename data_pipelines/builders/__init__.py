"""TFDS builders of the catalogue's datasets, and their prepared copies."""

from data_pipelines.builders.base import AnomalyBuilder
from data_pipelines.builders.bmad import BrainMriBuilder, LiverCtBuilder, RescBuilder
from data_pipelines.builders.btad import BtadBuilder
from data_pipelines.builders.covid19 import Covid19Builder
from data_pipelines.builders.dagm import DagmBuilder
from data_pipelines.builders.dtd import DtdSyntheticBuilder
from data_pipelines.builders.headct import HeadCtBuilder
from data_pipelines.builders.kinds import Br35hBuilder, BrainMriKaggleBuilder
from data_pipelines.builders.lesions import (
    ClinicDbBuilder,
    ColonDbBuilder,
    IsicBuilder,
    Tn3kBuilder,
)
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
        DtdSyntheticBuilder,
        BrainMriBuilder,
        LiverCtBuilder,
        RescBuilder,
        Br35hBuilder,
        BrainMriKaggleBuilder,
        HeadCtBuilder,
        Covid19Builder,
        IsicBuilder,
        ColonDbBuilder,
        ClinicDbBuilder,
        Tn3kBuilder,
        TexturesTrainBuilder,
        TexturesEvalBuilder,
    )
}
