"""Whether a calibrated rate of false alarms holds on normal pictures that were held out.

python benchmarks/calibration.py --checkpoint=runs/mvtec/checkpoints \
    --pictures=DATA/mpdd/metal_plate/test/good --class_name="metal plate"
"""

import argparse
from pathlib import Path

import numpy as np
from common import show
from scipy.stats import binomtest

from kanoclip_jax import Detector
from kanoclip_jax.engine.prediction.inputs import find_inputs
from kanoclip_jax.metrics import thresholds


def main() -> None:
    """Calibrate on every second picture, count alarms on the others, and vice versa."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--clip", default="", help="where the backbone lies now")
    parser.add_argument("--pictures", required=True, help="normal ones")
    parser.add_argument("--class_name", default="object")
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--splits", type=int, default=20000)
    parser.add_argument("--output")
    given = parser.parse_args()
    detector = Detector.load(Path(given.checkpoint), clip=given.clip, batch_size=8)
    paths = find_inputs(given.pictures)
    found = detector.stream(paths, given.class_name)
    scores = np.array([prediction.score for prediction in found])
    rows = [
        row | measure(scores[first::2], scores[1 - first :: 2], given.rate)
        for first, row in enumerate([{"calibrated": "even"}, {"calibrated": "odd"}])
    ]
    draw, half = np.random.default_rng(0), len(scores) // 2
    rates = []
    for _ in range(given.splits):
        mixed = draw.permutation(scores)
        threshold = thresholds.at_rate(mixed[:half], given.rate)
        rates.append(np.mean(mixed[half:] > threshold))
    bound = thresholds.expected_rate(half, given.rate)
    rows.append(
        {
            "calibrated": f"{given.splits} random halves",
            "pictures": half,
            "held out": len(scores) - half,
            "rate": float(np.mean(rates)),
            "at most, on average": bound,
        }
    )
    show(f"Asked for {given.rate:g} false alarms", rows, given.output)


def measure(calibration: np.ndarray, held_out: np.ndarray, rate: float) -> dict:
    """The alarms of held-out pictures, with an exact 95 % interval of their rate."""
    alarms = int(np.sum(held_out > thresholds.at_rate(calibration, rate)))
    interval = binomtest(alarms, held_out.size).proportion_ci()
    return {
        "pictures": calibration.size,
        "held out": held_out.size,
        "alarms": alarms,
        "rate": alarms / held_out.size,
        "from": interval.low,
        "to": interval.high,
        "at most, on average": thresholds.expected_rate(calibration.size, rate),
    }


if __name__ == "__main__":
    main()
