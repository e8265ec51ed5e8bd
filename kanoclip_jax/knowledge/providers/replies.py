"""A chat completion's body to the text of its answer, or to what is wrong with it."""

import json
import re

from kanoclip_jax.knowledge.providers.base import Passing, Unanswered

# What models say instead of an answer. An answer may well begin with «I cannot see any
# anomaly», so only refusals to help and to look at images count.
_NO = r"(?:can(?:['’]t|\s?not)|won['’]t|(?:\s?am|['’]m)\s+(?:unable|not\s+able)\s+to)"
_REFUSAL = re.compile(
    rf"""
    (?:(?:i['’]m|i\s+am)\s+(?:very\s+)?sorry | sorry | i\s+apologi[sz]e | unfortunately
      | as\s+an\s+ai\b[^,.]*)?
    [\s,.;:]* (?:but\s+)?
    i\s*{_NO}\s+
    (?:assist | help | comply | fulfil | do\s+that
      | (?:provide | give | offer)\s+(?:\w+\s+)?
        (?:assistance | help | advice | diagnos[ei]s | descriptions? | analysis)
      | (?:view | see | analy[sz]e | interpret | inspect | process | access | describe)
        (?:\s+or\s+\w+)? \s+ (?:(?:the|any|this|your)\s+)? (?:\w+\s+)? images?\b
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)
# A refusal opens a text; of longer ones the pattern would take longer than anybody waits.
_OPENING = 500
# Some servers leave a reasoning model's thoughts in its answer.
_THOUGHTS = "<think>", "</think>"


def read_answer(body: str) -> str:
    """The answer's text, as the model wrote it.

    Args:
        body: of a response to a `/v1/chat/completions` request.

    Raises:
        Passing: no such body, or an empty answer.
        Unanswered: the model or its filter refused.
    """
    try:
        choice = json.loads(body)["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        filtered = choice.get("finish_reason") == "content_filter"
        text = _without_thoughts(content or "").strip()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Passing("malformed answer", body) from None
    if filtered:
        raise Unanswered("refusal", "stopped by the server's content filter")
    if refusal or is_refusal(text):
        raise Unanswered("refusal", str(refusal or text))
    if not text:
        raise Passing("empty answer")
    # Half of a surrogate pair is valid JSON, and no UTF-8 file can hold it.
    return text.encode("utf-8", "replace").decode("utf-8")


def is_refusal(text: str) -> bool:
    """Whether a text opens as refusals do."""
    return _REFUSAL.match(text[:_OPENING]) is not None


def _without_thoughts(text: str) -> str:
    """Cut out the first thoughts that have an end; in one pass, whatever a text is."""
    opening, closing = _THOUGHTS
    end = text.find(closing)
    start = text.find(opening)
    if start > end >= 0:
        end = text.find(closing, start)
    if min(start, end) < 0:
        return text
    return text[:start].rstrip() + text[end + len(closing) :]
