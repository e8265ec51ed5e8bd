"""The settings of each method but KAnoCLIP, whose are configs/base.py's own.

A section is the keywords of the method's constructor (kanoclip_jax/models/NAME.py). A
row of another method brings its section whole, and with it what else belongs to the
method as it was published: epochs and rates, and how its tower is read.
"""

# Two prompts, or two ensembles, against CLIP as it is: kanoclip_jax/models/clip.py.
CLIP = {
    "temperature": 0.07,
    "sigma": 4.0,  # of the maps' Gaussian, in pixels
}
CLIP_AC = CLIP | {
    "templates": "imagenet",  # all 80 of CLIP's authors, or their subset of 7
}

# Windows of the image, each through CLIP: kanoclip_jax/models/winclip.py.
WINCLIP = {
    "temperature": 0.07,
    "windows": "2,3",  # sides in patches
    "sigma": 0.0,
}

# A linear layer for each of four stages: kanoclip_jax/models/april_gan.py.
APRIL_GAN = {
    "taps": "",  # blocks, from 1; empty is depth · {1, 2, 3, 4} // 4
    "temperature": 0.01,
    "sigma": 0.0,
    "focal_gamma": 2.0,
}

# Learned prompts that name no class: kanoclip_jax/models/anomalyclip.py.
ANOMALYCLIP = {
    "vv_start": 0,  # first V-V block, from 1; 0 is depth // 4
    "context_length": 12,
    "deep_prompt_depth": 9,
    "deep_prompt_length": 4,
    "word": "object",  # stands for every class
    "temperature": 0.07,
    "sigma": 4.0,
    "local_weight": 4.0,
    "focal_gamma": 2.0,
}

# Prompts in both towers, in part made from the image: kanoclip_jax/models/adaclip.py.
ADACLIP = {
    "prompt_length": 5,  # vectors in each block
    "prompt_depth": 4,  # blocks of both towers
    "taps": "",
    "hsf": True,  # mix the image feature with the centre of abnormal patches,
    "clusters": 20,  # of five times as many patches,
    "hsf_weight": 0.2,  # by this share
    "temperature": 0.01,
    "sigma": 4.0,
    "focal_gamma": 2.0,
}

# Adapters inside the image tower: kanoclip_jax/models/mvfa.py.
MVFA = {
    "taps": "",  # blocks followed by adapters
    "temperature": 0.01,
    "sigma": 0.0,
    "focal_gamma": 2.0,
}

# Learned prompts that look at the image in training: kanoclip_jax/models/crane.py.
CRANE = {
    "eattn_start": 0,  # first E-Attn block, from 1; 0 is depth // 4
    "attention": "qq+kk+vv",  # or qq+kk, vv, kk, qq, (q+k+v)^2
    "context_length": 12,
    "deep_prompt_depth": 9,
    "deep_prompt_length": 4,
    "round_deep": True,  # deep prompts to float16, as its weights were trained
    "word": "object",  # stands for every class
    "context_in_training": True,  # texts read the image's own feature
    "context_at_test": False,  # also in evaluations
    "aggregation": "soft",  # mean of probabilities; logit: of logits
    "temperature": 0.07,
    "loss_temperature": 0.01,  # of the image's cross-entropy
    "sigma": 4.0,
    "local_weight": 8.0,
    "global_weight": 0.2,
    "focal_gamma": 2.0,
}
# With a DINOv2 as guide, see `guide` in configs/base.py: …/models/crane_plus.py.
CRANE_PLUS = CRANE | {
    "aggregation": "logit",  # soft for DAGM and medical datasets
    "local_weight": 2.0,  # of each of two taps
    "beta": 1.2,  # how far above their mean cosines of patches must be
    "gamma": 3.0,  # how sharply those are weighed
    "centring": "image",  # batch as published, which cannot be trained with
}

# No text and no training: kanoclip_jax/models/median.py.
MEDIAN = {
    "taps": "",
    "sigma": 4.0,
}

# Two vectors for each tap and two for the image: kanoclip_jax/models/probe.py.
PROBE = {
    "vv_start": 0,
    "taps": "",  # blocks of both paths
    "temperature": 0.07,
    "sigma": 4.0,
    "focal_gamma": 2.0,
}

_CRANE_RUN = {
    "clip": {"activation": "", "position_grid": "bilinear", "input_range": "clip"},
    "train": {
        "prompt_learning_rate": 1e-3,
        "adam_betas": (0.6, 0.999),
        "epochs": 5,
        "full_epochs": 0,
    },
}
# What a row of each method changes.
ROWS = {
    "clip": {"method": "clip", "model": CLIP},
    "clip_ac": {"method": "clip_ac", "model": CLIP_AC},
    "winclip": {"method": "winclip", "model": WINCLIP},
    "april_gan": {
        "method": "april_gan",
        "model": APRIL_GAN,
        # Its code builds the tower so, and its published weights belong to it.
        "clip": {
            "activation": "gelu",
            "position_grid": "bicubic_antialias",
            "input_range": "clip",
        },
        # On MVTec AD; on VisA it trains 15 epochs.
        "train": {"learning_rate": 1e-3, "epochs": 3, "full_epochs": 0},
    },
    "anomalyclip": {
        "method": "anomalyclip",
        "model": ANOMALYCLIP,
        "clip": {
            "activation": "",
            "position_grid": "bilinear",
            "input_range": "clip",
        },
        "train": {"prompt_learning_rate": 1e-3, "epochs": 15, "full_epochs": 0},
    },
    "adaclip": {
        "method": "adaclip",
        "model": ADACLIP,
        "clip": {
            "activation": "gelu",
            "position_grid": "bicubic",
            "input_range": "clip",
        },
        # Its code takes one image a step, and its rates are for that.
        "train": {
            "prompt_learning_rate": 1e-2,
            "learning_rate": 1e-2,
            "weight_decay": 0.01,
            "batch_size": 1,
            "epochs": 5,
            "full_epochs": 0,
        },
    },
    "mvfa": {
        "method": "mvfa",
        "model": MVFA,
        # As published. Every size works, and CLIP's own range of pixels.
        "clip": {
            "activation": "gelu",
            "position_grid": "bicubic_antialias",
            "input_range": "unit",
            "image_size": 240,
        },
        # The published 50 are of other sets, and the best of them on the target is kept.
        "train": {"learning_rate": 1e-4, "epochs": 50, "full_epochs": 0},
    },
    "crane": {"method": "crane", "model": CRANE} | _CRANE_RUN,
    "crane_plus": {"method": "crane_plus", "model": CRANE_PLUS} | _CRANE_RUN,
    "probe": {
        "method": "probe",
        "model": PROBE,
        "train": {"learning_rate": 1e-3, "epochs": 2},
    },
    "median": {"method": "median", "model": MEDIAN},
}
# In the order of the papers' tables; the last is the one that the tables are about.
TABLE = (
    "clip,clip_ac,winclip,april_gan,anomalyclip,adaclip,mvfa,crane,crane_plus,kanoclip"
)
