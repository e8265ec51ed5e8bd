"""Training: frozen features in, a few million parameters out, then an evaluation."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import FrozenConfigDict
from tqdm import tqdm

from data_pipelines.pipeline import steps_per_run, train_stream
from data_pipelines.sources import Source
from kanoclip_jax.clip import Clip
from kanoclip_jax.engine.build import (
    class_names,
    load_method,
    open_dataset,
    open_targets,
    refuse_training_dataset,
)
from kanoclip_jax.engine.checkpoint import Checkpoints
from kanoclip_jax.engine.evaluate import evaluate
from kanoclip_jax.engine.features import FeatureCache, Tower, choose_cache
from kanoclip_jax.engine.knowledge.training import training_knowledge
from kanoclip_jax.engine.memory import choose_parts
from kanoclip_jax.engine.optimizer import make_optimizer
from kanoclip_jax.engine.reporting.report import to_terminal, write_report
from kanoclip_jax.engine.settings import to_dict
from kanoclip_jax.engine.sharding import Devices, first_alone, is_first
from kanoclip_jax.engine.step import (
    TrainState,
    ahead,
    count_parameters,
    fresh_state,
    make_features,
    make_train_step,
)
from kanoclip_jax.engine.workdir import Workdir
from kanoclip_jax.engine.writer import MetricWriter
from kanoclip_jax.errors import InputError
from kanoclip_jax.models.base import ClassPrompts, Method, Params, TrainBatch, Visual


def main(
    config: FrozenConfigDict, workdir: Path, overrides: frozenset[str] = frozenset()
) -> int:
    """Train, or continue, or find finished; then evaluate, and print the report."""
    del overrides
    print(to_terminal(run(config, workdir)))
    return 0


def run(config: FrozenConfigDict, workdir: Path) -> dict[str, Any]:
    """Train, or continue, or find finished; then evaluate on `eval.datasets`.

    Returns:
        The report, which is also written.
    """
    folder = Workdir(workdir)
    clip, method = load_method(config)
    learns = bool(jax.tree.leaves(jax.eval_shape(method.init, jax.random.key(0))))
    if learns:
        refuse_training_dataset(config, config.train.dataset)
    targets = open_targets(config)
    source = _open_auxiliary(config) if learns else None
    first_alone("workdir", lambda: folder.claim(config))
    training = Run(config, folder, clip, method, source)
    report = folder.report()
    if (
        training.finished
        and report
        and list(report["datasets"]) == list(targets.sources)
    ):
        print(f"{workdir} has finished:")
        if not (workdir / "report.html").is_file():
            write_report(folder, report)
    else:
        state = training.train()
        report = evaluate(
            config,
            clip,
            method,
            state.params,
            targets,
            folder=workdir,
            checkpoint=training.checkpoint,
            train_seconds=training.seconds,
        )
        write_report(folder, report)
    return report


def _open_auxiliary(config: FrozenConfigDict) -> Source:
    source = open_dataset(config, config.train.dataset, config.train.classes)
    if not source.has_masks:
        raise InputError(
            f"{config.train.dataset} has no masks; training needs them, so name a "
            "dataset with masks in --config.train.dataset"
        )
    return source


class Run:
    """One training, from its first step or from its last checkpoint.

    Args:
        config: the settings.
        folder: where checkpoints and logs go.
        clip, method: what is trained.
        source: the auxiliary dataset; None for a method that learns nothing.

    Attributes:
        seconds: wall time of training so far, over all resumes.
    """

    def __init__(
        self,
        config: FrozenConfigDict,
        folder: Workdir,
        clip: Clip,
        method: Method,
        source: Source | None,
    ) -> None:
        self._config, self._folder = config, folder
        self._clip, self._method, self._source = clip, method, source
        self._steps = steps_per_run(
            len(source or ()), config.train.batch_size, config.train.epochs
        )
        self._optimizer = make_optimizer(
            prompt_learning_rate=config.train.prompt_learning_rate,
            learning_rate=config.train.learning_rate,
            betas=config.train.adam_betas,
        )
        self.seconds = 0.0
        # The digest of what the knowledge loss learns from; empty where it is off.
        self._sentences = ""
        self._devices = Devices(config.train.batch_size, "train.batch_size")
        self._state = fresh_state(method, self._optimizer, self._devices, config.seed)
        self._checkpoints = None
        if jax.tree.leaves(self._state.params):
            self._checkpoints = Checkpoints(folder.checkpoints)

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

    def train(self) -> TrainState:
        """Run the steps that are left."""
        if self._checkpoints is None:
            print("this configuration has nothing to train")
            return self._state
        if self._checkpoints.latest is not None:
            self._state, meta = self._checkpoints.restore(self._state)
            self.seconds = meta["seconds"]
            self._sentences = meta.get("knowledge", "")
            print(f"continuing from step {int(self._state.step)} of {self._steps}")
        if not self.finished:
            self._train()
        self._checkpoints.close()
        return self._state

    def _train(self) -> None:
        earlier, started = self.seconds, time.monotonic()
        config, batch_size = self._config.train, self._config.train.batch_size
        classes = self._method.prompts(class_names(self._source))
        knowledge = self._knowledge()
        frozen = self._devices.copy(self._clip.params)
        parts = self._parts(frozen, classes, knowledge)
        step_function = make_train_step(
            self._method, self._optimizer, self._devices, parts
        )
        visual = make_features(self._method, self._devices, parts)
        cache = self._filled_cache(visual, frozen)
        writer = None
        if is_first():
            writer = MetricWriter(self._folder.path, int(self._state.step))
        print(
            f"training {count_parameters(self._state.params):,} parameters on "
            f"{len(self._source)} images, {self._steps} steps of {batch_size}"
        )
        first = int(self._state.step)
        bar = tqdm(
            total=self._steps * batch_size,
            initial=first * batch_size,
            desc="train",
            unit="img",
        )
        batches = self._batches(first, cache, visual, frozen)
        for step, (features, batch) in enumerate(batches, start=first + 1):
            self._state, terms = step_function(
                frozen, self._state, features, batch, classes, knowledge
            )
            bar.update(batch_size)
            if step % config.log_every == 0 or step == self._steps:
                values = {name: float(value) for name, value in terms.items()}
                if writer is not None:
                    writer.write(step, values)
                bar.set_postfix(
                    {k: f"{v:.3f}" for k, v in values.items() if "dist" not in k}
                )
            if step % config.checkpoint_every == 0 or step == self._steps:
                self.seconds = earlier + time.monotonic() - started
                self._save(step)
        bar.close()
        if writer is not None:
            writer.close()

    def _filled_cache(self, visual: Tower, frozen: Params) -> FeatureCache | None:
        config = self._config
        cache = choose_cache(
            config.train.cache_features,
            Path(config.data.prepared),
            self._clip,
            self._method,
            self._source,
        )
        if cache is not None:
            cache.fill(
                self._source,
                visual,
                frozen,
                self._devices,
                batch_size=config.train.batch_size,
                workers=config.data.workers,
            )
        return cache

    def _batches(
        self, first: int, cache: FeatureCache | None, visual: Tower, frozen: Params
    ) -> Iterator[tuple[Visual, TrainBatch]]:
        """Frozen features and labels, from step `first` on."""
        config = self._config
        stream = train_stream(
            self._source,
            image_size=self._clip.image_size,
            batch_size=config.train.batch_size,
            epochs=config.train.epochs,
            seed=config.seed,
            workers=config.data.workers,
            with_images=cache is None,
            part=self._devices.part,
        )
        stream.set_state({"next_index": first})
        host = (
            (self._features(cache, batch), TrainBatch(*(batch[k] for k in _LABELS)))
            for batch in stream
        )
        for features, batch in ahead(host, self._devices.put):
            if cache is None:
                features = visual(frozen, features)
            yield features, batch

    def _features(
        self, cache: FeatureCache | None, batch: Mapping[str, np.ndarray]
    ) -> Visual | np.ndarray:
        if cache is None:
            return batch["image"]
        # Padded rows point at image 0; they weigh nothing.
        return cache.read([self._source.key(int(i)) for i in batch["index"]])

    def _parts(
        self, frozen: Params, classes: ClassPrompts, knowledge: np.ndarray
    ) -> int:
        """Pieces of a batch whose gradients are summed one after another."""
        setting = self._config.train.accumulate
        batch_size, size = self._config.train.batch_size, self._clip.image_size
        rows = batch_size // self._devices.mesh.size
        allowed = [parts for parts in range(1, rows + 1) if rows % parts == 0]
        if setting != "auto" and int(setting) not in allowed:
            raise InputError(
                f"train.accumulate is {setting}; a batch of {batch_size} on "
                f"{self._devices.mesh.size} devices is cut into one of "
                f"{', '.join(map(str, allowed))} pieces"
            )
        if setting != "auto":
            return int(setting)

        def shape(*sizes: int, dtype: type = np.int32) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(
                (batch_size, *sizes), dtype, sharding=self._devices.split
            )

        def programs(parts: int) -> Iterator[jax.stages.Lowered]:
            image = shape(size, size, 3, dtype=np.uint8)
            tower = make_features(self._method, self._devices, parts)
            yield tower.lower(frozen, image)
            features = jax.tree.map(
                lambda leaf: shape(*leaf.shape[1:], dtype=leaf.dtype),
                jax.eval_shape(tower, frozen, image),
            )
            labels = TrainBatch(
                mask=shape(size, size, dtype=np.uint8),
                label=shape(),
                class_index=shape(),
                is_real=shape(dtype=bool),
            )
            step = make_train_step(self._method, self._optimizer, self._devices, parts)
            yield step.lower(frozen, self._state, features, labels, classes, knowledge)

        return choose_parts(allowed, programs)

    def _knowledge(self) -> np.ndarray:
        """The classes' knowledge means; those of the steps before, if there are any.

        Raises:
            InputError: the sentences have changed since.
        """
        if not self._method.needs_knowledge:
            joint = self._clip.module.config.projection_dim
            return np.zeros((len(self._source.classes), joint), np.float32)
        means, digest = training_knowledge(self._config, self._source, self._clip)
        if digest != (self._sentences or digest):
            raise InputError(
                f"{self._folder.path} was trained with other knowledge sentences "
                f"(sha256 {self._sentences[:12]}, now {digest[:12]}); give it the same "
                "with --config.knowledge.path=FILE.jsonl, or pass another --workdir"
            )
        self._sentences = digest
        return means

    def _save(self, step: int) -> None:
        meta: dict[str, Any] = {
            "config": to_dict(self._config),
            "clip": {"name": self._clip.name, "fingerprint": self._clip.fingerprint},
            "dataset": self._config.train.dataset,
            "classes": list(self._source.classes),
            "seconds": self.seconds,
            "data": {"next_index": step},
            "seed": self._config.seed,
            "knowledge": self._sentences,
        }
        self._checkpoints.save(self._state, meta)


_LABELS = TrainBatch._fields
