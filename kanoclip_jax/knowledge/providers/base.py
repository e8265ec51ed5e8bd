"""The interface of a provider: it lists its questions, and answers one at a time."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from kanoclip_jax.knowledge.store import Record


class Picture(Protocol):
    """One anomalous training image; nothing is read before a provider asks for it.

    Attributes:
        path: relative to the dataset's folder.
        defect: the kind of anomaly, as its folder is called.
    """

    path: str
    defect: str

    def within(self, side: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image at its own aspect, shrunk to fit a square of `side` pixels."""

    def outlined(
        self, side: int
    ) -> tuple[UInt8[np.ndarray, "side side 3"], UInt8[np.ndarray, "side side"]]:
        """The image and its mask, both squashed to a square."""


@dataclass(frozen=True)
class Topic:
    """One class, and what may be asked about.

    Attributes:
        dataset, class_name: as in `Record`.
        name: the class's name in prompts.
        pictures: its anomalous training images.
    """

    dataset: str
    class_name: str
    name: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        topic: the class that it is about.
        draft: the record that the answer completes with its text and date.
        prompt: the words of the question, empty where nobody is asked.
        picture: the image that it is about.
    """

    topic: Topic
    draft: Record
    prompt: str = ""
    picture: Picture | None = None


class Provider(Protocol):
    """Writes knowledge. `answer` may be called from several threads at once."""

    def questions(self, topics: list[Topic]) -> list[Question]:
        """All that this provider would be asked about some classes, in order."""

    def answer(self, question: Question) -> str:
        """The text of one record.

        Raises:
            Unanswered: there is none; the other questions are worth asking.
            InputError: no question can be answered.
        """


class Unanswered(Exception):
    """A question that got no usable answer.

    Attributes:
        kind: of failure, in a few words, by which failures are counted.
        detail: what the other side says of it, or empty.
        of_server: whether it says that the server, rather than the question, is at
            fault.
    """

    def __init__(self, kind: str, detail: str = "", *, of_server: bool = False) -> None:
        super().__init__(kind)
        self.kind, self.detail, self.of_server = kind, detail, of_server

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


class Passing(Unanswered):
    """A failure that may have passed when the question is asked again.

    Attributes:
        wait: seconds after which the server wants to be asked, None if it did not say.
    """

    def __init__(
        self,
        kind: str,
        detail: str = "",
        *,
        wait: float | None = None,
        of_server: bool = False,
    ) -> None:
        super().__init__(kind, detail, of_server=of_server)
        self.wait = wait
