"""A client for servers that nobody vouches for: their answers end, in bytes and in time.

A timeout of HTTP clients is of one read, which a byte now and then satisfies for ever.
Here every attempt has an end, at which its connection is shut, whatever it is about.
"""

import contextlib
import contextvars
import importlib
import math
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

# Answers are sentences; some models' thoughts beside them have a hundred times more.
MOST_BYTES = 2**20
_ends = contextvars.ContextVar("ends", default=math.inf)


class Unbounded(Exception):
    """An answer that is too long, or packed so that nobody knows how long it is."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """What this thread asks in here ends after so many seconds."""
    token = _ends.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends.reset(token)


def left() -> float:
    """Seconds until what this thread asks must end."""
    return _ends.get() - time.monotonic()


def make_http_client(package: Any, base_url: str) -> Any:
    """The HTTP client that the package `openai` takes, with bounds.

    Args:
        package: `openai`, which says whose HTTP client it is made for.
        base_url: of the server; the environment may name a proxy for it.
    """
    kinds = package.DefaultHttpxClient.__mro__
    client = next(kind for kind in kinds if kind.__name__ == "Client")
    http = importlib.import_module(client.__module__.partition(".")[0])
    # A shut connection serves nobody: each attempt has its own.
    limits = http.Limits(max_keepalive_connections=0)
    inner = http.HTTPTransport(limits=limits, proxy=_proxy(base_url))
    return package.DefaultHttpxClient(transport=_make_transport(http, inner))


def _proxy(base_url: str) -> str | None:
    parts = urlsplit(base_url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _make_transport(http: Any, inner: Any) -> Any:
    """A transport around another; classes, for which package is only known here."""

    class Body(http.SyncByteStream):
        def __init__(self, stream: Any, request: Any, watch: _Watch) -> None:
            self._stream, self._request, self._watch = stream, request, watch

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            with _in_time(http, self._request, self._watch):
                for chunk in self._stream:
                    size += len(chunk)
                    if size > MOST_BYTES:
                        raise Unbounded(f"more than {MOST_BYTES:,} bytes")
                    if self._watch.over:
                        raise http.ReadTimeout("too slow", request=self._request)
                    yield chunk

        def close(self) -> None:
            self._watch.stop()
            self._stream.close()

    class Transport(http.BaseTransport):
        def handle_request(self, request: Any) -> Any:
            watch = _Watch(_ends.get())
            request.headers["accept-encoding"] = "identity"
            request.extensions = {**request.extensions, "trace": watch.notice}
            try:
                with _in_time(http, request, watch):
                    response = inner.handle_request(request)
            except BaseException:
                watch.stop()
                raise
            body = Body(response.stream, request, watch)
            packed = response.headers.get("content-encoding", "identity").lower()
            if packed != "identity":
                body.close()
                raise Unbounded(
                    f"it is packed ({packed[:20]}), and nobody asked for it"
                )
            return http.Response(
                response.status_code,
                headers=response.headers,
                stream=body,
                extensions=response.extensions,
            )

        def close(self) -> None:
            inner.close()

    return Transport()


@contextlib.contextmanager
def _in_time(http: Any, request: Any, watch: "_Watch") -> Iterator[None]:
    """Call a failure that the end brought about what it is."""
    try:
        yield
    except Exception:
        if watch.over:
            raise http.ReadTimeout("too slow", request=request) from None
        raise


class _Watch:
    """Shuts the connection of an attempt when its time is over.

    Args:
        ends: on the monotonic clock.
    """

    def __init__(self, ends: float) -> None:
        self._ends, self._socket = ends, None
        self._guard = threading.Lock()
        self._timer = None
        if ends < math.inf:
            self._timer = threading.Timer(max(ends - time.monotonic(), 0), self._shut)
            self._timer.daemon = True
            self._timer.start()

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._ends

    def notice(self, event: str, info: dict[str, Any]) -> None:
        """What the transport does, as its package tells; of a connection, which it is."""
        if not event.endswith(("connect_tcp.complete", "start_tls.complete")):
            return
        with self._guard:
            self._socket = info["return_value"].get_extra_info("socket")
        if self.over:
            self._shut()

    def stop(self) -> None:
        """The attempt has ended by itself."""
        if self._timer is not None:
            self._timer.cancel()

    def _shut(self) -> None:
        with self._guard:
            if self._socket is not None:
                # Unlike closing, it wakes whoever reads; closed it may be already.
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
