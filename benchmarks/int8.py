"""What 8-bit integers cost in accuracy and gain in size and time, setting by setting.

    python benchmarks/int8.py --export=EXPORT --pictures=DATA/mpdd/metal_plate

scores a class's test pictures, with their masks, by OpenVINO's models of an export:
float32, bfloat16 where the processor has it, and the export's own 8-bit integers; with
--only="transformer;weights alone" and --quantize-on=PICTURES also by the float32 one
quantized in other ways, on pictures that are not to be scored. The models take turns at
each picture, so that a change of the machine's load meets all of them; time is the
process's CPU time of one picture, which a busy machine stretches less than the clock's.
Size is of all that a model's files hold.
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

from data_pipelines.masks import decode_mask, label_regions
from data_pipelines.pictures import DEFAULT_READING
from data_pipelines.transforms import read_image
from kanoclip_jax.engine.export.formats import IR, load_openvino
from kanoclip_jax.engine.export.program import INPUTS
from kanoclip_jax.engine.export.quantized import IR_INT8, find_pictures
from kanoclip_jax.engine.export.runtimes import import_openvino
from kanoclip_jax.errors import InputError
from kanoclip_jax.metrics.report import ClassMetrics

_COLUMNS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}
_COLUMNS |= {"pixel_aupro": "AUPRO"}


def settings() -> dict[str, Callable[[Any, Any], Any]]:
    """Ways to quantize a model on data, beside the export's own."""
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
        "transformer": way(**transformer),
        "transformer, 7-bit weights": way(**transformer, advanced=seven),
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
    parser.add_argument("--quantize-on", default="", help="pictures for other settings")
    parser.add_argument("--only", default="", help="settings, separated by semicolons")
    parser.add_argument("--output")
    given = parser.parse_args()
    kinds = sorted((given.pictures / "test").iterdir())
    scored = [path for kind in kinds for path in sorted(kind.iterdir())]
    if given.most:
        scored = scored[:: -(-len(scored) // given.most)]
    with tempfile.TemporaryDirectory() as folder:
        files = {"float32": given.export / IR, "bfloat16": given.export / IR}
        if (given.export / IR_INT8).is_file():
            files["8-bit integers, as exported"] = given.export / IR_INT8
        for name in filter(None, given.only.split(";")):
            files[name] = Path(folder) / f"{len(files)}.xml"
            quantize(given.export / IR, files[name], name, given.quantize_on)
        runs = {}
        for name, file in files.items():
            precision = name if name == "bfloat16" else "float32"
            try:
                runs[name] = load_openvino(file.parent, precision, file.name)
            except InputError as error:
                print(f"{name}: {error}", file=sys.stderr)
        side = read_side(given.export / IR)
        found = score(runs, scored, side)
        rows = [
            {
                "model": name,
                **judge(found[name], found["float32"], scored, side),
                "MB": sum(
                    files[name].with_suffix(end).stat().st_size / 2**20
                    for end in (".xml", ".bin")
                ),
            }
            for name in runs
        ]
    show(f"8-bit integers, {len(scored)} pictures, {side} px", rows, given.output)


def quantize(source: Path, target: Path, way: str, pictures: str) -> None:
    """Write a model quantized by one of the `settings`, on pictures of a folder."""
    import nncf

    openvino = import_openvino()
    model = openvino.Core().read_model(source)
    names = [one.any_name for one in model.inputs]
    data = []
    for image in find_pictures(pictures, read_side(source), DEFAULT_READING):
        both = dict(zip(INPUTS, (image[None], np.zeros(1, np.int32)), strict=True))
        data.append({name: both[name] for name in names})
    made = settings()[way](model, nncf.Dataset(data))
    openvino.save_model(made, target, compress_to_fp16=False)


def read_side(model: Path) -> int:
    """The side of the pictures that a model takes, in pixels."""
    read = import_openvino().Core().read_model(model)
    return read.inputs[0].partial_shape[1].get_length()


Found = tuple[np.ndarray, np.ndarray, float]


def score(
    runs: Mapping[str, Callable], paths: list[Path], side: int
) -> dict[str, Found]:
    """Each model's maps, scores, and the median CPU time of a picture in seconds."""
    maps, scores, times = ({name: [] for name in runs} for _ in range(3))
    for number, path in enumerate(paths):
        image = read_image(path, side, DEFAULT_READING)[0][None]
        for name, run in runs.items():
            started = time.process_time()
            one, value = run(image, np.zeros(1, np.int32))
            times[name].append(time.process_time() - started)
            maps[name].append(one[0])
            scores[name].append(float(value[0]))
        print(f"{number + 1}/{len(paths)}", end="\r", file=sys.stderr, flush=True)
    return {
        name: (
            np.stack(maps[name]),
            np.array(scores[name]),
            float(np.median(times[name])),
        )
        for name in runs
    }


def judge(found: Found, exact: Found, paths: list[Path], side: int) -> dict[str, float]:
    """Metrics at the model's size, and how far the answers are from float32's."""
    metrics = ClassMetrics(has_masks=True)
    for path, value, one in zip(paths, found[1], found[0], strict=True):
        mask = read_mask(path, side)
        metrics.update(float(value), int(mask.any()), one, label_regions(mask))
    row: Mapping[str, Any] = metrics.compute()
    apart = np.abs(found[0] - exact[0])
    return {
        **{title: row[key] for key, title in _COLUMNS.items()},
        "largest difference of maps": float(apart.max()),
        "mean": float(apart.mean()),
        "of scores": float(np.abs(found[1] - exact[1]).max()),
        "CPU ms": 1e3 * found[2],
    }


def read_mask(path: Path, side: int) -> np.ndarray:
    """What is anomalous of a picture, at the model's size; nothing of a normal one."""
    truth = path.parents[2] / "ground_truth" / path.parent.name
    (file,) = list(truth.glob(f"{path.stem}_mask.*")) or [None]
    if file is None:
        return np.zeros((side, side), np.uint8)
    return decode_mask(file.read_bytes(), str(file), side)


if __name__ == "__main__":
    main()
