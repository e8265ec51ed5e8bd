"""The exceptions that the data pipelines raise for a user's bad input."""


class DataError(ValueError):
    """A dataset, folder, image or mask that cannot be used.

    The message is one line: the offending value, what is allowed, the remedy.
    """


class AbsentError(DataError):
    """A catalogue dataset that is not below the data root."""
