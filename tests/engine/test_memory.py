"""How finely a batch is cut, and the error where a device runs out of memory."""

from types import SimpleNamespace

import jax
import pytest

from kanoclip_jax import engine
from kanoclip_jax.engine.memory import choose_parts, out_of_memory
from kanoclip_jax.errors import InputError


class Program:
    """Stands in for a lowered program that needs so many bytes."""

    def __init__(self, size: int) -> None:
        self._size = size

    def compile(self) -> "Program":
        return self

    def memory_analysis(self) -> SimpleNamespace:
        return SimpleNamespace(
            temp_size_in_bytes=self._size,
            argument_size_in_bytes=30,
            output_size_in_bytes=20,
            alias_size_in_bytes=10,
        )


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, 1), (1000, 1), (500, 2), (300, 4), (10, 8)]
)
def test_the_fewest_pieces_that_fit(monkeypatch, limit, expected) -> None:
    """Of a batch that needs 800 bytes in one piece, with 40 more for the arguments."""
    stats = None if limit is None else {"bytes_limit": limit}
    device = SimpleNamespace(memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    found = choose_parts(
        [1, 2, 4, 8], lambda parts: [Program(100 // parts), Program(800 // parts)]
    )
    assert found == expected


@pytest.mark.parametrize(
    ("mode", "setting"),
    [
        ("train", "train.accumulate"),
        ("eval", "eval.batch_size"),
        ("predict", "predict.batch_size"),
    ],
)
def test_out_of_memory_names_the_setting(mode: str, setting: str) -> None:
    error = RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")
    assert setting in str(out_of_memory(error, mode))
    assert out_of_memory(RuntimeError("INTERNAL: something else"), mode) is None


@pytest.mark.parametrize("pieces", ["3", "0", "many"])
def test_pieces_that_cannot_be(settings, tmp_path, pieces: str) -> None:
    with pytest.raises(InputError, match="train.accumulate"):
        engine.run("train", settings(train__accumulate=pieces), tmp_path)
