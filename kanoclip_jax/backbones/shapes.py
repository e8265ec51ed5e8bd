"""What the JSON files beside a backbone's weights look like; see `documents`.

The bounds are far above any model's: they keep a wrong number from making a giant.
"""

from kanoclip_jax.documents import Choice, Row, Span

FETCH = "fetch the file again"
_WIDTH = Span(1, 2**16, whole=True)
_LAYERS = Span(1, 512, whole=True)
_HEADS = Span(1, 1024, whole=True)
_SIDE = Span(1, 2**14, whole=True)
_IDS = Span(0, 2**24, whole=True)
_TOWER = {
    "hidden_size?": _WIDTH,
    "intermediate_size?": Span(1, 2**18, whole=True),
    "num_hidden_layers?": _LAYERS,
    "num_attention_heads?": _HEADS,
    "projection_dim?": _WIDTH,
    "layer_norm_eps?": Span(0, 1),
    # As far as transformers' Flax code has them.
    "hidden_act?": Choice(
        ("quick_gelu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")
    ),
}
_TEXT = _TOWER | {
    "vocab_size?": Span(1, 2**24, whole=True),
    "max_position_embeddings?": _WIDTH,
    "eos_token_id?": (None, _IDS),
    "bos_token_id?": (None, _IDS),
    "pad_token_id?": (None, _IDS),
}
_VISION = _TOWER | {
    "image_size?": _SIDE,
    "patch_size?": _SIDE,
    "num_channels?": Choice((3,)),
}
# `config.json` of transformers; old ones repeat the towers under `…_dict`.
CLIP = {
    "projection_dim?": _WIDTH,
    "text_config?": (None, _TEXT),
    "vision_config?": (None, _VISION),
    "text_config_dict?": (None, _TEXT),
    "vision_config_dict?": (None, _VISION),
    "logit_scale_init_value?": float,
}
# `preprocessor_config.json`; of open_clip's description, the constants' own names.
_MEAN, _STD = Row((Span(-1e3, 1e3),) * 3), Row((Span(1e-6, 1e3),) * 3)
CONSTANTS = {"image_mean?": _MEAN, "image_std?": _STD}
OPENCLIP_CONSTANTS = {"preprocess_cfg?": (None, {"mean?": _MEAN, "std?": _STD})}
# `model.safetensors.index.json`.
INDEX = {"weight_map": {...: str}}
# `config.json` of a DINOv2.
DINO = {
    "model_type": str,
    "num_hidden_layers?": _LAYERS,
    "num_attention_heads?": _HEADS,
    "layer_norm_eps?": Span(0, 1),
}
# Of a tokenizer. Its library says no more than that something is wrong.
TOKENIZER = {
    "vocab.json": {...: _IDS},
    "tokenizer.json": dict,
    "tokenizer_config.json": dict,
    "special_tokens_map.json": dict,
    "added_tokens.json": {...: _IDS},
}
