"""The provider that asks any server of OpenAI's chat-completions protocol."""

import base64
import io
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_pipelines.names import printable
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.providers import bounded
from kanoclip_jax.knowledge.providers.base import (
    Passing,
    Picture,
    Question,
    Topic,
    Unanswered,
)
from kanoclip_jax.knowledge.providers.questions import (
    about_class,
    about_image,
    prompt_sha,
)
from kanoclip_jax.knowledge.providers.replies import read_answer
from kanoclip_jax.knowledge.providers.retry import seconds_of, with_retries
from kanoclip_jax.knowledge.providers.secret import Secret
from kanoclip_jax.knowledge.store import Record

# The paper names no temperature; five answers at 0 would be one.
_LANGUAGE_TEMPERATURE = 0.7
_VISION_TEMPERATURE = 0.0
# Whether to ask again is ours to say; besides these, every status from 500.
_PASSING_STATUS = (408, 409, 425, 429)
# Of what a server says of a failure, so much is looked through for the key.
_LONGEST_MESSAGE = 10_000


class OpenAIProvider:
    """Asks the paper's questions of a language model and a vision model.

    Args:
        base_url: of the server, with its `/v1`.
        key: of the server; it appears in no text that leaves this object.
        llm: name of the model that answers about classes; an empty one is not asked.
        vqa: of the one that answers about images.
        n: language answers for each class.
        seed: of the first of them; each further one has the next.
        image_size: longest side of the images that are sent, in pixels.
        timeout: seconds without a byte after which an attempt has failed.
        deadline: seconds after which a question has, with all its attempts and however
            many bytes came.
        retries: how many attempts may follow the first.
        pause: waits for some seconds.

    Raises:
        InputError: the `openai` package is missing, or the key is no header's value.
    """

    def __init__(
        self,
        *,
        base_url: str,
        key: str,
        llm: str,
        vqa: str,
        n: int = 5,
        seed: int = 0,
        image_size: int = 512,
        timeout: float = 60.0,
        deadline: float = 600.0,
        retries: int = 6,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        if not re.fullmatch(r"[!-~]+", key):
            raise InputError(
                "the key in OPENAI_API_KEY has blanks or letters that HTTP does not "
                "carry; set it anew (it is not shown)"
            )
        self._package = _import_openai()
        self._client = self._package.OpenAI(
            base_url=base_url,
            api_key=key,
            timeout=timeout,
            max_retries=0,
            http_client=bounded.make_http_client(self._package, base_url),
        )
        self._secret, self._base_url = Secret(key), base_url
        self._llm, self._vqa, self._n, self._seed = llm, vqa, n, seed
        self._image_size, self._retries, self._pause = image_size, retries, pause
        self._timeout, self._deadline = timeout, deadline

    def questions(self, topics: list[Topic]) -> list[Question]:
        """`n` about each class, then one about each image."""
        questions = []
        if self._llm:
            questions += [
                self._question(topic, "llm", self._llm, about_class(topic.name), i)
                for topic in topics
                for i in range(self._n)
            ]
        if self._vqa:
            questions += [
                self._question(
                    topic, "vqa", self._vqa, about_image(topic.name), 0, picture
                )
                for topic in topics
                for picture in topic.pictures
            ]
        return questions

    def answer(self, question: Question) -> str:
        """The model's answer, stripped of blanks around it and of the key.

        Raises:
            Unanswered: the attempts are used up, or the model refused.
            InputError: the server knows neither the key nor the model.
        """
        request = self._request(question)
        with bounded.within(self._deadline):
            return with_retries(
                lambda: self._attempt(request),
                self._retries,
                self._pause,
                bounded.left,
            )

    def _question(
        self,
        topic: Topic,
        source: str,
        model: str,
        prompt: str,
        i: int,
        picture: Picture | None = None,
    ) -> Question:
        draft = Record(
            dataset=topic.dataset,
            class_name=topic.class_name,
            source=source,
            text="",
            image=picture and picture.path,
            provider="openai",
            model=model,
            prompt_sha=prompt_sha(prompt),
            sample=i,
            seed=self._seed + i,
        )
        return Question(topic, draft, prompt, picture)

    def _request(self, question: Question) -> dict[str, Any]:
        content: str | list[dict[str, Any]] = question.prompt
        temperature = _LANGUAGE_TEMPERATURE
        if question.picture:
            url = data_url(question.picture.within(self._image_size))
            content = [
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": question.prompt},
            ]
            temperature = _VISION_TEMPERATURE
        return {
            "model": question.draft.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": temperature,
            "seed": question.draft.seed,
        }

    def _attempt(self, request: dict[str, Any]) -> str:
        """Ask once; no exception of the client's gets out, for each may hold the key."""
        package = self._package
        try:
            create = self._client.chat.completions.with_raw_response.create
            timeout = max(min(self._timeout, bounded.left()), 0.001)
            body = create(**request, timeout=timeout).http_response.text
        except package.APIStatusError as error:
            raise self._refused(error, request["model"]) from None
        except package.APITimeoutError:
            seconds = self._timeout if bounded.left() > 0 else self._deadline
            kind = f"no answer within {seconds:g} s"
            raise Passing(kind, of_server=True) from None
        except package.APIConnectionError as error:
            if isinstance(error.__cause__, bounded.Unbounded):
                raise _too_long(error.__cause__) from None
            detail = self._public(error.__cause__ or error)
            raise Passing("connection failed", detail, of_server=True) from None
        except bounded.Unbounded as error:
            # Some versions of the client pass it on as it is.
            raise _too_long(error) from None
        except package.OpenAIError as error:
            raise Unanswered("client failed", self._public(error)) from None
        try:
            return self._secret.out_of_answer(read_answer(body))
        except Unanswered as error:
            error.detail = self._public(error.detail)
            raise

    def _refused(self, error: Any, model: str) -> Exception:
        """What an HTTP status other than 2xx means."""
        status = error.status_code
        detail = self._public(error.message.removeprefix(f"Error code: {status} - "))
        if status == 401:
            return InputError(
                f"{self._base_url} does not accept the key (HTTP 401: {detail}); set "
                "another in the environment variable OPENAI_API_KEY"
            )
        if status == 404:
            return InputError(
                f"{self._base_url} does not know model {model!r} or is no such server "
                f"(HTTP 404: {detail}); see --config.knowledge.base_url, .llm and .vqa"
            )
        if "content_filter" in (error.code, error.type):
            return Unanswered("refusal", detail)
        kind = f"HTTP {status}"
        if status in _PASSING_STATUS or status >= 500:
            wait = seconds_of(error.response.headers.get("retry-after"))
            return Passing(kind, detail, wait=wait, of_server=True)
        return Unanswered(kind, detail, of_server=True)

    def _public(self, message: object) -> str:
        """One short line without the key; cut last, lest a piece of the key stays."""
        text = self._secret.out_of_message(str(message)[:_LONGEST_MESSAGE])
        return printable(" ".join(text.split())[:200])


def _too_long(error: BaseException) -> Unanswered:
    return Unanswered("answer too long", str(error), of_server=True)


def data_url(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """An image as a `data:` URL."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _import_openai() -> Any:
    try:
        import openai
    except ImportError:
        raise InputError(
            "provider openai needs the package `openai`: "
            "pip install 'kanoclip-jax[knowledge]'"
        ) from None
    return openai
