"""How long a command takes until its first training step, and what passes until then.

    python benchmarks/startup.py                              the embedded demo
    python benchmarks/startup.py --programs                   and all that is compiled
    python benchmarks/startup.py --clip=FOLDER --size=336 --root=DATA --dataset=mvtec

Two processes of `launch.py`, one after the other, after the data are prepared: the
first with nothing compiled and no cached features, the second finds both.
"""

import argparse
import collections
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


class Watch:
    """Seconds of this process's phases and programs, by names in order of first use.

    Args:
        started: when the command was given, by `time.time()`.
    """

    def __init__(self, started: float) -> None:
        self.started = started
        self.seconds: dict[str, float] = {}
        self.programs: dict[str, list[float]] = {}
        self._counts: collections.Counter[str] = collections.Counter()

    def timed(self, name: str, function: Callable) -> Callable:
        """The function, whose time is added to a phase's."""

        @functools.wraps(function)
        def run(*arguments: Any, **keywords: Any) -> Any:
            started = time.time()
            try:
                return function(*arguments, **keywords)
            finally:
                spent = time.time() - started
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return run

    def since_command(self, name: str) -> None:
        """Note the time since the command was given."""
        self.seconds[name] = time.time() - self.started

    def count_programs(self, until: str) -> None:
        """Note how many programs there were, and how many were found compiled."""
        total = sum(map(len, self.programs.values()))
        self.seconds[f"programs until {until}"] = total
        found = self._counts["/jax/compilation_cache/cache_hits"]
        self.seconds["    found compiled"] = found

    def listen(self) -> None:
        """Hear of all that is compiled from now on."""
        from jax import monitoring

        def compiled(event: str, seconds: float, **details: Any) -> None:
            if event == "/jax/core/compile/backend_compile_duration":
                name = str(details.get("fun_name", "?"))
                self.programs.setdefault(name, []).append(seconds)

        monitoring.register_event_duration_secs_listener(compiled)
        monitoring.register_event_listener(
            lambda event, **_: self._counts.update([event])
        )


def run(watch: Watch, arguments: list[str]) -> int:
    """Call `launch.py`, with a watch on the engine's own functions."""
    import launch
    from kanoclip_jax import engine

    importing = engine._main

    def main_of(*given: Any) -> Callable:
        main = importing(*given)
        watch.since_command("imports")
        watch.listen()
        _instrument(watch)
        return watch.timed("whole run, imports apart", main)

    engine._main = main_of
    return launch.main(["launch.py", *arguments])


def _instrument(watch: Watch) -> None:
    import jax

    from kanoclip_jax.engine import programs, step, train

    for owner, name, phase in (
        (train, "load_method", "reading CLIP"),
        (train, "open_targets", "opening the datasets"),
        (train, "open_dataset", "opening the datasets"),
        (train, "abstract_state", "shapes of the state"),
        (train, "Programs", "shapes of the features"),
        (train.Run, "_fresh", "drawing parameters"),
        (train.Run, "_knowledge", "knowledge"),
        (train, "filled_cache", "filling the feature cache"),
        (step.Inference, "text", "evaluation: prompts"),
    ):
        setattr(owner, name, watch.timed(phase, getattr(owner, name)))
    compiling, stepping = programs.compile_to_fit, programs.Programs.step

    def compile_to_fit(name: str, *arguments: Any) -> Any:
        return watch.timed(f"beside: compiling {name}", compiling)(name, *arguments)

    def first_step(*arguments: Any) -> Any:
        programs.Programs.step = stepping
        found = watch.timed("waiting for the step, and the step", stepping)(*arguments)
        jax.block_until_ready(found)
        watch.since_command("FIRST STEP, from the command on")
        watch.count_programs("then")
        return found

    programs.compile_to_fit = compile_to_fit
    programs.Programs.step = first_step


def child(result: str, started: str, *arguments: str) -> int:
    """One process that is measured."""
    watch = Watch(float(started))
    status = run(watch, list(arguments))
    watch.since_command("END, from the command on")
    watch.count_programs("the end")
    Path(result).write_text(json.dumps([watch.seconds, watch.programs]))
    return status


def launched(folder: Path, name: str, flags: list[str]) -> tuple[dict, dict]:
    """Seconds by phase and by program of a process of its own."""
    result = folder / f"{name}.json"
    command = [sys.executable, __file__, "--child", str(result)]
    flags = [*flags, f"--workdir={folder / name}"]
    subprocess.run([*command, str(time.time()), *flags], cwd=ROOT, check=True)
    return tuple(json.loads(result.read_text()))


def flags_of(given: argparse.Namespace, prepared: Path) -> list[str]:
    """What the command line of `launch.py` is given."""
    settings = {
        "clip.name": given.clip,
        "clip.image_size": given.size,
        "data.root": given.root,
        "data.prepared": prepared,
        "train.dataset": given.dataset,
        "train.classes": given.classes,
        "train.epochs": 1,
        "train.batch_size": given.batch_size,
        "eval.datasets": given.targets,
        "eval.classes": given.target_classes,
        "eval.batch_size": given.batch_size,
    }
    return [
        f"--config={given.config}",
        *(f"--config.{key}={value}" for key, value in settings.items() if value),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/demo.py")
    parser.add_argument("--clip", default="")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--root", default="")
    parser.add_argument("--dataset", default="")
    parser.add_argument("--classes", default="", help="of the training dataset")
    parser.add_argument("--targets", default="")
    parser.add_argument("--target-classes", default="")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--programs", action="store_true", help="list them")
    parser.add_argument("--output")
    given = parser.parse_args()
    if given.config == "configs/demo.py" and not given.dataset:
        # Two of the demonstration's classes: 64 pictures each.
        given.classes = given.classes or "weave"
        given.target_classes = given.target_classes or "knit"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = flags_of(given, folder / "prepared")
        launch = [sys.executable, "launch.py", "--mode=prepare", *flags]
        subprocess.run([*launch, f"--workdir={folder / 'run'}"], cwd=ROOT, check=True)
        cold, programs = launched(folder, "cold", flags)
        warm, again = launched(folder, "warm", flags)
    from common import show

    phases = list(dict.fromkeys([*cold, *warm]))
    title = f"Start-up of {given.config}, seconds"
    rows = [_row(phase, cold, warm) for phase in phases]
    show(title, rows, given.output)
    if given.programs:
        sums = [{k: sum(v) for k, v in found.items()} for found in (programs, again)]
        names = sorted(programs, key=lambda name: -sums[0][name])
        show(
            "Programs, seconds",
            [_row(name, *sums) | {"times": len(programs[name])} for name in names],
        )


def _row(name: str, cold: Mapping, warm: Mapping) -> dict[str, Any]:
    return {"what": name, "cold": cold.get(name, ""), "warm": warm.get(name, "")}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(child(*sys.argv[2:]))
    main()
