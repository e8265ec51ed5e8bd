"""The COVID-19 Radiography Database in its first and its later releases, all images.

Chowdhury et al., Can AI Help in Screening Viral and COVID-19 Pneumonia?, IEEE Access 8,
2020. Its licence is unclear.
"""

from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import Survey
from data_pipelines.builders.kinds import KindsBuilder, survey_kinds
from data_pipelines.errors import DataError
from data_pipelines.layouts import find_folder

_OPTIONAL = {
    "viral_pneumonia": ("viral pneumonia", "viral_pneumonia"),
    "lung_opacity": ("lung_opacity", "lung opacity"),
}


class Covid19Builder(KindsBuilder):
    """COVID-19: `{NORMAL,COVID-19}/*.png`, later `{Normal,COVID}/images/*.png`.

    The `masks` of later releases outline the lungs, not anomalies.
    """

    name: ClassVar[str] = "covid19"
    layout: ClassVar[str] = (
        "{NORMAL,COVID-19}/*.png (first release) or {Normal,COVID}/images/*.png"
    )
    kinds: ClassVar = {"good": ("normal",), "covid-19": ("covid-19", "covid")}

    @classmethod
    def survey_folder(
        cls, folder: Path, classes: tuple[str, ...], include: tuple[str, ...] = ()
    ) -> Survey:
        """Lists the X-rays, normal ones first.

        Args:
          folder: Where the dataset's content begins.
          classes: The only class.
          include: Other findings that count as anomalous too: `viral_pneumonia`,
            `lung_opacity`. They are left out otherwise, as in the published tables.

        Returns:
          The survey.

        Raises:
          DataError: an unknown finding, or one that this release lacks.
        """
        for finding in include:
            if finding not in _OPTIONAL:
                raise DataError(
                    f"data.covid19_include has {finding!r}; allowed are "
                    f"{' and '.join(_OPTIONAL)}"
                )
            if not find_folder(folder, *_OPTIONAL[finding]):
                raise DataError(
                    f"{folder} has no folder {_OPTIONAL[finding][0]!r} (in any case) "
                    f"for {finding!r}; leave it out of --config.data.covid19_include"
                )
        kinds = {kind: _OPTIONAL[kind] for kind in _OPTIONAL if kind in include}
        others = (name for names in _OPTIONAL.values() for name in names)
        return survey_kinds(folder, classes, {**cls.kinds, **kinds}, tuple(others))
