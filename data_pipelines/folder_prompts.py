"""What prompts call the classes of a user's folder, where its names do not say it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipelines import documents
from data_pipelines.catalog import nearest
from data_pipelines.errors import DataError
from data_pipelines.names import printable

# In the folder itself, as {"pcb_01": "printed circuit board"}.
NAMES_FILE = "class_names.json"
_SHAPE = {...: str}
_REMEDY = (
    f'{NAMES_FILE} says what prompts call classes, as in {{"pcb_01": "printed circuit '
    'board"}; mend it, or call the file otherwise'
)


def read_prompt_names(
    folder: Path, classes: Sequence[str], given: Mapping[str, str]
) -> dict[str, str]:
    """Finds the names that classes have in prompts, from a file in their folder.

    Args:
      folder: The folder of the dataset.
      classes: All classes that are there.
      given: What the user says besides, which wins; classes of other folders are passed
        over.

    Returns:
      Names by class, of the classes that have one.

    Raises:
      DataError: the file cannot be read or names a class that is not there, or a name is
        none.
    """
    file = folder / NAMES_FILE
    found = documents.read(file, _SHAPE, _REMEDY) if file.is_file() else {}
    for name in found:
        if name not in classes:
            raise DataError(
                f"{printable(str(file))} names {name!r}, which is no class here; "
                f"{nearest(name, classes)}"
            )
    found |= {name: words for name, words in given.items() if name in classes}
    return {name: check_words(name, words) for name, words in found.items()}


def check_words(class_name: str, words: str) -> str:
    """Returns words for prompts without outer blanks.

    Raises:
      DataError: they are none, or hold what is no text.
    """
    stripped = words.strip()
    if not stripped or not stripped.isprintable():
        raise DataError(
            f"the class {printable(class_name)} is to be called {words!r} in prompts; "
            "allowed are words on one line, such as printed circuit board"
        )
    return stripped
