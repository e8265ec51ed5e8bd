"""Training: frozen features in, a few million parameters out, then an evaluation."""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from data_pipelines.errors import DataError
from data_pipelines.pipeline import steps_per_run
from data_pipelines.sources import Source
from kanoclip_jax.engine import circumstances, endings
from kanoclip_jax.engine.auxiliary import open_auxiliary, refuse_without_masks
from kanoclip_jax.engine.batches import filled_cache, train_batches
from kanoclip_jax.engine.build import (
    class_names,
    load_method,
    open_targets,
    refuse_training_dataset,
)
from kanoclip_jax.engine.checkpoint import Checkpoints, DamagedError, read_meta
from kanoclip_jax.engine.knowledge.training import training_knowledge
from kanoclip_jax.engine.memory import allowed_pieces
from kanoclip_jax.engine.optimizer import make_optimizer, make_schedule
from kanoclip_jax.engine.programs import Programs
from kanoclip_jax.engine.provenance import refuse_other_inputs, training_inputs
from kanoclip_jax.engine.settings import to_dict
from kanoclip_jax.engine.sharding import Devices, first_alone, gather
from kanoclip_jax.engine.step import (
    TrainState,
    abstract_state,
    count_parameters,
    fresh_state,
)
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.engine.writer import Log
from kanoclip_jax.errors import InputError
from kanoclip_jax.files import reason
from kanoclip_jax.finite import check_finite
from kanoclip_jax.models.base import Classes, Method

_DIVERGED = (
    "training diverged: lower --config.train.learning_rate and "
    "--config.train.prompt_learning_rate, or compute in single precision with "
    "--config.clip.dtype=float32, and pass another --workdir"
)
T = TypeVar("T")


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Train, or continue, or find finished; then evaluate, and print the report."""
    del overrides
    if config.checkpoint:
        print(
            f"checkpoint={config.checkpoint} is for every mode but train, which goes on "
            f"from what {workdir} holds, or from the beginning"
        )
    report = run(config, workdir)
    from kanoclip_jax.engine.reporting.report import to_terminal

    print(to_terminal(report))
    return 0


def run(config: FrozenConfigDict, workdir: Path) -> dict[str, Any]:
    """Train, or continue, or find finished; then evaluate on `eval.datasets`.

    Returns:
        The report, which is also written.
    """
    folder = Workdir(workdir)
    method = load_method(config)
    if method.learns:
        refuse_training_dataset(config, config.train.dataset)
    targets = open_targets(config)
    source = _open_auxiliary(config) if method.learns else None
    first_alone("workdir", lambda: folder.claim(config))
    training = Run(config, folder, method, source)
    report = folder.report()
    finished = bool(
        training.finished
        and report
        and list(report["datasets"]) == list(targets.sources)
    )
    state = training.check() if finished else training.train()
    # What measures and draws takes seconds to import: the first step does not wait.
    from kanoclip_jax.engine.evaluate import evaluate
    from kanoclip_jax.engine.reporting.report import write_report

    if finished:
        print(f"{workdir} has finished:")
        if not (workdir / "report.html").is_file():
            write_report(folder, report)
    else:
        report = evaluate(
            config,
            method,
            state.params,
            targets,
            folder=workdir,
            checkpoint=training.checkpoint,
            training=training.trained_on,
            row=config.get("row", ""),
            train_seconds=training.seconds,
        )
        write_report(folder, report)
    return report


def _is_no_trace_of_orbax(record: logging.LogRecord) -> bool:
    return not (record.exc_info and "orbax" in record.pathname)


def _read(batches: Iterator[T]) -> Iterator[T]:
    """The batches, to the end or until a reader heard first of the run's."""
    try:
        yield from batches
    except DataError:
        # A terminal, as a cluster, signals all processes of a run, its readers too.
        if not endings.asked():
            raise


def _open_auxiliary(config: FrozenConfigDict) -> Source:
    source = open_auxiliary(config, config.train.dataset, config.train.classes)
    refuse_without_masks(source)
    return source


