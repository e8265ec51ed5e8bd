"""How many pictures a reader had something to say of."""


class Tally:
    """Counts them; nothing here needs JAX.

    Args:
        what: whose pictures they are, for the message.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._seen, self._count, self._first = 0, 0, ""

    def add(self, warning: str, name: str = "") -> None:
        """Count a picture, and what was said of it if anything."""
        self._seen += 1
        if warning:
            self._count += 1
            self._first = self._first or (f"{name}: {warning}" if name else warning)

    def said(self) -> str | None:
        """The line of a run, where there is something to say; else None."""
        if not self._count:
            return None
        return (
            f"warning: {self._count} of {self._seen} pictures of {self._what} are "
            f"nearly black or without any contrast: {self._first}"
        )
