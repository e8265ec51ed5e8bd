"""A chat-completions server on the loopback that answers as a test tells it to."""

import base64
import hashlib
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

# It ends by itself, whatever becomes of the test.
_LIFETIME, _MOST_REQUESTS, _LONGEST_STALL = 60.0, 500, 20.0


@dataclass
class Reply:
    """What one request gets."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    stall: bool = False


def answering(text: str | None, **choice: Any) -> Reply:
    """A completion with one choice; keywords are further fields of it."""
    message = {"role": "assistant", "content": text} | choice.pop("message", {})
    content = {"choices": [{"index": 0, "message": message} | choice]}
    return Reply(body=json.dumps(content))


def failing(status: int, message: str, **headers: str) -> Reply:
    """An error as servers word it; `_` in the names of headers stands for `-`."""
    body = json.dumps({"error": {"message": message, "code": None}})
    return Reply(status, body, {k.replace("_", "-"): v for k, v in headers.items()})


@dataclass(frozen=True)
class Asked:
    """One request, as the server saw it."""

    path: str
    key: str
    content: dict[str, Any]

    @property
    def question(self) -> tuple[str, str, int, str]:
        """Model, words, seed and picture: what makes two requests the same question."""
        picture = hashlib.sha256(self._url.encode()).hexdigest() if self._url else ""
        return self.content["model"], self.text, self.content["seed"], picture

    @property
    def text(self) -> str:
        content = self.content["messages"][0]["content"]
        return content if isinstance(content, str) else content[1]["text"]

    @property
    def image(self) -> Image.Image:
        head, _, data = self._url.partition(",")
        assert head == "data:image/jpeg;base64"
        return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))

    @property
    def _url(self) -> str:
        content = self.content["messages"][0]["content"]
        return "" if isinstance(content, str) else content[0]["image_url"]["url"]


class ChatServer:
    """Keeps every request, and answers by `reply`.

    Attributes:
        asked: requests in the order of their arrival.
        answered: how often each question got a whole answer.
        reply: the request and how often its question came before to what it gets.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answered: Counter[tuple] = Counter()
        self._writing = 0
        self.reply: Callable[[Asked, int], Reply] = lambda asked, _: answering(
            f"An answer to {asked.question[1:3]}: {asked.question[3][:8]}."
        )
        self.guard, self.ended = threading.Condition(), threading.Event()
        self.base_url = ""

    @property
    def answered(self) -> Counter[tuple]:
        # A client has its answer a moment before its server knows that it was sent.
        with self.guard:
            self.guard.wait_for(lambda: not self._writing, timeout=5)
            return self._answered.copy()

    @contextmanager
    def writing(self, asked: Asked, status: int) -> Iterator[None]:
        """Counts an answer that can be written whole."""
        with self.guard:
            self._writing += 1
        try:
            yield
            if status == 200:
                with self.guard:
                    self._answered[asked.question] += 1
        finally:
            with self.guard:
                self._writing -= 1
                self.guard.notify_all()


class _Handler(BaseHTTPRequestHandler):
    chat: ChatServer

    def do_POST(self) -> None:
        chat = self.chat
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = Asked(self.path, self.headers["Authorization"], content)
        with chat.guard:
            before = [other.question for other in chat.asked].count(asked.question)
            chat.asked.append(asked)
            too_many = len(chat.asked) > _MOST_REQUESTS
        reply = Reply(400) if too_many else chat.reply(asked, before)
        if reply.stall:
            chat.ended.wait(_LONGEST_STALL)
            self.close_connection = True
            return
        data = reply.body.encode()
        with chat.writing(asked, reply.status):
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        # Clients that are killed or out of patience are what the tests are about.
        pass


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """A server that runs as long as the context, and at most a minute."""
    chat = ChatServer()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"chat": chat}))
    chat.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    watchdog = threading.Timer(_LIFETIME, server.shutdown)
    watchdog.daemon = True
    thread.start()
    watchdog.start()
    try:
        yield chat
    finally:
        watchdog.cancel()
        chat.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
