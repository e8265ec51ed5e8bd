"""Short forms spelt out: what `kanoclip predict PHOTOS --checkpoint=DIR` means in full."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from kanoclip_jax.command.arguments import Arguments, Flag
from kanoclip_jax.command.options import MODES, check_mode, setting_of
from kanoclip_jax.configs import base
from kanoclip_jax.errors import InputError

_CONFIG = "config"
_SETTING = "config."
_SWITCHED_OFF = "noconfig."
_FOLDER = "folder:"


@dataclass(frozen=True)
class Command:
    """A command in its long form.

    Attributes:
        mode: what to do.
        config: the configuration, as `--config` names it; empty where the checkpoint's
            own is used.
        name: under which results go, where `--config` does not say it; else empty.
        settings: the flags `--config.KEY=VALUE`,
        flags: and all other ones.
    """

    mode: str
    config: str
    name: str
    settings: tuple[Flag, ...]
    flags: tuple[Flag, ...]

    def value(self, key: str) -> str:
        """What the command line says of a setting, last; empty where nothing."""
        given = [flag.value for flag in self.settings if flag.name == _SETTING + key]
        return (given[-1] or "") if given else ""

    @property
    def workdir(self) -> Path:
        """Where results go, where `--workdir` does not say it.

        runs/NAME of a configuration that is named. Else runs/RUN for what belongs to a
        model, and runs/RUN/INPUT for what is found in pictures, by the model's name and
        by theirs.
        """
        runs = Path("runs")
        if not self.name:
            return runs / Path(self.config.partition(":")[0]).stem
        subject = MODES[self.mode].subject
        given = self.value(subject) if subject and self.mode != "calibrate" else ""
        if self.mode == "eval" and not given.startswith(_FOLDER):
            given = ""
        return runs / self.name / _name_of_input(given) if given else runs / self.name


def spell(arguments: Arguments) -> Command:
    """The long form of a command.

    Args:
        arguments: whose first word may be a mode; then the others are its subject.

    Raises:
        InputError: a word too many, a flag of another mode, or nothing that says what
            is to run.
    """
    words, flags = list(arguments.words), list(arguments.flags)
    mode = next(
        (flag.value or "" for flag in reversed(flags) if flag.name == "mode"), ""
    )
    short = bool(words) and not mode
    if short:
        mode = words.pop(0)
    mode = mode or "train"
    check_mode(mode)
    config = next((f.value or "" for f in reversed(flags) if f.name == _CONFIG), "")
    settings: list[Flag] = []
    if words and MODES[mode].subject:
        key = MODES[mode].subject
        settings.append(Flag(_SETTING + key, _subject(mode, words)))
    elif words and not config and len(words) == 1:
        config = words.pop()
    elif words:
        raise InputError(_surplus(words[0]))
    rest: list[Flag] = []
    method = ""
    for flag in flags:
        if flag.name.startswith((_SETTING, _SWITCHED_OFF)):
            settings.append(flag)
        elif key := setting_of(flag.name, mode):
            if key == "method":
                method = flag.value or ""
            else:
                settings.append(Flag(_SETTING + key, flag.value))
        elif flag.name != _CONFIG:
            rest.append(flag)
    command = Command(mode, config, "", tuple(settings), tuple(rest))
    return _complete(command, method, short)


def _complete(command: Command, method: str, short: bool) -> Command:
    """Say what runs: a configuration, a row of it, or what a checkpoint recorded."""
    mode, config, settings = command.mode, command.config, command.settings
    checkpoint, name = command.value("checkpoint"), ""
    if not config and checkpoint and mode != "train":
        name = _name_of_run(checkpoint)
    elif not config and (short or method):
        if not method and MODES[mode].config == "base":
            raise InputError(
                f"{mode} needs what was trained, --checkpoint=DIR, or a method without "
                "training, --method=median"
            )
        config = MODES[mode].config
        name = method or config
    elif not config:
        raise InputError(
            "--config is missing; try --config=demo, or name what was trained with "
            "--checkpoint=DIR"
        )
    if method:
        row = config and ":" not in config and method in base.ROW_SETTINGS
        config = f"{config}:{method}" if row else config
        if not row:
            settings = (*settings, Flag(f"{_SETTING}method", method))
    rest = (*command.flags, Flag("mode", mode))
    return Command(mode, config, name, settings, rest)


def _subject(mode: str, words: list[str]) -> str:
    """The value of a mode's own setting; folders are evaluated as such."""
    if mode == "eval":
        return ",".join(
            f"{_FOLDER}{word}" if _is_folder(word) else word for word in words
        )
    if len(words) > 1:
        takes = f"{mode} takes one folder"
        if mode == "predict":
            takes = (
                "predict takes one image, folder, glob or list; put a glob in quotes, "
                "as in `kanoclip predict '*.jpg'`"
            )
        raise InputError(f"{_surplus(words[1])}. {takes}")
    return words[0]


def _is_folder(word: str) -> bool:
    return not word.startswith(_FOLDER) and (os.sep in word or os.path.isdir(word))


def _surplus(word: str) -> str:
    return f"argument {word!r} is not understood"


def _name_of_run(checkpoint: str) -> str:
    """What a model is called by where it lies: the folder around `checkpoints`."""
    parts = _parts(checkpoint)
    if parts and parts[-1].isdigit():
        parts.pop()
    if len(parts) > 1 and parts[-1] == "checkpoints":
        parts.pop()
    # A suite keeps each run in ROW/SEED.
    if len(parts) > 1 and parts[-1].isdigit():
        parts[-2:] = ["-".join(parts[-2:])]
    return re.sub(r"\.(pth|pt)$", "", parts[-1]) if parts else "model"


def _name_of_input(given: str) -> str:
    """What pictures are called by where they lie; of a glob, its folder."""
    parts = _parts(given.removeprefix(_FOLDER).partition(",")[0])
    parts = [part for part in parts if not set(part) & set("*?[")]
    return Path(parts[-1]).stem if parts else "pictures"


def _parts(place: str) -> list[str]:
    """A path's folders from the root on; none of them is `..`, which is no name."""
    return list(Path(os.path.abspath(Path(place).expanduser())).parts[1:])
