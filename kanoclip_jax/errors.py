"""The one exception that the package raises for a user's bad input."""


class InputError(ValueError):
    """A setting, file or checkpoint that cannot be used.

    The message is one line: the offending value, what is allowed, the remedy.
    """
