"""Back-off: a question whose failure may pass is asked again, later each time."""

import email.utils
import math
import time
from collections.abc import Callable

from kanoclip_jax.knowledge.providers.base import Passing

# Seconds before the second attempt; doubled for each further one.
FIRST_WAIT = 1.0
# No attempt waits longer; a server that wants more is asked in another run.
LONGEST_WAIT = 300.0


def with_retries(
    ask: Callable[[], str],
    retries: int,
    pause: Callable[[float], object],
    left: Callable[[], float] = lambda: math.inf,
) -> str:
    """Ask until there is an answer, at most `retries` times more.

    Args:
        ask: the attempt.
        retries: how many attempts may follow the first.
        pause: waits for some seconds; may raise to end it all.
        left: seconds until no further attempt is made.

    Raises:
        Unanswered: the last attempt's failure, or one that asking again cannot mend.
    """
    for attempt in range(retries):
        try:
            return ask()
        except Passing as error:
            wait = error.wait
            if wait is None:
                wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT)
            if wait > min(LONGEST_WAIT, left()):
                raise
            pause(wait)
    return ask()


def seconds_of(retry_after: str | None) -> float | None:
    """The wait that a `Retry-After` header asks for: seconds or an HTTP date."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(retry_after)
            seconds = date.timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(seconds, 0.0)
