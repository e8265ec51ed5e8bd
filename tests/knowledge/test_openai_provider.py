"""Questions to a real server on the loopback, and all that may go wrong with them."""

import datetime
import email.utils
import sys
from collections.abc import Callable

import numpy as np
import pytest
from chat_server import ChatServer, Reply, answering, failing

from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.providers import retry
from kanoclip_jax.knowledge.providers.base import Question, Topic, Unanswered
from kanoclip_jax.knowledge.providers.openai import OpenAIProvider

KEY = "sk-marked-0123456789abcdef"


class Painted:
    """A picture that is one colour."""

    path, defect = "nut/test/bent/000.png", "bent"

    def within(self, side: int) -> np.ndarray:
        return np.full((side // 2, side, 3), (200, 40, 40), np.uint8)

    def outlined(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("a mask was read")


TOPIC = Topic("mine", "metal_nut", "metal nut", (Painted(),))


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def make(chat: ChatServer, waits: list[float]) -> Callable[..., OpenAIProvider]:
    """Makes a provider that waits in no time, and notes how long it would have."""

    def make_provider(**changes: object) -> OpenAIProvider:
        settings = {
            "base_url": chat.base_url,
            "key": KEY,
            "llm": "talker",
            "vqa": "seer",
            "n": 2,
            "seed": 111,
            "image_size": 64,
            "timeout": 10.0,
            "retries": 2,
            "pause": waits.append,
        }
        return OpenAIProvider(**(settings | changes))

    return make_provider


def first(provider: OpenAIProvider) -> Question:
    return provider.questions([TOPIC])[0]


def test_requests_are_the_papers(chat, make):
    provider = make()
    questions = provider.questions([TOPIC])
    texts = [provider.answer(question) for question in questions]
    language = {
        "model": "talker",
        "messages": [
            {
                "role": "user",
                "content": "Describe what an abnormal image of metal nut looks like?",
            }
        ],
        "temperature": 0.7,
    }
    words = (
        "Identify anomalies in the input image of the specified class (metal nut). "
        "Describe each anomaly's location, color, shape, size, and other "
        "characteristics."
    )
    vision = chat.asked[2].content
    assert [asked.content for asked in chat.asked[:2]] == [
        language | {"seed": 111},
        language | {"seed": 112},
    ]
    assert vision.keys() == {"model", "messages", "temperature", "seed"}
    assert (vision["model"], vision["temperature"], vision["seed"]) == ("seer", 0, 111)
    (message,) = vision["messages"]
    assert message["role"] == "user"
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    assert message["content"][1]["text"] == words
    image = chat.asked[2].image.convert("RGB")
    assert image.size == (64, 32)
    assert np.abs(np.int32(image) - (200, 40, 40)).max() < 4
    assert {(asked.path, asked.key) for asked in chat.asked} == {
        ("/v1/chat/completions", f"Bearer {KEY}")
    }
    assert len(set(texts)) == 3


def test_drafts_say_what_was_asked(make):
    language, _, vision = [q.draft for q in make().questions([TOPIC])]
    assert (language.source, language.image, language.sample) == ("llm", None, 0)
    assert (language.model, language.provider, language.seed) == (
        "talker",
        "openai",
        111,
    )
    # sha256sum of the question.
    assert language.prompt_sha.startswith("f80d997023953663")
    assert (vision.source, vision.model) == ("vqa", "seer")
    assert vision.image == "nut/test/bent/000.png"


def test_a_model_without_a_name_is_not_asked(make):
    assert [q.draft.source for q in make(vqa="").questions([TOPIC])] == ["llm", "llm"]
    assert [q.draft.source for q in make(llm="").questions([TOPIC])] == ["vqa"]


@pytest.mark.parametrize(
    ("reply", "wait"),
    [
        (failing(429, "slow down", Retry_After="7"), 7.0),
        (failing(429, "slow down"), 1.0),
        (failing(503, "starting", Retry_After="0.5"), 0.5),
        (failing(500, "broken"), 1.0),
        (Reply(body="<html>no"), 1.0),
        (Reply(body='{"choices": []}'), 1.0),
        (Reply(body='{"error": {"message": "overloaded"}}'), 1.0),
        (answering(["parts"]), 1.0),
        (answering(""), 1.0),
        (answering(None), 1.0),
        (answering("<think>hm</think>\n"), 1.0),
    ],
)
def test_what_may_pass_is_asked_again(chat, make, waits, reply, wait):
    chat.reply = lambda _, before: reply if before == 0 else answering(" A dent.\n")
    provider = make()
    assert provider.answer(first(provider)) == "A dent."
    assert len(chat.asked) == 2
    assert waits == [wait]


@pytest.mark.parametrize(
    ("reply", "kind", "detail"),
    [
        (failing(500, "broken"), "HTTP 500", "broken"),
        (Reply(body="<html>no"), "malformed answer", "<html>no"),
        (answering("  "), "empty answer", ""),
    ],
)
def test_retries_end_and_waits_double(chat, make, waits, reply, kind, detail):
    chat.reply = lambda *_: reply
    provider = make(retries=3)
    with pytest.raises(Unanswered) as caught:
        provider.answer(first(provider))
    assert caught.value.kind == kind
    assert detail in caught.value.detail
    assert waits == [1.0, 2.0, 4.0]
    assert len(chat.asked) == 4


@pytest.mark.parametrize(
    "reply",
    [
        answering("I'm sorry, but I can't assist with that request."),
        answering(None, message={"refusal": "No."}),
        answering("A de", finish_reason="content_filter"),
        Reply(400, '{"error": {"message": "policy", "code": "content_filter"}}'),
    ],
)
def test_a_refusal_is_final(chat, make, waits, reply):
    chat.reply = lambda *_: reply
    provider = make()
    with pytest.raises(Unanswered) as caught:
        provider.answer(first(provider))
    assert (caught.value.kind, caught.value.of_server) == ("refusal", False)
    assert (len(chat.asked), waits) == (1, [])


def test_a_stalled_connection_times_out(chat, make, waits):
    chat.reply = lambda _, before: (
        Reply(stall=True) if before == 0 else answering("A dent.")
    )
    provider = make(timeout=0.2)
    assert provider.answer(first(provider)) == "A dent."
    chat.reply = lambda *_: Reply(stall=True)
    with pytest.raises(Unanswered, match=r"no answer within 0\.2 s"):
        provider.answer(first(provider))
    assert waits == [1.0, 1.0, 2.0]


def test_nobody_there(make, waits):
    provider = make(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(Unanswered) as caught:
        provider.answer(first(provider))
    assert (caught.value.kind, caught.value.of_server) == ("connection failed", True)
    assert waits == [1.0, 2.0]


def test_other_bad_requests_are_not_repeated(chat, make):
    chat.reply = lambda *_: failing(400, "temperature is not supported")
    provider = make()
    with pytest.raises(Unanswered, match="temperature is not supported"):
        provider.answer(first(provider))
    assert len(chat.asked) == 1


@pytest.mark.parametrize(
    ("status", "words"), [(401, "OPENAI_API_KEY"), (404, "model 'talker'")]
)
def test_what_no_question_survives_is_an_input_error(chat, make, status, words):
    chat.reply = lambda *_: failing(status, f"unknown: {KEY}")
    provider = make()
    with pytest.raises(InputError, match=words) as caught:
        provider.answer(first(provider))
    assert KEY not in str(caught.value)
    assert len(chat.asked) == 1


def test_a_server_that_wants_hours_is_not_waited_for(chat, make, waits):
    chat.reply = lambda *_: failing(429, "quota", Retry_After="3600")
    provider = make()
    with pytest.raises(Unanswered, match="HTTP 429: .*quota"):
        provider.answer(first(provider))
    assert waits == []


@pytest.mark.parametrize(
    "reply",
    [
        failing(500, f"your key {KEY} is unlucky"),
        failing(400, "x" * 190 + KEY),
        Reply(body=f'{{"oops": "{"x" * 180}{KEY}"}}'),
        answering(f"I'm sorry, but I can't help {KEY} with that."),
        answering(None, message={"refusal": KEY}),
    ],
)
def test_no_failure_shows_the_key(chat, make, reply):
    chat.reply = lambda *_: reply
    provider = make(retries=0)
    with pytest.raises(Unanswered) as caught:
        provider.answer(first(provider))
    assert "sk-mark" not in str(caught.value) + repr(caught.value)
    assert len(caught.value.detail) <= 200


def test_no_answer_holds_the_key(chat, make):
    chat.reply = lambda *_: answering(f"The nut says {KEY} and is bent.")
    provider = make()
    assert provider.answer(first(provider)) == "The nut says *** and is bent."
    short = make(key="none")
    chat.reply = lambda *_: answering("It has none.")
    assert short.answer(first(short)) == "It has none."


@pytest.mark.parametrize("key", ["sk-two words", "sk-ключ", "sk-line\nline"])
def test_a_key_that_no_header_takes_is_refused_unseen(make, key):
    with pytest.raises(InputError, match="OPENAI_API_KEY") as caught:
        make(key=key)
    assert "sk-" not in str(caught.value)


def test_a_missing_package_is_named_with_its_extra(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"pip install 'kanoclip-jax\[knowledge\]'"):
        make()


def test_half_a_surrogate_pair_can_be_stored(chat, make):
    chat.reply = lambda *_: answering("A dent \ud83d.")
    provider = make()
    assert provider.answer(first(provider)).encode() == b"A dent ?."


def test_retry_after_may_be_a_date():
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    date = email.utils.format_datetime(soon, usegmt=True)
    assert 27 < retry.seconds_of(date) <= 30
    assert retry.seconds_of("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert retry.seconds_of("-3") == 0
    assert [retry.seconds_of(text) for text in (None, "", "soon", "nan")] == [None] * 4
