"""The one exception that the package raises for a user's bad input."""

from data_pipelines.errors import OneLine


class InputError(OneLine):
    """A setting, file or checkpoint that cannot be used.

    The message is one line: the offending value, what is allowed, the remedy.
    """
