"""Calibrations on disk: thresholds for one class name of one trained method."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kanoclip_jax.engine.settings import misfits
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import write_atomically

FILE = "calibration.json"
VERSION = 1
# Where the checkpoint's own is looked for, and where none is.
AUTO, NEVER = "auto", "never"


class Thresholds(NamedTuple):
    """What is above them is anomalous; what is equal to them is not.

    Attributes:
        image: of an image's score.
        pixel: of a map's.
    """

    image: float
    pixel: float


@dataclass(frozen=True)
class Calibration:
    """Thresholds and what they were chosen on.

    Attributes:
        class_name: in prompts.
        identity: what scores depend on; see `Trained.identity`.
        image, pixel: the thresholds with their rates and intervals.
        facts: settings and counts, for the reader of the file.
    """

    class_name: str
    identity: Mapping[str, Any]
    image: Mapping[str, Any]
    pixel: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def thresholds(self) -> Thresholds:
        """The two numbers."""
        return Thresholds(self.image["threshold"], self.pixel["threshold"])

    def misfits(self, identity: Mapping[str, Any]) -> list[str]:
        """What differs from a method; keys that only newer versions know do not."""
        return misfits(self.identity, identity)


def find_calibrations(
    setting: str, folders: Sequence[Path | None], identity: Mapping[str, Any]
) -> tuple[Calibration, ...]:
    """The calibrations of a method.

    Args:
        setting: `auto`, `never`, or a file.
        folders: where `auto` looks, the first first.
        identity: of the method.

    Returns:
        Those that belong to it. With `auto`, what belongs to another is named and left
        out.

    Raises:
        InputError: the file that was named is not there, damaged, or holds none for it.
    """
    if setting == NEVER:
        return ()
    files = [Path(folder) / FILE for folder in folders if folder]
    if setting != AUTO:
        files = [Path(setting).expanduser()]
    found: dict[str, Calibration] = {}
    others: dict[Path, Calibration] = {}
    for file in files:
        if setting == AUTO and not file.is_file():
            continue
        for calibration in read_calibrations(file):
            if calibration.misfits(identity):
                others[file] = calibration
            else:
                found.setdefault(calibration.class_name, calibration)
    for file, calibration in others.items():
        if found:
            break
        differs = ", ".join(calibration.misfits(identity)[:3])
        message = (
            f"{file} was made with another {differs}; calibrate again with "
            "--mode=calibrate"
        )
        if setting != AUTO:
            raise InputError(message)
        print(f"no thresholds: {message}")
    if setting != AUTO and not found:
        raise InputError(f"{files[0]} holds no calibration; see --mode=calibrate")
    return tuple(found.values())


def read_calibrations(file: Path) -> list[Calibration]:
    """All calibrations of a file.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["v"] != VERSION:
            raise ValueError(f"version {content['v']}, not {VERSION}")
        found = [Calibration(**entry) for entry in content["calibrations"]]
        for calibration in found:
            if not all(0 <= float(value) <= 1 for value in calibration.thresholds):
                raise ValueError(f"thresholds {calibration.thresholds}")
        return found
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror}); name a {FILE} of "
            "--mode=calibrate"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is no {FILE} ({error}); make it anew with --mode=calibrate"
        ) from None


def save_calibration(calibration: Calibration, folders: Sequence[Path | None]) -> Path:
    """Store a calibration in the first folder that can be written to.

    Others of the same file are kept; one of the same class name and method is replaced.

    Args:
        calibration: what to store.
        folders: beside the checkpoint first, then the working directory.

    Raises:
        InputError: none can be written to, or the file there is damaged.
    """
    refused: list[str] = []
    for folder in folders:
        if folder is None:
            continue
        file = folder / FILE
        kept = [
            other
            for other in (read_calibrations(file) if file.is_file() else ())
            if other.class_name != calibration.class_name
            or other.misfits(calibration.identity)
        ]
        content = {
            "v": VERSION,
            "calibrations": [vars(entry) for entry in (*kept, calibration)],
        }
        try:
            write_atomically(file, (json.dumps(content, indent=2) + "\n").encode())
        except OSError as error:
            refused.append(f"{file} cannot be written ({error.strerror})")
        else:
            for reason in refused:
                print(f"{reason}, so the calibration lies in {file}")
            return file
    raise InputError(f"{'; '.join(refused)}; pass another --workdir")
