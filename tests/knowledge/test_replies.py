"""What is a refusal, and what only sounds like one."""

import pytest

from kanoclip_jax.knowledge.providers.replies import is_refusal, read_answer


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, I cannot help with this.",
        "Sorry, I can't provide medical advice.",
        "I apologize, but I am unable to view images.",
        "I can't see the image you mention.",
        "As an AI language model, I cannot analyze images.",
        "Unfortunately, I'm not able to help, I am not able to process images.",
        "I'm unable to view or analyze images directly.",
        "I won't help with that.",
    ],
)
def test_refusals(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I can't see any anomaly in the upper half; a dent is at the lower left.",
        "I cannot make out its exact size, but the scratch is long and grey.",
        "Unfortunately, the metal nut is bent on the left.",
        "The image cannot show the crack as a whole.",
        "I see a dark scratch. I'm sorry, I can't help calling it ugly.",
        "An abnormal image of a nut looks bent.",
    ],
)
def test_answers(text):
    assert not is_refusal(text)


def test_thoughts_are_left_out():
    body = '{"choices": [{"message": {"content": "<think>\\nHm.\\n</think>\\n\\nA dent."}}]}'
    assert read_answer(body) == "A dent."
