"""Shared walks against equations in numpy, and against what the methods' own code gives."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy_clip
import pytest
import tiny_clip
from openclip_files import write_openclip

from kanoclip_jax.backbones import Clip, DualPathCLIP, load_clip
from kanoclip_jax.backbones.walks import encode_windows, plain_taps, window_patches
from kanoclip_jax.errors import InputError

PIXELS = np.random.default_rng(2).normal(size=(2, 32, 32, 3)).astype(np.float32)


def run(clip: Clip, walk: Callable[..., Any], pixels: np.ndarray, *rest: Any) -> Any:
    # Op by op: the blocks are alike, so that little is compiled.
    found = clip.module.apply({"params": clip.params}, pixels, *rest, method=walk)
    return jax.tree.map(np.asarray, found)


def test_plain_taps_equal_numpy(
    clip: Clip, tiny_weights: dict[str, np.ndarray]
) -> None:
    found = run(clip, plain_taps, PIXELS, (2, 4))
    streams, _ = numpy_clip.image_streams(PIXELS, tiny_weights, tiny_clip.CONFIG, 5)
    for index, depth in enumerate((2, 4)):
        expected = streams[depth][:, 1:]
        np.testing.assert_allclose(found.taps[:, index], expected, atol=1e-5)
    cls = numpy_clip.image_feature(streams[4][:, 0], tiny_weights)
    np.testing.assert_allclose(found.cls, cls, atol=1e-5)


def test_window_patches_in_reading_order() -> None:
    expected = [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]
    np.testing.assert_array_equal(window_patches(3, 2), expected)
    np.testing.assert_array_equal(window_patches(3, 3), [range(9)])


@pytest.mark.parametrize("size", [0, 5])
def test_window_that_does_not_fit_is_refused(clip: Clip, size: int) -> None:
    with pytest.raises(InputError, match=f"windows of {size} .*allowed: 1 to 4"):
        run(clip, encode_windows, PIXELS, (size,))


def test_windows_equal_numpy(clip: Clip, tiny_weights: dict[str, np.ndarray]) -> None:
    """Each window by itself: its patches, at their positions, before any norm."""
    found = run(clip, encode_windows, PIXELS, (2, 4))
    assert [part.shape for part in found] == [(2, 9, 48), (2, 1, 48)]
    embedded = numpy_clip.embed_image(PIXELS, tiny_weights)
    for part, size in zip(found, (2, 4), strict=True):
        per_row = 4 - size + 1
        for window in range(per_row**2):
            top, left = divmod(window, per_row)
            rows = [
                1 + 4 * (top + i) + left + j for i in range(size) for j in range(size)
            ]
            x = numpy_clip.layer_norm(
                embedded[:, [0, *rows]], tiny_weights, "vision_model.pre_layrnorm"
            )
            for index in range(4):
                prefix = f"vision_model.encoder.layers.{index}"
                x, _ = numpy_clip.block(x, tiny_weights, prefix, 4)
            expected = numpy_clip.image_feature(x[:, 0], tiny_weights)
            np.testing.assert_allclose(part[:, window], expected, atol=1e-5)


def read_parity(name: str) -> Mapping[str, np.ndarray]:
    """What the public torch code of a method computes on tiny random weights."""
    folder = os.environ.get("KANOCLIP_SHARED")
    if not folder:
        pytest.skip("KANOCLIP_SHARED, with the methods' references, is not set")
    return np.load(Path(folder) / "methods" / "parity" / f"parity_{name}.npz")


def load_parity(
    path: Path, parity: Mapping[str, np.ndarray], config: dict[str, Any], **how: Any
) -> Clip:
    state = {
        name.removeprefix("sd/"): parity[name]
        for name in parity
        if name.startswith("sd/")
    }
    return load_clip(str(write_openclip(path, state, {"model_cfg": config})), **how)


def text_section(layers: int) -> dict[str, int]:
    return {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 64,
        "heads": 1,
        "layers": layers,
    }


@pytest.fixture(scope="module")
def winclip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    vision = {"image_size": 80, "layers": 4, "width": 128, "patch_size": 16}
    config = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text_section(4)}
    folder = tmp_path_factory.mktemp("winclip")
    return load_parity(folder, read_parity("winclip"), config)


def test_windows_equal_winclip(winclip: Clip) -> None:
    parity = read_parity("winclip")
    clip = winclip
    pixels = np.asarray(clip.normalise(parity["in/images_uint8"]))
    np.testing.assert_allclose(
        pixels, parity["in/pixels"].transpose(0, 2, 3, 1), atol=1e-6
    )
    for size in (2, 3):
        np.testing.assert_array_equal(
            window_patches(5, size), parity[f"visual/mask_{size}x{size}"]
        )
    twos, threes = run(clip, encode_windows, pixels, (2, 3))
    np.testing.assert_allclose(twos, parity["visual/windows_2x2"], atol=5e-5)
    np.testing.assert_allclose(threes, parity["visual/windows_3x3"], atol=5e-5)
    plain = run(clip, plain_taps, pixels, (4,))
    np.testing.assert_allclose(plain.cls, parity["visual/cls"], atol=5e-5)
    np.testing.assert_allclose(
        plain.taps[:, 0], parity["visual/patch_tokens_raw"], atol=2e-4
    )


def test_text_equals_winclip(winclip: Clip) -> None:
    parity = read_parity("winclip")
    ids, end = (parity[f"text/bottle/abnormal/{name}"] for name in ("ids", "eot"))
    found = run(winclip, DualPathCLIP.encode_text, ids[:, : end.max() + 1], end)
    np.testing.assert_allclose(found, parity["text/bottle/abnormal/raw"], atol=2e-5)


@pytest.mark.parametrize(
    ("activation", "prefix", "compared"),
    [("gelu", "", (3, 6, 9, 12)), ("", "quickgelu/", (12,))],
    ids=["as published", "OpenAI's own activation"],
)
def test_taps_equal_april_gan(
    tmp_path: Path, activation: str, prefix: str, compared: tuple[int, ...]
) -> None:
    """OpenAI's weights, with exact GELU and an antialiased position grid."""
    parity = read_parity("aprilgan")
    vision = {"image_size": 56, "layers": 12, "width": 128, "patch_size": 14}
    config = {
        "embed_dim": 48,
        "quick_gelu": True,
        "vision_cfg": vision,
        "text_cfg": text_section(6),
    }
    clip = load_parity(
        tmp_path,
        parity,
        config,
        image_size=84,
        position_grid="bicubic_antialias",
        activation=activation,
    )
    embeddings = clip.params["vision_model"]["embeddings"]
    np.testing.assert_allclose(
        embeddings["position_embedding"]["embedding"],
        parity["visual/positional_embedding_resized"],
        atol=1e-5,
    )
    pixels = parity["in/pixels"].transpose(0, 2, 3, 1)
    found = run(clip, plain_taps, pixels, compared)
    np.testing.assert_allclose(found.cls, parity[f"{prefix}visual/cls"], atol=5e-5)
    for index, tap in enumerate(compared):
        expected = parity[f"{prefix}visual/tap{tap}_raw"][:, 1:]
        np.testing.assert_allclose(found.taps[:, index], expected, atol=2e-4)
