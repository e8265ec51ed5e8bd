"""The making of `kanoclip_jax/backbones/demo`: a small CLIP learned from procedural pictures.

    nice -n 5 python tools/pretrain_demo_clip.py --out kanoclip_jax/backbones/demo

Two contrastive terms: picture with caption, and each patch token of the V-V path with
the words for what it shows. Pictures come from the training surfaces and defects of
`data_pipelines.textures` and from three further surfaces; the evaluation surfaces, and
the defects kept for evaluation, are never shown.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt8
from safetensors.numpy import save_file
from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as BytePairs

from data_pipelines.textures.captions import (
    INSPECTION,
    REGIONS,
    caption,
    region_captions,
)
from data_pipelines.textures.pretraining import Example, augment, make_example
from kanoclip_jax.backbones.tokenizer import Tokenizer, Tokens
from kanoclip_jax.backbones.towers import DualPathCLIP, make_config
from kanoclip_jax.ops.attention import attend, merge_heads, split_heads

SIZE, PATCH, GRID, WINDOW, LENGTH = 128, 8, 16, 8, 28
VOCABULARY = 1400
JOINT = 128
TEXT = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "max_position_embeddings": 77,
    "projection_dim": JOINT,
}
VISION = {
    "hidden_size": 128,
    "num_hidden_layers": 8,
    "num_attention_heads": 2,
    "intermediate_size": 256,
    "image_size": SIZE,
    "patch_size": PATCH,
    "projection_dim": JOINT,
}
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
START, STOP = "<|startoftext|>", "<|endoftext|>"


class Batch(NamedTuple):
    """What one step reads.

    Attributes:
        images: pictures, 0 … 255.
        keep: the tokens that are run: 0 for CLS, then a square window of patches.
        shown: what each patch shows, as an index of `REGIONS`.
        weight: with which a patch counts; damaged and clean ones sum to 1 each.
        ids, end: tokens of b captions.
        region_ids, region_end: tokens of the words for `REGIONS`.
    """

    images: UInt8[Array, "b height width 3"]
    keep: Int[Array, "b kept"]
    shown: Int[Array, "b n"]
    weight: Float[Array, "b n"]
    ids: Int[Array, "b t"]
    end: Int[Array, " b"]
    region_ids: Int[Array, "r s"]
    region_end: Int[Array, " r"]


class Pretrained(DualPathCLIP):
    """The towers, with what pre-training contrasts taken from them."""

    def project_tokens(
        self, pixels: Float[Array, "b height width 3"], keep: Int[Array, "b kept"]
    ) -> tuple[Float[Array, "b joint"], Float[Array, "b n joint"]]:
        """Both paths on some of the tokens only: CLS of the first, patches of the V-V."""
        vision = self.vision_model
        settings = self.config.vision_config
        hidden = jnp.take_along_axis(vision.embeddings(pixels), keep[..., None], axis=1)
        hidden = value_path = vision.pre_layrnorm(hidden)
        for depth, block in enumerate(vision.encoder.layers.layers, start=1):
            attention = block.self_attn
            normed = block.layer_norm1(hidden)
            query, key, value = (
                split_heads(project(normed), settings.num_attention_heads)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            if depth >= settings.num_hidden_layers // 4:
                value_path += attention.out_proj(
                    merge_heads(attend(value, value, value))
                )
            hidden += attention.out_proj(merge_heads(attend(query, key, value)))
            hidden += block.mlp(block.layer_norm2(hidden))
            if depth < settings.num_hidden_layers // 4:
                value_path = hidden
        tokens = jnp.concatenate([hidden[:, :1], value_path[:, 1:]], axis=1)
        joint = self.visual_projection(vision.post_layernorm(tokens))
        return joint[:, 0], joint[:, 1:]

    def scale(self) -> Float[Array, ""]:
        """The learned inverse temperature."""
        return jnp.exp(jnp.minimum(self.logit_scale, np.log(100.0)))


def learn_tokenizer(sentences: list[str], directory: Path) -> None:
    """Byte-level BPE in CLIP's layout: any text encodes, the end token comes last."""
    bpe = BytePairs(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Lowercase(),
        ]
    )
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(alphabet),
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(sentences, trainer)
    merges = [tuple(m) for m in json.loads(bpe.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    tokens += ["".join(m) for m in merges] + [START, STOP]
    tokens = list(dict.fromkeys(tokens))
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(directory / "vocab.json", {t: i for i, t in enumerate(tokens)})
    lines = ["#version: 0.2", *(" ".join(m) for m in merges)]
    (directory / "merges.txt").write_text("\n".join(lines) + "\n")
    special = {
        "bos_token": START,
        "eos_token": STOP,
        "unk_token": STOP,
        "pad_token": STOP,
    }
    _write_json(directory / "special_tokens_map.json", special)
    settings = special | {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    _write_json(directory / "tokenizer_config.json", settings)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def make_batch(
    examples: list[Example], words: Tokenizer, window: int, rng: np.random.Generator
) -> Batch:
    """Augment, describe and cut: a square window of patches that shows the defect."""
    examples = [augment(example, rng) for example in examples]
    masks = np.stack([example.mask for example in examples]).astype(np.float32)
    cover = masks.reshape(-1, GRID, PATCH, GRID, PATCH).mean((2, 4))
    inside = np.zeros(cover.shape, bool)
    for patches, square in zip(cover, inside, strict=True):
        centre = rng.integers(GRID, size=2)
        if patches.any():
            centre = rng.permutation(np.argwhere(patches > patches.max() / 2))[0]
        low = np.maximum(centre - window + 1, 0)
        top, left = rng.integers(low, np.minimum(centre, GRID - window) + 1)
        square[top : top + window, left : left + window] = True
    damaged = (inside & (cover > 0.15)).reshape(len(examples), -1)
    clean = (inside & (cover == 0)).reshape(len(examples), -1)
    surface = np.array([[REGIONS.index(example.name)] for example in examples])
    defect = np.array([[REGIONS.index(e.defect or e.name)] for e in examples])
    kept = np.stack([np.flatnonzero(square) for square in inside])
    ids, end = _pad(words([caption(e, rng) for e in examples]), LENGTH)
    region_ids, region_end = _pad(words(region_captions(rng)), LENGTH // 2)
    return Batch(
        images=np.stack([example.image for example in examples]),
        keep=np.pad(kept + 1, ((0, 0), (1, 0))).astype(np.int32),
        shown=np.where(damaged, defect, surface).astype(np.int32),
        weight=sum(x / np.maximum(x.sum(), 1) for x in (damaged, clean)),
        ids=ids,
        end=end,
        region_ids=region_ids,
        region_end=region_end,
    )


def _pad(tokens: Tokens, length: int) -> Tokens:
    """Fill up to one length, so that every step has the same shapes."""
    room = length - tokens.ids.shape[1]
    return Tokens(np.pad(tokens.ids, ((0, 0), (0, room))), tokens.end)


def normalise(x: Float[Array, "*rest joint"]) -> Float[Array, "*rest joint"]:
    """Unit length."""
    return x / jnp.sqrt((x**2).sum(-1, keepdims=True) + 1e-9)


def loss(
    module: Pretrained, params: dict[str, Any], batch: Batch, region_weight: float
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Symmetric InfoNCE of pictures and captions, plus patches among region words."""

    def run(method: Any, *inputs: Any) -> Any:
        return module.apply({"params": params}, *inputs, method=method)

    pixels = (batch.images / 255.0 - jnp.asarray(MEAN)) / jnp.asarray(STD)
    cls, tokens = map(normalise, run(Pretrained.project_tokens, pixels, batch.keep))
    words = normalise(run(Pretrained.encode_text, batch.ids, batch.end))
    regions = run(Pretrained.encode_text, batch.region_ids, batch.region_end)
    scale = run(Pretrained.scale)
    logits = scale * cls @ words.T
    whole = -jnp.diag(jax.nn.log_softmax(logits) + jax.nn.log_softmax(logits.T)) / 2
    likely = jax.nn.log_softmax(scale * tokens @ normalise(regions).T)
    patches = batch.keep[:, 1:] - 1
    shown = jnp.take_along_axis(batch.shown, patches, 1)
    part = -jnp.take_along_axis(likely, shown[..., None], -1)[..., 0]
    part = (part * jnp.take_along_axis(batch.weight, patches, 1)).sum() / 2
    parts = {"picture": whole.mean(), "patch": part}
    return parts["picture"] + region_weight * part, parts


def initialise(module: Pretrained, pool: list[Example], seed: int) -> dict[str, Any]:
    """Random parameters of the scale that a small model learns fast from.

    Transformers' own start (deviation 0.01 everywhere) suits long trainings only: here
    kernels have deviation 1/√inputs, those that end a residual branch a quarter of it,
    and the patch embedding whitens the pictures' patches, so that fine texture weighs
    as much as mean colour.
    """
    params = module.init(
        jax.random.key(seed),
        input_ids=jnp.zeros((1, 2), jnp.int32),
        pixel_values=jnp.zeros((1, SIZE, SIZE, 3)),
        attention_mask=jnp.ones((1, 2), jnp.int32),
        position_ids=jnp.zeros((1, 2), jnp.int32),
    )["params"]
    rng = np.random.default_rng([seed, 4])
    flat = flax.traverse_util.flatten_dict(params)
    for path, value in flat.items():
        if path[-1] == "kernel":
            deviation = np.prod(value.shape[:-1]) ** -0.5
            deviation *= 0.25 if path[-2] in ("out_proj", "fc2") else 1.0
        elif path[-1] in ("embedding", "class_embedding"):
            deviation = 0.2
        else:
            continue
        flat[path] = jnp.asarray(rng.normal(0, deviation, value.shape), jnp.float32)
    images = np.stack([example.image for example in pool[:256]])
    pixels = (images / 255.0 - np.asarray(MEAN)) / np.asarray(STD)
    patches = pixels.reshape(-1, GRID, PATCH, GRID, PATCH, 3).swapaxes(2, 3)
    variance, basis = np.linalg.eigh(np.cov(patches.reshape(-1, PATCH * PATCH * 3).T))
    path = ("vision_model", "embeddings", "patch_embedding", "kernel")
    width = flat[path].shape[-1]
    kernel = (basis / np.sqrt(variance + 0.02))[:, -width:]
    flat[path] = jnp.asarray(kernel.reshape(flat[path].shape), jnp.float32)
    return flax.traverse_util.unflatten_dict(flat)


def train(
    module: Pretrained,
    pool: list[Example],
    words: Tokenizer,
    *,
    seed: int,
    steps: int,
    batch_size: int,
    region_weight: float,
) -> dict[str, Any]:
    """AdamW with a cosine schedule; the last twentieth sees whole pictures."""
    rng = np.random.default_rng([seed, 2])
    rate = optax.warmup_cosine_decay_schedule(0.0, 1.5e-3, steps // 15, steps, 1e-5)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(rate, 0.9, 0.98, weight_decay=0.05)
    )
    params = initialise(module, pool, seed)
    state = optimizer.init(params)

    @jax.jit
    def step(params: Any, state: Any, batch: Batch) -> Any:
        gradient, parts = jax.grad(loss, argnums=1, has_aux=True)(
            module, params, batch, region_weight
        )
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, parts

    begin = time.time()
    for number in range(steps):
        window = WINDOW if number < 0.95 * steps else GRID
        chosen = rng.choice(len(pool), batch_size, replace=False)
        batch = make_batch([pool[i] for i in chosen], words, window, rng)
        params, state, parts = step(params, state, batch)
        if number % 25 == 0 or number == steps - 1:
            shown = "  ".join(f"{k} {float(v):.3f}" for k, v in parts.items())
            print(f"{number:5d}  {time.time() - begin:6.0f} s  {shown}", flush=True)
    return params


def save(params: dict[str, Any], config: dict[str, Any], directory: Path) -> None:
    """Write config and float16 weights under the names that PyTorch gives them."""
    tensors = {}
    for path, value in flax.traverse_util.flatten_dict(params).items():
        array = np.asarray(value, np.float16)
        if path[-1] == "kernel":
            array = array.transpose((3, 2, 0, 1) if array.ndim == 4 else (1, 0))
        kinds = {"kernel": "weight", "embedding": "weight", "scale": "weight"}
        name = ".".join((*path[:-1], kinds.get(path[-1], path[-1])))
        tensors[name] = np.ascontiguousarray(array)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    _write_json(directory / "config.json", config)
    preprocessing = {
        "do_resize": True,
        "size": {"height": SIZE, "width": SIZE},
        "do_center_crop": False,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "resample": 3,
        "image_mean": MEAN,
        "image_std": STD,
        "image_processor_type": "CLIPImageProcessor",
    }
    _write_json(directory / "preprocessor_config.json", preprocessing)


def main() -> None:
    """Pool, tokenizer, training, files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pool", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--region-weight", type=float, default=1.0)
    options = parser.parse_args()
    begin = time.time()
    pool = [make_example(options.seed, i) for i in range(options.pool)]
    print(f"{len(pool)} pictures after {time.time() - begin:.0f} s", flush=True)
    rng = np.random.default_rng([options.seed, 3])
    sentences = [caption(example, rng) for example in pool] + INSPECTION * 20
    learn_tokenizer(sentences, options.out)
    words = Tokenizer(options.out, LENGTH)
    vocabulary = json.loads((options.out / "vocab.json").read_text())
    config = {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": JOINT,
        "logit_scale_init_value": 2.6592,
        "text_config": TEXT
        | {
            "vocab_size": len(vocabulary),
            "bos_token_id": vocabulary[START],
            "eos_token_id": vocabulary[STOP],
            "pad_token_id": vocabulary[STOP],
        },
        "vision_config": VISION,
    }
    module = Pretrained(make_config(**config))
    params = train(
        module,
        pool,
        words,
        seed=options.seed,
        steps=options.steps,
        batch_size=options.batch_size,
        region_weight=options.region_weight,
    )
    save(params, config, options.out)
    print(f"done after {time.time() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
