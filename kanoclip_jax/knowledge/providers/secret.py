"""A server's key, and texts from which it and its parts are cut."""

# Keys that are shorter are placeholders such as `none`, and may be words of answers.
_LENGTH = 8
# Servers show a key's first and last four letters.
_IN_MESSAGES = 4
_IN_ANSWERS = 6
# A word that is a part of the key by chance is an answer's own; so long ones are not.
_LONGEST_WORD = 11
_HIDDEN = "***"


class Secret:
    """A key.

    Args:
        key: as the environment has it.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def out_of_message(self, text: str) -> str:
        """A message without the key and without any four letters of it in a row."""
        return self._cut(text, _IN_MESSAGES, words=False)

    def out_of_answer(self, text: str) -> str:
        """An answer without the key and without parts of it that are no plain words."""
        return self._cut(text, _IN_ANSWERS, words=True)

    def _cut(self, text: str, length: int, *, words: bool) -> str:
        key = self._key
        if len(key) < _LENGTH:
            return text
        parts = {key[i : i + length] for i in range(len(key) - length + 1)}
        pieces, kept, i = [], 0, 0
        while i <= len(text) - length:
            if text[i : i + length] not in parts:
                i += 1
                continue
            end = i + length
            while text[end - length + 1 : end + 1] in parts and end < len(text):
                end += 1
            found = text[i:end]
            if not (words and _is_word(found)):
                pieces += [text[kept:i], _HIDDEN]
                kept = end
            i = end
        return "".join([*pieces, text[kept:]])


def _is_word(text: str) -> bool:
    plain = text.isalpha() and (text.islower() or text.istitle())
    return plain and len(text) <= _LONGEST_WORD
