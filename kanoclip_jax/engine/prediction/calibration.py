"""Calibrations on disk: thresholds for one class name of one trained method."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipelines.digests import seal, unseal
from data_pipelines.errors import DataError
from data_pipelines.locks import hold
from data_pipelines.names import canonical
from kanoclip_jax import documents
from kanoclip_jax.engine import shapes
from kanoclip_jax.engine.prediction.identity import misfits
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import reason, write_atomically
from kanoclip_jax.verdict import Thresholds

FILE = "calibration.json"
_VERSION = 1
# Where the checkpoint's own is looked for, and where none is.
AUTO, NEVER = "auto", "never"
_LOCK = f".{FILE}.lock"
_REMEDY = "pass another --workdir"


@dataclass(frozen=True)
class Calibration:
    """Thresholds and what they were chosen on.

    Attributes:
        class_name: in prompts.
        identity: what scores depend on; see `Trained.identity`.
        image, pixel: the thresholds with their rates and intervals.
        facts: settings and counts, for the reader of the file.
        scale: of pictures, where colour begins and ends; None in files that are older
            than scales.
    """

    class_name: str
    identity: Mapping[str, Any]
    image: Mapping[str, Any]
    pixel: Mapping[str, Any]
    facts: Mapping[str, Any]
    scale: Mapping[str, float] | None = None

    @property
    def thresholds(self) -> Thresholds:
        """The two numbers."""
        return Thresholds(self.image["threshold"], self.pixel["threshold"])

    @property
    def saturates(self) -> float | None:
        """The score from which on colours are the strongest, where it is known."""
        return None if self.scale is None else self.scale["end"]

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
                found.setdefault(canonical(calibration.class_name), calibration)
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
    """All calibrations of a file; of two for one name, the newer.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    content = documents.read(
        file,
        shapes.CALIBRATIONS,
        f"name a {FILE} of --mode=calibrate, or remove it and make it anew",
        opened=unseal,
    )
    keys = [field.name for field in dataclasses.fields(Calibration)]
    found = [
        Calibration(**{key: entry[key] for key in keys if key in entry})
        for entry in content["calibrations"]
    ]
    # Older versions told names apart that make the same prompts.
    for older, newer in itertools.combinations(tuple(found), 2):
        same = canonical(older.class_name) == canonical(newer.class_name)
        if same and older.identity == newer.identity and older in found:
            found.remove(older)
            print(
                f"{file} has thresholds for {older.class_name!r} and, made later, for "
                f"{newer.class_name!r}, which is the same to the model; the latter hold"
            )
    return found


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
        try:
            # Another calibration may be reading, adding to and writing it now.
            with hold(folder, "calibrate", remedy=_REMEDY, wait=True, name=_LOCK):
                _add(calibration, file)
        except DataError as error:
            refused.append(str(error).removesuffix(f"; {_REMEDY}"))
        except OSError as error:
            refused.append(f"{file} cannot be written ({reason(error)})")
        else:
            for message in refused:
                print(f"{message}, so the calibration lies in {file}")
            return file
    raise InputError(f"{'; '.join(refused)}; {_REMEDY}")


def _add(calibration: Calibration, file: Path) -> None:
    kept = [
        other
        for other in (read_calibrations(file) if file.is_file() else ())
        if canonical(other.class_name) != canonical(calibration.class_name)
        or other.misfits(calibration.identity)
    ]
    write_atomically(file, to_document((*kept, calibration)))


def to_document(calibrations: Iterable[Calibration]) -> bytes:
    """What a file of calibrations holds, sealed.

    What an older one does not say is left out.
    """
    entries = [
        {key: value for key, value in vars(calibration).items() if value is not None}
        for calibration in calibrations
    ]
    content = seal({"v": _VERSION, "calibrations": entries})
    return (json.dumps(content, indent=2) + "\n").encode()
