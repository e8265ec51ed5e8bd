"""The provider that asks nobody: the sentences that come with the project."""

import dataclasses
from collections import Counter

from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.providers.base import Question, Topic, Unanswered
from kanoclip_jax.knowledge.store import Record, bundled_records


class BundledProvider:
    """Copies bundled sentences, with the provenance that they have."""

    def questions(self, topics: list[Topic]) -> list[Question]:
        """One per sentence, and one that fails for each class without any.

        Raises:
            InputError: no class has a sentence.
        """
        questions = [q for topic in topics for q in _copies(topic)]
        if not any(question.draft.text for question in questions):
            names = ", ".join(topic.class_name for topic in topics)
            raise InputError(
                f"no sentences are bundled for {names}; ask a model server with "
                "--config.knowledge.provider=openai, or describe masks with =template"
            )
        return questions

    def answer(self, question: Question) -> str:
        """The sentence."""
        if not question.draft.text:
            raise Unanswered("no sentence is bundled")
        return question.draft.text


def _copies(topic: Topic) -> list[Question]:
    """Drafts for the class; a class id that is in several files is numbered through."""
    count: Counter[str] = Counter()
    questions = []
    for record in bundled_records(topic.dataset, {topic.class_name: topic.name}):
        draft = dataclasses.replace(
            record, dataset=topic.dataset, sample=count[record.prompt_sha]
        )
        count[record.prompt_sha] += 1
        questions.append(Question(topic, draft))
    return questions or [
        Question(topic, Record(topic.dataset, topic.class_name, "llm", text=""))
    ]
