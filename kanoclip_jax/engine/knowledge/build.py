"""Building a knowledge base: questions asked once, answers on disk as they come."""

import contextlib
import dataclasses
import datetime
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import jax
from ml_collections import FrozenConfigDict

from data_pipelines.names import printable
from kanoclip_jax.engine.auxiliary import open_auxiliary
from kanoclip_jax.engine.bars import progress
from kanoclip_jax.engine.build import refuse_evaluation_dataset
from kanoclip_jax.engine.knowledge.asking import Asking, Outcome
from kanoclip_jax.engine.knowledge.training import topics_of
from kanoclip_jax.engine.workdir import file_name
from kanoclip_jax.errors import InputError
from kanoclip_jax.knowledge.ledger import Ledger
from kanoclip_jax.knowledge.providers.base import Provider, Question
from kanoclip_jax.knowledge.providers.bundled import BundledProvider
from kanoclip_jax.knowledge.providers.openai import OpenAIProvider
from kanoclip_jax.knowledge.providers.template import TemplateProvider

# A server that fails as many questions in a row will hardly answer the next.
_GIVE_UP = 20


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Write the knowledge of a dataset; exit status 1 where questions failed.

    Several that are trained on as one go into one file.

    Raises:
        InputError: a dataset or a provider that cannot be used.
    """
    del overrides
    if jax.process_count() > 1:
        raise InputError(
            "knowledge runs in one process; --config.knowledge.concurrency says how "
            "many questions are asked at once"
        )
    dataset = config.knowledge.dataset or config.train.dataset
    refuse_evaluation_dataset(config, dataset)
    asking = Asking()
    provider = make_provider(config, asking)
    own = dataset == config.train.dataset
    source = open_auxiliary(config, dataset, config.train.classes if own else ())
    for part in source.parts if config.knowledge.provider == "template" else ():
        if not part.has_masks:
            raise InputError(
                f"{part.dataset} has no masks, from which provider template makes its "
                "sentences; name a dataset with masks, or another "
                "--config.knowledge.provider"
            )
    questions = provider.questions(topics_of(source))
    path = workdir / "knowledge" / f"{file_name(dataset)}.jsonl"
    with Ledger(path) as ledger:
        if ledger.cut:
            print(f"{path}: an unfinished last line ({ledger.cut} bytes) was cut off")
        left = [question for question in questions if question.draft not in ledger]
        failed, unasked = _ask(config, asking, provider, left, ledger, len(questions))
    print("\n".join(_summary(ledger, failed, unasked)))
    return 1 if failed or unasked else 0


def make_provider(config: FrozenConfigDict, asking: Asking) -> Provider:
    """The provider that the settings name; a server's key is read here.

    Raises:
        InputError: it lacks a model, a key or its package.
    """
    settings = config.knowledge
    if settings.provider == "bundled":
        return BundledProvider()
    if settings.provider == "template":
        return TemplateProvider()
    if not (settings.llm or settings.vqa):
        raise InputError(
            "provider openai asks models; name them with --config.knowledge.llm=NAME "
            "and --config.knowledge.vqa=NAME"
        )
    for key, about in (("llm", "classes"), ("vqa", "images")):
        if not settings[key]:
            print(
                f"no --config.knowledge.{key} is named: nothing is asked about {about}"
            )
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key and urlsplit(settings.base_url).hostname == "api.openai.com":
        raise InputError(
            f"{settings.base_url} needs a key; set the environment variable "
            "OPENAI_API_KEY, or name your own server with --config.knowledge.base_url"
        )
    return OpenAIProvider(
        base_url=settings.base_url,
        key=key or "none",
        llm=settings.llm,
        vqa=settings.vqa,
        n=settings.n,
        seed=config.seed,
        image_size=settings.image_size,
        timeout=settings.timeout,
        deadline=settings.deadline,
        retries=settings.retries,
        pause=asking.pause,
    )


def _ask(
    config: FrozenConfigDict,
    asking: Asking,
    provider: Provider,
    left: Sequence[Question],
    ledger: Ledger,
    total: int,
) -> tuple[list[Outcome], int]:
    """Ask what is left; returns what failed, and how many were not asked after all."""

    def ask(question: Question) -> None:
        text = provider.answer(question)
        created = question.draft.created or datetime.date.today().isoformat()
        record = dataclasses.replace(question.draft, text=text, created=created)
        ledger.append(record)

    # Only a server answers sooner when asked several questions at once.
    remote = config.knowledge.provider == "openai"
    outcomes = asking.outcomes(left, ask, config.knowledge.concurrency if remote else 1)
    failed: list[Outcome] = []
    asked = in_a_row = 0
    bar = progress(ledger.path.stem, total, done=total - len(left), unit="question")
    with bar, contextlib.closing(outcomes):
        for outcome in outcomes:
            asked += 1
            failure = outcome.failure
            if failure:
                failed.append(outcome)
                bar.set_postfix(failed=len(failed), refresh=False)
            in_a_row = in_a_row + 1 if failure and failure.of_server else 0
            if in_a_row == _GIVE_UP:
                asking.stop()
            bar.update()
    return failed, len(left) - asked


def _summary(ledger: Ledger, failed: Sequence[Outcome], unasked: int) -> list[str]:
    """What is on file, what failed and why, and how to use it."""
    counts = Counter(record.source for record in ledger.records)
    found = ", ".join(f"{counts[source]} {source}" for source in sorted(counts))
    lines = [f"{ledger.path}: {found or 'nothing'}"]
    if failed or unasked:
        lines.append(
            f"{len(failed)} questions failed, {unasked} were not asked; the same command "
            "asks them again"
        )
    kinds: dict[str, list[Outcome]] = {}
    for outcome in failed:
        kinds.setdefault(outcome.failure.kind, []).append(outcome)
    for kind, outcomes in kinds.items():
        question, failure = outcomes[0]
        about = question.draft.image or question.draft.class_name
        detail = f": {failure.detail}" if failure.detail else ""
        lines.append(f"  {len(outcomes)} × {kind}, first of {about}{detail}")
    if ledger.records:
        flag = shlex.quote(f"--config.knowledge.path={ledger.path}")
        lines.append(f"train with it: {flag}")
    return list(map(printable, lines))
