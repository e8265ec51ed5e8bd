"""How many pictures a reader had something to say of."""


class Tally:
    """Counts them.

    Args:
      what: Whose pictures they are, for the message.
    """

    def __init__(self, what: str):
        self._what = what
        self._seen, self._count, self._first = 0, 0, ""

    def add(self, warning: str, name: str = "") -> None:
        """Counts a picture, and what was said of it if anything."""
        self._seen += 1
        if warning:
            self._count += 1
            self._first = self._first or (f"{name}: {warning}" if name else warning)

    def said(self) -> str | None:
        """Returns the line of a run, None where there is nothing to say."""
        if not self._count:
            return None
        return (
            f"warning: {self._count} of {self._seen} pictures of {self._what} are "
            f"nearly black or without any contrast: {self._first}"
        )
