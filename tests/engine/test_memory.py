"""How finely a batch is cut, and the error where a device runs out of memory."""

from types import SimpleNamespace

import pytest

from kanoclip_jax import engine
from kanoclip_jax.engine import memory
from kanoclip_jax.engine.memory import compile_to_fit, out_of_memory
from kanoclip_jax.errors import InputError


class Program:
    """Stands in for a program, lowered and compiled, that needs so many bytes."""

    def __init__(self, parts: int, compiled: list[int]) -> None:
        self.parts, self._compiled = parts, compiled

    def compile(self) -> "Program":
        self._compiled.append(self.parts)
        return self

    def memory_analysis(self) -> SimpleNamespace:
        return SimpleNamespace(
            temp_size_in_bytes=800 // self.parts,
            argument_size_in_bytes=30,
            output_size_in_bytes=20,
            alias_size_in_bytes=10,
        )


@pytest.mark.parametrize(
    ("limit", "expected", "compilations"),
    [
        (None, 1, [1]),
        (1000, 1, [1]),
        (500, 2, [1, 2]),
        # Two pieces of 400 bytes cannot fit 270, whatever the compiler does.
        (300, 4, [1, 4]),
        (10, 8, [1, 8]),
    ],
)
def test_the_fewest_pieces_that_fit(monkeypatch, limit, expected, compilations) -> None:
    """Of a batch that needs 800 bytes in one piece, with 40 more for the arguments."""
    stats = None if limit is None else {"bytes_limit": limit}
    device = SimpleNamespace(memory_stats=lambda: stats)
    monkeypatch.setattr(memory, "local_device", lambda: device)
    compiled: list[int] = []
    found = compile_to_fit("it", [1, 2, 4, 8], lambda parts: Program(parts, compiled))
    assert found.parts == expected
    assert compiled == compilations


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
