"""The provider that answers the image question from a mask, without a model."""

from kanoclip_jax.knowledge import template
from kanoclip_jax.knowledge.providers.base import Question, Topic
from kanoclip_jax.knowledge.store import Record

# Where an anomaly is and how it looks is read at this size, in pixels.
_LOOK = 256


class TemplateProvider:
    """Describes each anomalous training image by its mask."""

    def questions(self, topics: list[Topic]) -> list[Question]:
        """One per image."""
        return [
            Question(
                topic,
                Record(
                    dataset=topic.dataset,
                    class_name=topic.class_name,
                    source="template",
                    text="",
                    image=picture.path,
                    provider="template",
                ),
                picture=picture,
            )
            for topic in topics
            for picture in topic.pictures
        ]

    def answer(self, question: Question) -> str:
        """The sentence about the image."""
        picture = question.picture
        image, mask = picture.outlined(_LOOK)
        return template.describe(image, mask, question.topic.name, picture.defect)
