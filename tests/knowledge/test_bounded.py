"""Servers whose answers do not end, and those that tell a key."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from kanoclip_jax.knowledge.providers.base import Question, Topic, Unanswered
from kanoclip_jax.knowledge.providers.openai import OpenAIProvider
from kanoclip_jax.knowledge.providers.replies import is_refusal, read_answer
from kanoclip_jax.knowledge.providers.secret import Secret

pytest.importorskip("openai")
KEY = "sk-proj-Ab3dEf6hIj9kLm2nOp5q"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that answers each connection in its own way; yields its address."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            answer(connection)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    finally:
        server.close()


def dripping(start: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        for _ in range(200):
            time.sleep(0.05)
            connection.sendall(b" ")

    return answer


def ask(url: str, **changes: object) -> str:
    settings = {"timeout": 5.0, "deadline": 0.6, "retries": 5, "key": KEY}
    provider = OpenAIProvider(base_url=url, llm="m", vqa="", **settings | changes)
    (question, *_) = provider.questions([Topic("mine", "nut", "nut")])
    assert isinstance(question, Question)
    return provider.answer(question)


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200 OK\r\nX: ",
        HEAD + b"Content-Length: 1000\r\n\r\n{",
    ],
    ids=["a status", "a header", "a body"],
)
def test_a_byte_now_and_then_is_no_answer(start: bytes) -> None:
    with serving(dripping(start)) as url:
        began = time.monotonic()
        with pytest.raises(Unanswered, match=r"no answer within 0\.6 s"):
            ask(url)
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("status", [b"200 OK", b"500 Oh"])
def test_an_answer_without_end_is_cut(status: bytes) -> None:
    sent = []

    def answer(connection: socket.socket) -> None:
        head = b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head)
        for _ in range(1000):
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent.append(65536)

    with serving(answer) as url, pytest.raises(Unanswered, match="more than 1,048,576"):
        ask(url, deadline=20.0, retries=0)
    assert sum(sent) < 16 * 2**20


def test_a_packed_answer_is_refused() -> None:
    """A few bytes of gzip make gigabytes."""

    def answer(connection: socket.socket) -> None:
        packed = HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"
        connection.sendall(packed)

    with serving(answer) as url, pytest.raises(Unanswered, match=r"packed \(gzip\)"):
        ask(url, deadline=20.0)


def test_waits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server wants to be waited for longer than the end is not waited for."""
    waits: list[float] = []
    body = b"HTTP/1.1 429 No\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n"
    with (
        serving(lambda connection: connection.sendall(body)) as url,
        pytest.raises(Unanswered, match="HTTP 429"),
    ):
        ask(url, deadline=10.0, pause=waits.append)
    assert waits == []


def test_parts_of_the_key_are_shown_nowhere() -> None:
    secret = Secret(KEY)
    told = "Incorrect key sk-pr************Op5q; see https://host/keys"
    assert secret.out_of_message(told) == (
        "Incorrect key ***************; see https://host/keys".replace(
            "***************", "***" + "*" * 12 + "***"
        )
    )
    assert secret.out_of_answer(f"A dent. {KEY[3:-2]} A scratch.") == (
        "A dent. *** A scratch."
    )
    assert secret.out_of_answer("3dEf6hIj") == "***"
    assert Secret("my-studio-key").out_of_answer("studio light") == "studio light"
    assert Secret("none").out_of_message("none of it") == "none of it"


def test_a_refused_key_is_not_told() -> None:
    message = f"Incorrect API key provided: {KEY[:8]}****{KEY[-4:]}."
    body = f'{{"error": {{"message": "{message}"}}}}'.encode()
    head = b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n" % len(body)
    with (
        serving(lambda connection: connection.sendall(head + body)) as url,
        pytest.raises(Unanswered) as caught,
    ):
        ask(url, deadline=20.0)
    assert KEY[-4:] not in str(caught.value) and KEY[:7] not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [" " * 900_000, "<think>" * 120_000, "as an ai" + " " * 900_000, "</think><think>"],
)
def test_no_answer_takes_long_to_read(text: str) -> None:
    began = time.monotonic()
    is_refusal(text)
    body = f'{{"choices": [{{"message": {{"content": "{text}x"}}}}]}}'
    assert read_answer(body)
    assert time.monotonic() - began < 3
