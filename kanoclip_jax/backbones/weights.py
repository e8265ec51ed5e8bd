"""A frozen CLIP, from its directory: described, read, fingerprinted, resized."""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8
from transformers import CLIPConfig

from kanoclip_jax import documents
from kanoclip_jax.backbones import openclip, shapes
from kanoclip_jax.backbones.locate import is_openclip, locate, weights_file
from kanoclip_jax.backbones.tensors import digest, read_weights
from kanoclip_jax.backbones.tokenizer import Tokenizer
from kanoclip_jax.backbones.towers import DualPathCLIP, round_blocks
from kanoclip_jax.errors import InputError
from kanoclip_jax.finite import check_finite

PositionGrid = Literal["bilinear", "bicubic", "bicubic_antialias"]
Activation = Literal["", "quick_gelu", "gelu"]
InputRange = Literal["clip", "unit"]
_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
_UNIT = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
_POSITIONS = ("vision_model", "embeddings", "position_embedding", "embedding")


@dataclass(frozen=True, eq=False)
class Clip:
    """A frozen CLIP, ready to run.

    Attributes:
        name: as it was asked for.
        module: the towers; hold no parameters.
        params: frozen parameters in transformers' Flax tree: float32, but for those of
            attention and MLPs, which are in the dtype of the computation.
        tokenizer: the model's own.
        mean, std: preprocessing constants, for pixels in [0, 1].
        fingerprint: sha256 of the weights as published, in float32, before the position
            grid is resized: equal for the same weights in any file format, however
            they are read.
        described: what the files beside the weights say, as far as a result depends on
            it: heads, epsilons, activations and preprocessing constants.
    """

    name: str
    module: DualPathCLIP
    params: dict[str, Any]
    tokenizer: Tokenizer
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fingerprint: str
    described: str = ""

    @functools.cached_property
    def description(self) -> str:
        """sha256 of `described` and of the tokenizer's words and merges."""
        both = f"{self.described}{self.tokenizer.vocabulary}"
        return hashlib.sha256(both.encode()).hexdigest()

    @property
    def depth(self) -> int:
        """Blocks of the image tower."""
        return self.module.config.vision_config.num_hidden_layers

    @property
    def image_size(self) -> int:
        """Input size in pixels, after the position grid was resized."""
        return self.module.config.vision_config.image_size

    @property
    def activation(self) -> str:
        """Of the MLPs of both towers, by transformers' name."""
        return self.module.config.vision_config.hidden_act

    @property
    def grid(self) -> int:
        """Whole patches along one side."""
        return self.image_size // self.patch

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return self.module.config.vision_config.patch_size

    def reading(self) -> dict[str, object]:
        """All that a pass over an image depends on, but the walk through the tower."""
        positions = self.params["vision_model"]["embeddings"]["position_embedding"]
        return {
            "clip": self.fingerprint,
            "activation": self.activation,
            "mean": self.mean,
            "std": self.std,
            # The resized grid itself stands for how it was resized.
            "positions": hashlib.sha256(
                np.ascontiguousarray(positions["embedding"])
            ).hexdigest(),
            "image_size": self.image_size,
            "compute": jnp.dtype(self.module.dtype).name,
        }

    def normalise(self, images: UInt8[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
        """Pixels to the range that the tower reads."""
        scaled = images.astype(jnp.float32) / 255.0
        return (scaled - jnp.asarray(self.mean)) / jnp.asarray(self.std)


def load_clip(
    name: str,
    image_size: int | None = None,
    *,
    position_grid: PositionGrid = "bilinear",
    activation: Activation = "",
    input_range: InputRange = "clip",
    multiple: bool = True,
    dtype: DTypeLike = jnp.float32,
) -> Clip:
    """Load a CLIP of any size.

    Args:
        name: `demo`, a local directory or a Hugging Face id, as `locate` takes it.
        image_size: input size in pixels; the model's own if None.
        position_grid: how the position grid is resized: `bilinear` as AnomalyCLIP,
            `bicubic` as AdaCLIP, `bicubic_antialias` as APRIL-GAN and MVFA.
        activation: of the MLPs of both towers; the checkpoint's own if empty. APRIL-GAN,
            AdaCLIP and MVFA run OpenAI's weights with `gelu`, the exact one.
        input_range: what the image tower reads: `clip`, pixels normalised with the
            checkpoint's own constants, or `unit`, pixels in [0, 1], as MVFA.
        multiple: refuse a size that is no multiple of the patch; otherwise the pixels
            right and below of the last whole patch are not seen, as in MVFA.
        dtype: of the computation.

    Raises:
        InputError: no such model, files that do not fit together, an option that does
            not exist, or a size that does not suit the patch.
    """
    _check_choice("position_grid", position_grid, PositionGrid)
    _check_choice("activation", activation, Activation)
    _check_choice("input_range", input_range, InputRange)
    directory = locate(name)
    config = _read_config(directory)
    _check_towers(directory, config)
    vision = config.vision_config
    image_size = image_size or vision.image_size
    _check_size(image_size, vision.patch_size, multiple)
    constants = _preprocessing(directory)
    described = _describe(config, constants)
    for section in (vision, config.text_config):
        section.hidden_act = activation or section.hidden_act
    expected = _expected_shapes(config)
    flat = read_weights(weights_file(directory), expected)
    check_finite(flat, str(weights_file(directory)), "fetch the file again")
    fingerprint = digest(flat)
    vision.image_size = image_size
    flat[_POSITIONS] = resize_position_grid(
        flat[_POSITIONS], image_size // vision.patch_size, position_grid
    )
    mean, std = constants if input_range == "clip" else _UNIT
    tokenizer = Tokenizer(directory, config.text_config.max_position_embeddings)
    if tokenizer.highest >= config.text_config.vocab_size:
        raise InputError(
            f"{directory} has a tokenizer with the token {tokenizer.highest} and words "
            f"for {config.text_config.vocab_size}; fetch its files again"
        )
    return Clip(
        name=name,
        module=DualPathCLIP(config, dtype=dtype),
        params=jax.device_put(
            round_blocks(flax.traverse_util.unflatten_dict(flat), dtype)
        ),
        tokenizer=tokenizer,
        mean=mean,
        std=std,
        fingerprint=fingerprint,
        described=described,
    )


def resize_position_grid(
    embedding: Float[np.ndarray, "positions d"], grid: int, method: PositionGrid
) -> Float[np.ndarray, "_ d"]:
    """Resize learned positions to another grid; the CLS row stays (torch's way).

    Args:
        embedding: CLS row, then a square grid of patch rows.
        grid: patches along one side of the new grid.
        method: half-pixel centres; `bilinear` and `bicubic` without antialias. torch's
            cubic kernel has a = -0.75, but -0.5 where it is antialiased.
    """
    cls, patches = embedding[:1], embedding[1:]
    side = round(len(patches) ** 0.5)
    if side == grid:
        return embedding
    kernel = {
        "bilinear": "linear",
        "bicubic": "cubic-pytorch",
        "bicubic_antialias": "cubic",
    }[method]
    resized = jax.image.resize(
        patches.reshape(side, side, -1),
        (grid, grid, patches.shape[-1]),
        method=kernel,
        antialias=method == "bicubic_antialias",
    )
    return np.concatenate([cls, np.asarray(resized).reshape(grid * grid, -1)])


def _check_choice(key: str, value: str, allowed: Any) -> None:
    names = get_args(allowed)
    if value not in names:
        raise InputError(
            f"clip.{key} is {value!r}; allowed: {', '.join(n or repr(n) for n in names)}"
        )


def _check_size(image_size: int, patch: int, multiple: bool) -> None:
    if not multiple and image_size < patch:
        raise InputError(
            f"clip.image_size {image_size} is smaller than the patch, {patch} px; "
            f"{patch} is the least"
        )
    if multiple and (image_size <= 0 or image_size % patch):
        below = max(image_size // patch, 1) * patch
        raise InputError(
            f"clip.image_size {image_size} is not a multiple of the patch, {patch} px; "
            f"the nearest are {below} and {below + patch}"
        )


def _read_config(directory: Path) -> CLIPConfig:
    if is_openclip(directory):
        return openclip.read_config(directory)
    path = directory / "config.json"
    content = documents.read(path, dict, shapes.FETCH)
    kind = content.get("model_type")
    if kind != "clip":
        raise InputError(
            f"{path} describes a {kind!r:.60} model; only 'clip' (both towers) is "
            "supported"
        )
    documents.check(content, shapes.CLIP, str(path), shapes.FETCH)
    try:
        return CLIPConfig.from_dict(content)
    # transformers takes some hundred keys, and raises nearly anything on their values.
    except Exception as error:  # noqa: BLE001
        raise InputError(
            f"{path} cannot be read as a CLIP's ({error}); {shapes.FETCH}"
        ) from None


def _check_towers(directory: Path, config: CLIPConfig) -> None:
    """Widths that heads do not divide would fail where the towers are traced."""
    for name, tower in (("vision", config.vision_config), ("text", config.text_config)):
        if tower.hidden_size % tower.num_attention_heads:
            raise InputError(
                f"{directory} describes a {name} tower of width {tower.hidden_size} "
                f"with {tower.num_attention_heads} heads; allowed is a divisor of the "
                f"width: {shapes.FETCH}"
            )


def _preprocessing(directory: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    path = directory / "preprocessor_config.json"
    remedy = f"{shapes.FETCH}, or leave the constants out to take OpenAI's"
    content: dict[str, Any] = {}
    if is_openclip(directory):
        path = directory / openclip.CONFIG
        described = openclip.read_description(directory)
        documents.check(described, shapes.OPENCLIP_CONSTANTS, str(path), remedy)
        given = described.get("preprocess_cfg") or {}
        content = {f"image_{key}": value for key, value in given.items()}
    elif path.is_file():
        content = documents.read(path, shapes.CONSTANTS, remedy)
    mean = tuple(map(float, content.get("image_mean", _OPENAI_MEAN)))
    std = tuple(map(float, content.get("image_std", _OPENAI_STD)))
    return mean, std


def _describe(config: CLIPConfig, constants: tuple[tuple[float, ...], ...]) -> str:
    """What weights do not say themselves, before settings change it."""
    towers = [
        [part.num_attention_heads, part.layer_norm_eps, part.hidden_act]
        for part in (config.vision_config, config.text_config)
    ]
    return json.dumps([towers, constants])


def _expected_shapes(config: CLIPConfig) -> dict[tuple[str, ...], tuple[int, ...]]:
    size = config.vision_config.image_size
    # Arguments made where they are traced: outside, each is a program to compile.
    tree = jax.eval_shape(
        lambda: DualPathCLIP(config).init(
            jax.random.key(0),
            input_ids=jnp.zeros((1, 2), jnp.int32),
            pixel_values=jnp.zeros((1, size, size, 3)),
            attention_mask=jnp.ones((1, 2), jnp.int32),
            position_ids=jnp.zeros((1, 2), jnp.int32),
        )["params"]
    )
    return {
        key: leaf.shape for key, leaf in flax.traverse_util.flatten_dict(tree).items()
    }
