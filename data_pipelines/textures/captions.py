"""Captions for procedural pictures: what pre-training a small CLIP reads.

The words of the evaluation surfaces, and of the defects kept for evaluation, do not
occur in the templates.
"""

import colorsys

import numpy as np
from jaxtyping import UInt8

from data_pipelines.textures.pretraining import SURFACES, Example

NOUNS = {
    "scratch": ("scratch", "scratch", "scuff mark", "thin scratch"),
    "hole": ("hole", "hole", "puncture", "dark hole"),
    "stain": ("stain", "stain", "spot", "spill"),
    "crack": ("crack", "crack", "fracture", "branching crack"),
    "bump": ("bump", "dent", "bulge", "bump"),
    "discolouration": ("discolouration", "colour fault", "wrong colour", "blotch"),
    "thread": ("thread", "foreign thread", "loose thread", "hair"),
    "missing": ("missing pattern", "worn patch", "bare patch", "missing piece"),
}
REGIONS = (*SURFACES, *NOUNS)
"""What a patch can show: a surface that is intact there, or a defect."""

NORMAL = [
    "flawless",
    "perfect",
    "normal",
    "intact",
    "undamaged",
    "faultless",
    "good",
    "clean",
]
ABNORMAL = [
    "damaged",
    "defective",
    "abnormal",
    "faulty",
    "broken",
    "flawed",
    "imperfect",
    "bad",
]
# Captions judge a picture in one case of three; most just say what is to be seen.
NORMAL_TEMPLATES = (
    "a photo of {colour}{name}.",
    "a close-up photo of {colour}{name}.",
    "{colour}{name}",
    "a piece of {colour}{name}",
    "a photo of {state} {colour}{name}.",
    "a photo of a {state} {colour}{name}.",
)
ABNORMAL_TEMPLATES = (
    "a photo of {colour}{name} with a {size}{noun} {place}.",
    "a close-up photo of {colour}{name} with a {size}{noun} {place}.",
    "a {size}{noun} {place}, on {colour}{name}",
    "there is a {noun} on the {name}",
    "a photo of {state} {colour}{name}.",
    "{state} {colour}{name} with a {noun}",
)
ROWS, COLUMNS = ("upper", "", "lower"), ("left", "", "right")
INSPECTION = """\
The surface is smooth and uniform, with no visible defects, marks or irregularities.
The part shows a deep scratch near the edge and a small dent in the middle.
A bottle with a broken rim, a contaminated base and shards of glass inside.
The cable has a cut outer insulation, a bent wire and a missing strand.
The capsule is cracked, squeezed, and its printed imprint is faulty.
A carpet with a hole, a metal contamination, a thread and a discoloured area.
The metal grid is bent, broken, glued in one place and covered by a thread.
A hazelnut with a crack in its shell, a hole, a cut and a stray print.
Leather with a fold, a glue stain, a poke, a cut and a change of colour.
A metal nut that was flipped, scratched, bent or painted with the wrong colour.
The pill has a crack, a chip, yellow dots, a scratch and contamination.
The screw head is stripped and its thread is damaged at the side and the tip.
The tile has an oil spot, a gray stroke, glue strips and rough, chipped corners.
A toothbrush with missing bristles; a transistor with a bent lead, misplaced.
The wooden board shows knots, liquid stains, holes, burn marks and scratches.
The zipper has broken teeth, split teeth, squeezed teeth and frayed fabric borders.
Printed circuit boards with a missing component, melted solder or wrong place.
Candles, cashews, chewing gum, macaroni and pipe fryum with burnt or broken pieces.
Inspectors look for anomalies: texture, shape, size, position, contrast and shine.
An abnormal scan of the brain, liver, retina, head or chest shows a lesion or tumor.
A healthy organ is symmetric and regular, without swelling, bleeding or masses.
Object, item, product, sample, material, plastic, rubber, steel, paper, textile.
Compared with a normal sample, this one is irregular, torn, dirty, rusty or deformed.
Everything appears clean, complete, well aligned, even, straight and in good condition.
""".splitlines()


def colour_word(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """The everyday word for a picture's mean colour."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(image[::4, ::4].mean((0, 1)) / 255))
    tone = "dark " if value < 0.35 else "light " if value > 0.75 else ""
    if saturation < 0.12:
        return f"{tone}grey"
    words = [
        "red",
        "orange",
        "yellow",
        "green",
        "green",
        "turquoise",
        "blue",
        "blue",
        "purple",
        "pink",
        "red",
    ]
    return tone + words[int(hue * 10 + 0.5)]


def place(mask: UInt8[np.ndarray, "h w"]) -> str:
    """Where a mask is, in words."""
    row, column = (int(3 * c.mean() / len(mask)) for c in np.nonzero(mask))
    words = " ".join(filter(None, (ROWS[row], COLUMNS[column])))
    return f"in the {words}" if words else "in the centre"


def caption(example: Example, rng: np.random.Generator) -> str:
    """A sentence about a picture."""
    damaged = example.mask.any()
    name = example.name if rng.random() < 0.8 else rng.choice(["object", "surface"])
    words = {
        "name": name,
        "colour": f"{colour_word(example.image)} " if rng.random() < 0.4 else "",
        "state": rng.choice(ABNORMAL if damaged else NORMAL),
    }
    if damaged:
        small = example.mask.mean() < 0.025
        words["noun"] = rng.choice(NOUNS[example.defect])
        words["size"] = rng.choice(["", "small " if small else "large "])
        words["place"] = place(example.mask)
    templates = ABNORMAL_TEMPLATES if damaged else NORMAL_TEMPLATES
    return rng.choice(templates).format(**words)


def region_captions(rng: np.random.Generator) -> list[str]:
    """Words for what a patch can show: each of `REGIONS`, differently put each time."""
    frame = rng.choice(["{}", "a photo of {}", "a piece of {}"])
    surfaces = [frame.format(name) for name in SURFACES]
    frame = rng.choice(["a {}", "a photo of a {}", "{}"])
    return surfaces + [frame.format(rng.choice(nouns)) for nouns in NOUNS.values()]
