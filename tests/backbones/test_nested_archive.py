"""Nested torch archives: published ones, torch's own, and hostile ones refused."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from torch_archives import (
    VALUES,
    Call,
    Named,
    Reduce,
    Storage,
    opcodes,
    tensor,
    write_archive,
)

from kanoclip_jax.backbones.archive import read_nested_archive, read_torch_archive
from kanoclip_jax.errors import InputError

WHOLE = tensor(Storage("FloatStorage", "a", 12, "cuda:0"), 0, (3, 4), (4, 1))


def nested(levels: int, inner: object) -> object:
    for _ in range(levels):
        inner = {"x": inner}
    return inner


def test_dicts_of_dicts_from_a_gpu(tmp_path: Path) -> None:
    root = {"trainable": {"fc.0.weight": WHOLE, "deeper": {"row": WHOLE}}, "none": {}}
    found = read_nested_archive(
        write_archive(tmp_path / "m.pth", root, a=bytes(VALUES))
    )
    assert found.keys() == {"trainable", "none"} and found["none"] == {}
    assert found["trainable"].keys() == {"fc.0.weight", "deeper"}
    for array in (
        found["trainable"]["fc.0.weight"],
        found["trainable"]["deeper"]["row"],
    ):
        np.testing.assert_array_equal(array, VALUES.reshape(3, 4))


def test_what_torch_saves(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    linear = torch.nn.Linear(3, 2)
    whole = torch.arange(6, dtype=torch.int32).reshape(2, 3)
    root = {
        "layer": linear.state_dict(),
        "numbers": {
            "int32": whole,
            "transposed": whole.T,
            "float16": whole.half(),
            "bfloat16": whole.bfloat16(),
            "parameter": torch.nn.Parameter(whole.float()),
        },
    }
    torch.save(root, tmp_path / "m.pth")
    found = read_nested_archive(tmp_path / "m.pth")
    for name, value in linear.state_dict().items():
        np.testing.assert_array_equal(found["layer"][name], value.numpy())
    values = np.arange(6).reshape(2, 3)
    for name, array in found["numbers"].items():
        expected = values.T if name == "transposed" else values
        np.testing.assert_array_equal(array.astype(int), expected)
    dtypes = [str(array.dtype) for array in found["numbers"].values()]
    assert dtypes == ["int32", "int32", "float16", "bfloat16", "float32"]


def test_published_prompts() -> None:
    """Their tokens are known: SOT, twelve X, the words, the end, and padding."""
    shared = os.environ.get("KANOCLIP_SHARED")
    if not shared:
        pytest.skip("KANOCLIP_SHARED is unset: no published checkpoint to read")
    folder = Path(shared) / "methods/parity"
    (found,) = read_nested_archive(folder / "crane_epoch_5.pth").values()
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes == {
        "ctx_pos": (1, 1, 12, 768),
        "ctx_neg": (1, 1, 12, 768),
        "token_prefix_pos": (1, 1, 1, 768),
        "token_suffix_pos": (1, 1, 64, 768),
        "token_prefix_neg": (1, 1, 1, 768),
        "token_suffix_neg": (1, 1, 64, 768),
        "tokenized_prompts_pos": (1, 1, 77),
        "tokenized_prompts_neg": (1, 1, 77),
        **{f"compound_prompts_text.{i}": (4, 768) for i in range(8)},
    }
    tokens = found["tokenized_prompts_neg"]
    assert tokens.dtype == np.int32
    words = [49406, *[343] * 12, 13568, 14115, 269, 49407]
    assert tokens[0, 0].tolist() == words + [0] * (77 - len(words))
    assert found["ctx_pos"].dtype == np.float32 and found["ctx_pos"].std() < 1
    tiny = read_nested_archive(folder / "crane_tiny_prompts.pth")["prompt_learner"]
    assert tiny["ctx_pos"].shape == (1, 1, 12, 32)
    # The same prompts lie in the reference file as arrays.
    with np.load(folder / "crane_parity.npz") as reference:
        for name in ("ctx_pos", "ctx_neg", "compound_prompts_text.7"):
            np.testing.assert_array_equal(tiny[name], reference[f"prompt/{name}"])


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.system, eval])
def test_code_deep_inside_is_named_and_not_run(
    tmp_path: Path, function: object, protocol: int
) -> None:
    proof = tmp_path / "ran"
    argument = {
        os.system: f"touch {proof}",
        eval: f"__import__('os').mkdir({str(proof)!r})",
    }[function]
    attack = OrderedDict(x=Reduce(function, argument))
    path = tmp_path / "m.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps(nested(3, attack), protocol))
    with pytest.raises(InputError, match="it asks for") as caught:
        read_nested_archive(path)
    assert function.__name__ in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ({"epoch": 5, "state": {}}, "its 'epoch' is of type int; allowed: named tens"),
        ({"x": {"y": [1, 2]}}, "its 'y' is of type list"),
        ({"x": {3: WHOLE}}, "has a key that is no name"),
        (("a", "tuple"), "it is of type tuple"),
        ({"x": Named("torch", "FloatStorage")}, "its 'x' is of type"),
        ({"x": Storage("FloatStorage", "a", 12)}, "its 'x' is of type"),
        ({"x": Named("builtins", "dict")}, "it asks for builtins.dict"),
        ({"x": Call(Named("torch.nn.modules.linear", "Linear"))}, "it asks for torch"),
    ],
)
def test_anything_but_tensors_and_dicts_is_refused(
    tmp_path: Path, root: object, said: str
) -> None:
    path = write_archive(tmp_path / "m.pth", root, a=bytes(VALUES))
    with pytest.raises(InputError, match=said) as caught:
        read_nested_archive(path)
    assert "torch.save" in str(caught.value)


def test_eight_levels_are_read_and_nine_are_not(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "8.pth", nested(8, WHOLE), a=bytes(VALUES))
    found = read_nested_archive(path)
    for _ in range(8):
        found = found["x"]
    assert found.shape == (3, 4)
    path = write_archive(tmp_path / "9.pth", nested(9, WHOLE), a=bytes(VALUES))
    with pytest.raises(InputError, match="its 'x' is of type dict; allowed: a tensor"):
        read_nested_archive(path)


def test_no_depth_of_nesting_is_a_crash(tmp_path: Path) -> None:
    deep = pickle.EMPTY_DICT + (opcodes("x") + pickle.EMPTY_DICT) * 20_000
    content = b"\x80\x02" + deep + pickle.SETITEM * 20_000 + pickle.STOP
    path = tmp_path / "m.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", content)
    with pytest.raises(InputError, match="allowed: a tensor"):
        read_nested_archive(path)


def test_a_dict_in_two_places_is_refused(tmp_path: Path) -> None:
    shared: dict[str, object] = {}
    circle: dict[str, object] = {}
    circle["x"] = circle
    for root in ({"a": shared, "b": shared}, circle):
        path = tmp_path / "m.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/data.pkl", pickle.dumps(root, 2))
        with pytest.raises(InputError, match="is a dict that it holds elsewhere too"):
            read_nested_archive(path)


def test_a_flat_reader_names_the_dict(tmp_path: Path) -> None:
    root = {"prompt_learner": {"x": WHOLE}}
    path = write_archive(tmp_path / "m.pth", root, a=bytes(VALUES))
    with pytest.raises(InputError, match="'prompt_learner' is of type dict"):
        read_torch_archive(path)


def test_older_and_truncated_files_are_named(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "m.pth", {"a": {"x": WHOLE}}, a=bytes(VALUES))
    whole = path.read_bytes()
    # Before 1.6, torch wrote a row of pickles that begins with its magic number.
    for content in (whole[: len(whole) // 2], pickle.dumps(0x1950A86A20F9469CFC6C)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="no torch archive of the zip kind"):
            read_nested_archive(path)


def deep_tuple(levels: int, step: bytes) -> bytes:
    """Tuples in each other: with `2` and `\\x86`, pairs of one and the same."""
    return pickle.EMPTY_TUPLE + step * levels


@pytest.mark.parametrize("step", [b"\x85", b"2\x86"], ids=["chain", "pairs"])
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"}", b"Ns", "a key that is no name"),
        (b"}(", b"Nu", "a key that is no name"),
        (b"(", b"Nd", "a key that is no name"),
        (b"\x8f(", b"\x90", "a set"),
        (b"(", b"\x91", "a set"),
        (b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n", b"NNtQ", "by no name"),
        (b"ccollections\nOrderedDict\n(((", b"NtltR", "takes 0 positional"),
    ],
)
def test_nothing_hashes_a_tuple_that_a_file_made(
    tmp_path: Path, before: bytes, after: bytes, message: str, step: bytes
) -> None:
    """Python descends into all of its levels: a crash, or a call that never ends."""
    path = tmp_path / "m.pth"
    with zipfile.ZipFile(path, "w") as archive:
        hashed = before + deep_tuple(200_000, step) + after
        archive.writestr("m/data.pkl", b"\x80\x04" + hashed + b".")
    with pytest.raises(InputError, match=message):
        read_nested_archive(path)
