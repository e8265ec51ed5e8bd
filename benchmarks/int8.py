"""What 8-bit integers cost in accuracy and gain in size and time, setting by setting.

    python benchmarks/int8.py --export=runs/mvtec/export --pictures=DATA/mpdd/metal_plate

takes OpenVINO's float32 model of an export, quantizes it by NNCF on every fourth normal
picture, and scores the anomalous ones and the normal ones between with each model. Time
is the process's CPU time of one picture, which a busy machine stretches less than the
clock's. bfloat16 is left out where the processor has no such instructions.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import show
from PIL import Image
from scipy import ndimage

from kanoclip_jax.engine.export.formats import IR, load_openvino
from kanoclip_jax.engine.export.program import INPUTS
from kanoclip_jax.engine.export.runtimes import import_openvino
from kanoclip_jax.errors import InputError
from kanoclip_jax.metrics.report import ClassMetrics

_COLUMNS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}
_COLUMNS |= {"pixel_aupro": "AUPRO"}


def settings() -> dict[str, Callable[[Any, Any], Any]]:
    """Ways to quantize a model on data; the first is the one that the export takes."""
    import nncf
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        AdvancedSmoothQuantParameters,
        OverflowFix,
    )

    seven = {"overflow_fix": OverflowFix.ENABLE}
    transformer = {"model_type": nncf.ModelType.TRANSFORMER}

    def way(**options: Any) -> Callable[[Any, Any], Any]:
        advanced = options.pop("advanced", None)
        if advanced:
            given = AdvancedQuantizationParameters(**advanced)
            options["advanced_parameters"] = given
        return lambda model, data: nncf.quantize(
            model, data, subset_size=data.get_length(), **options
        )

    smooth = AdvancedSmoothQuantParameters(matmul=-1)
    return {
        "transformer, 7-bit weights": way(**transformer, advanced=seven),
        "transformer": way(**transformer),
        "transformer, 7-bit weights, no SmoothQuant": way(
            **transformer, advanced=seven | {"smooth_quant_alphas": smooth}
        ),
        "NNCF's defaults": way(),
        "mixed preset": way(preset=nncf.QuantizationPreset.MIXED),
        "weights alone": lambda model, _: nncf.compress_weights(
            model, mode=nncf.CompressWeightsMode.INT8_ASYM
        ),
    }


def main() -> None:
    """Quantize, score, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--export", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True, help="a class's folder")
    parser.add_argument("--most", type=int, default=0, help="pictures scored; 0 is all")
    parser.add_argument("--only", help="settings, separated by semicolons")
    parser.add_argument("--output")
    given = parser.parse_args()
    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(given.export / IR)
    side = model.inputs[0].partial_shape[1].get_length()
    names = [one.any_name for one in model.inputs]
    normal = sorted((given.pictures / "test" / "good").iterdir())
    kinds = sorted((given.pictures / "test").iterdir())
    bad = [p for kind in kinds if kind.name != "good" for p in sorted(kind.iterdir())]
    scored = [*normal[1::2], *bad]
    if given.most:
        scored = scored[:: -(-len(scored) // given.most)]

    def feed(path: Path) -> dict[str, np.ndarray]:
        both = dict(zip(INPUTS, (read(path, side)[None], np.zeros(1, np.int32))))
        return {name: both[name] for name in names}

    import nncf

    data = nncf.Dataset(normal[::4], feed)
    rows, exact = [], None
    ways = settings()
    chosen = given.only.split(";") if given.only else ["float32", "bfloat16", *ways]
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            source, precision = given.export, "float32"
            if name in ways:
                source = Path(folder)
                made = ways[name](core.read_model(given.export / IR), data)
                openvino.save_model(made, source / IR, compress_to_fp16=False)
            elif name == "bfloat16":
                precision = name
            try:
                run = load_openvino(source, precision)
            except InputError as error:
                print(f"{name}: {error}", file=sys.stderr)
                continue
            found = score(run, scored, side)
            exact = found if exact is None else exact
            size = (source / IR).with_suffix(".bin").stat().st_size
            rows.append(
                {"model": name, **judge(found, exact, scored, side), "MB": size / 2**20}
            )
            print(rows[-1], file=sys.stderr, flush=True)
    show(f"8-bit integers, {len(scored)} pictures, {side} px", rows, given.output)


Found = tuple[np.ndarray, np.ndarray, float]


def score(run: Callable, paths: list[Path], side: int) -> Found:
    """Maps, scores, and the median CPU time of a picture in seconds."""
    maps, scores, times = [], [], []
    for path in paths:
        image = read(path, side)[None]
        started = time.process_time()
        one, value = run(image, np.zeros(1, np.int32))
        times.append(time.process_time() - started)
        maps.append(one[0])
        scores.append(float(value[0]))
    return np.stack(maps), np.array(scores), float(np.median(times))


def judge(found: Found, exact: Found, paths: list[Path], side: int) -> dict[str, float]:
    """Metrics at the model's size, and how far the answers are from float32's."""
    metrics = ClassMetrics(has_masks=True)
    for path, value, one in zip(paths, found[1], found[0], strict=True):
        mask = read_mask(path, side)
        metrics.update(float(value), int(mask.any()), one, ndimage.label(mask)[0])
    row: Mapping[str, Any] = metrics.compute()
    apart = np.abs(found[0] - exact[0])
    return {
        **{title: row[key] for key, title in _COLUMNS.items()},
        "largest difference of maps": float(apart.max()),
        "mean": float(apart.mean()),
        "of scores": float(np.abs(found[1] - exact[1]).max()),
        "CPU ms": 1e3 * found[2],
    }


def read(path: Path, side: int) -> np.ndarray:
    """A picture as the model takes it."""
    with Image.open(path) as image:
        squared = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        return np.asarray(squared)


def read_mask(path: Path, side: int) -> np.ndarray:
    """What is anomalous of a picture, at the model's size; nothing of a normal one."""
    truth = path.parents[2] / "ground_truth" / path.parent.name
    (file,) = list(truth.glob(f"{path.stem}_mask.*")) or [None]
    if file is None:
        return np.zeros((side, side), bool)
    with Image.open(file) as mask:
        small = mask.convert("L").resize((side, side), Image.Resampling.NEAREST)
        return np.asarray(small) > 0


if __name__ == "__main__":
    main()
