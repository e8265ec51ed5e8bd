"""The exceptions that the data pipelines raise for a user's bad input."""

from data_pipelines.names import printable


class OneLine(ValueError):
    """An error whose message is one line that any terminal can show.

    Names in it may be anybody's: what would move a cursor or turn a line is escaped.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


class DataError(OneLine):
    """A dataset, folder, image or mask that cannot be used.

    The message is one line: the offending value, what is allowed, the remedy.
    """


def reason_of(error: DataError | MemoryError, name: object) -> str:
    """What is wrong with one picture, which keeps no other from being read.

    Args:
      error: What was raised where it was read or drawn.
      name: The picture's.
    """
    if isinstance(error, MemoryError):
        return printable(
            f"{name} does not fit the memory that is left; shrink it or cut it up"
        )
    return str(error)


class AbsentError(DataError):
    """A catalogue dataset that is not below the data root."""