class Run:
    """One training, from its first step or from its last checkpoint.

    Args:
        config: the settings.
        folder: where checkpoints and logs go.
        method: what is trained.
        source: the auxiliary dataset; None for a method that learns nothing.

    Attributes:
        seconds: wall time of training so far, over all resumes.
    """

    def __init__(
        self,
        config: FrozenConfigDict,
        folder: Workdir,
        method: Method,
        source: Source | None,
    ) -> None:
        self._config, self._folder = config, folder
        self._method, self._source = method, source
        self._steps = steps_per_run(
            len(source or ()), config.train.batch_size, config.train.epochs
        )
        self._optimizer = make_optimizer(
            prompt_learning_rate=config.train.prompt_learning_rate,
            learning_rate=config.train.learning_rate,
            betas=config.train.adam_betas,
            weight_decay=config.train.weight_decay,
        )
        self.seconds = 0.0
        # The digest of what the knowledge loss learns from; empty where it is off.
        self._sentences = ""
        # And those of pictures, backbones and code, once a step is to be saved.
        self._inputs: dict[str, Any] = {}
        self._devices = Devices(config.train.batch_size, "train.batch_size")
        # Shapes alone: values are drawn, or restored, when the steps compile already.
        self._state = abstract_state(method, self._optimizer, self._devices)
        self._checkpoints = None
        if method.learns:
            self._checkpoints = Checkpoints(folder.checkpoints)
            # What Orbax's threads raise is raised here, too, and said in a line.
            logging.getLogger("absl").addFilter(_is_no_trace_of_orbax)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        if self._checkpoints is None:
            return True
        return self._checkpoints.latest == self._steps

    @property
    def checkpoint(self) -> Path | None:
        """The last step's folder; None for a method that learns nothing."""
        if self._checkpoints is None:
            return None
        return self._folder.checkpoints / str(self._steps)

    @property
    def trained_on(self) -> dict[str, Any] | None:
        """What a report says of it; None for a method that learns nothing."""
        if self._checkpoints is None:
            return None
        return circumstances.of_training(self._about)

    @property
    def _about(self) -> dict[str, Any]:
        """What a checkpoint and a report say of the training."""
        return {
            "config": to_dict(self._config),
            "dataset": self._config.train.dataset,
            "seed": self._config.seed,
        }

    def train(self) -> TrainState:
        """Run the steps that are left."""
        if self._checkpoints is None:
            print("this configuration has nothing to train")
            return self._fresh()
        if self.finished:
            self._restore()
        # Where the last step is damaged, an older one goes on.
        if not self.finished:
            self._train()
        with self._saving():
            self._checkpoints.close()
        return self._state

    def check(self) -> None:
        """See that what has finished was trained on what there is now.

        Raises:
            InputError: it was not.
        """
        if self.checkpoint is None:
            return
        try:
            meta = read_meta(self.checkpoint)
        except DamagedError as error:
            print(f"{error}; its report is as it was")
        else:
            refuse_other_inputs(self._folder.path, meta, self._method, self._source)

    def _train(self) -> None:
        started = time.monotonic()
        config, batch_size = self._config.train, self._config.train.batch_size
        method, devices = self._method, self._devices
        frozen = devices.copy(method.frozen)
        classes = method.prompts(frozen, class_names(self._source))
        programs = self._programs(classes)
        if self._checkpoints.latest is None:
            self._state = self._fresh()
        else:
            self._restore()
        earlier = self.seconds
        if method.needs_knowledge:
            classes = method.learning_from(classes, self._knowledge())
        classes = devices.copy(classes)
        read = (self._config, method, self._source)
        cache = filled_cache(*read, programs, frozen, devices)
        # Where features are cached, the pictures' digests are known by now.
        self._inputs = training_inputs(method, self._source)
        print(
            f"training {count_parameters(self._state.params):,} parameters on "
            f"{len(self._source)} images, {self._steps} steps of {batch_size}"
        )
        first = int(self._state.step)
        batches = train_batches(*read, cache, programs, frozen, devices, first=first)
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(
                Log(self._folder.path, first, self._steps, batch_size, config.epochs)
            )
            for step, (features, batch) in enumerate(_read(batches), start=first + 1):
                self._state, terms = programs.step(
                    frozen, self._state, features, batch, classes
                )
                if step == first + 1:
                    # From here on there is something to save; until here, programs may
                    # compile for minutes.
                    stack.enter_context(endings.patiently())
                log.count(step)
                if step % config.log_every == 0 or step == self._steps:
                    values = {name: float(value) for name, value in terms.items()}
                    check_finite(values, f"the loss of step {step}", _DIVERGED)
                    log.write(step, values)
                    with self._saving():
                        self._checkpoints.check()
                ended = self._told_to_end(step)
                if ended or step % config.checkpoint_every == 0 or step == self._steps:
                    self.seconds = earlier + time.monotonic() - started
                    self._save(step)
                if ended:
                    self._end(step, ended)
            reached = int(self._state.step)
            if first < reached < self._steps:
                if reached % config.checkpoint_every:
                    self._save(reached)
                self._end(reached, endings.asked())

    def _end(self, step: int, signal: int) -> NoReturn:
        with self._saving():
            self._checkpoints.close()
        print(f"\nstep {step} of {self._steps} is saved")
        raise endings.Interrupted(signal)

    def _told_to_end(self, step: int) -> int:
        """The signal that some process got; all of a run end after the same step."""
        if jax.process_count() == 1:
            return endings.asked()
        # Asking the others takes time, as does writing a line.
        if step % self._config.train.log_every and step < self._steps:
            return 0
        return max(gather(endings.asked()))

    def _fresh(self) -> TrainState:
        return fresh_state(
            self._method, self._optimizer, self._devices, self._config.seed
        )

    def _restore(self) -> None:
        self._state, meta = self._checkpoints.restore(self._state)
        refuse_other_inputs(self._folder.path, meta, self._method, self._source)
        check_finite(
            self._state.params, f"the checkpoint in {self._folder.path}", _DIVERGED
        )
        self.seconds = meta["seconds"]
        self._sentences = meta.get("knowledge", "")
        print(f"continuing from step {int(self._state.step)} of {self._steps}")

    def _programs(self, classes: Classes) -> Programs:
        config = self._config.train
        return Programs(
            self._method,
            self._optimizer,
            self._devices,
            schedule=make_schedule(
                len(self._source) / config.batch_size, config.full_epochs
            ),
            batch_size=config.batch_size,
            pieces=allowed_pieces(
                config.accumulate, config.batch_size, self._devices.mesh.size
            ),
            state=self._state,
            classes=classes,
        )

    def _knowledge(self) -> np.ndarray:
        """The classes' knowledge means; those of the steps before, if there are any.

        Raises:
            InputError: the sentences have changed since.
        """
        means, digest = training_knowledge(
            self._config, self._source, self._method.clip
        )
        if digest != (self._sentences or digest):
            raise InputError(
                f"{self._folder.path} was trained with other knowledge sentences "
                f"(sha256 {self._sentences[:12]}, now {digest[:12]}); give it the same "
                "with --config.knowledge.path=FILE.jsonl, or pass another --workdir"
            )
        self._sentences = digest
        return means

    def _save(self, step: int) -> None:
        check_finite(self._state.params, f"what step {step} learned", _DIVERGED)
        meta: dict[str, Any] = {
            **self._about,
            **self._method.backbone_identity(),
            "classes": list(self._source.classes),
            "seconds": self.seconds,
            "data": {"next_index": step},
            "knowledge": self._sentences,
            "inputs": self._inputs,
        }
        with self._saving():
            self._checkpoints.save(self._state, meta)

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        """Name what went wrong with a checkpoint, in whatever thread it did.

        Raises:
            InputError: one could not be saved.
        """
        try:
            yield
        # Orbax promises no exception types.
        except Exception as error:
            raise InputError(
                f"{self._folder.checkpoints}: a checkpoint could not be saved "
                f"({reason(error)}); free some space or see what else writes there, and "
                "the same command goes on from the last whole one"
            ) from error
