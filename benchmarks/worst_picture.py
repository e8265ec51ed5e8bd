"""What the largest picture that is allowed costs: peak memory and time, alone and by mode.

    python benchmarks/worst_picture.py                       every kind, predict and watch
    python benchmarks/worst_picture.py --kinds=RGB --modes=predict --tiles=auto

Pictures of exactly `data.max_pixels` are made (noise compresses badly, so the side that
varies is smooth), and each is predicted by the demonstration model in a process of its
own, whose peak is what the kernel says of it. A picture of one row more is refused from
its header; its cost is that of the process alone.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from data_pipelines.pictures import MAX_PIXELS

_WIDTH = 13_377
_KINDS = {"grey": np.uint8, "RGB": np.uint8, "grey16": np.uint16}


def write_picture(path: Path, kind: str, height: int) -> None:
    """A smooth picture of `_WIDTH` pixels by a height, as PNG."""
    top = np.iinfo(_KINDS[kind]).max
    row = np.linspace(0, top, _WIDTH).astype(_KINDS[kind])
    pixels = np.broadcast_to(row, (height, _WIDTH))
    if kind == "RGB":
        pixels = np.broadcast_to(row[:, None], (height, _WIDTH, 3))
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, compress_level=1)


def measure(mode: str, picture: Path, folder: Path, tiles: str) -> tuple[float, float]:
    """The peak in GB and the seconds of one command on one picture."""
    command = [
        *(sys.executable, ROOT / "launch.py", "--config=configs/demo.py:none"),
        *(f"--mode={mode}", f"--workdir={folder / 'out'}"),
        *(
            f"--config.predict.input={picture.parent}",
            f"--config.predict.tiles={tiles}",
        ),
        *("--config.predict.maps=False", "--config.predict.overlays=False"),
    ]
    begin = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    log = folder / "out" / "predictions.jsonl"
    if mode == "watch":

        def end() -> None:
            while process.returncode is None and not (
                log.is_file() and log.stat().st_size
            ):
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)

        threading.Thread(target=end, daemon=True).start()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    if not log.is_file() or not log.stat().st_size:
        raise SystemExit(f"{mode} wrote no line for {picture}")
    return usage.ru_maxrss / 1e6, time.monotonic() - begin


def main() -> None:
    """Print a row for each kind and mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", default=",".join(_KINDS))
    parser.add_argument("--modes", default="predict,watch")
    parser.add_argument("--tiles", default="never")
    given = parser.parse_args()
    print("| picture | mode | peak, GB | seconds |\n|---|---|---|---|")
    for kind in given.kinds.split(","):
        for rows, what in ((0, kind), (1, f"{kind}, one row too many")):
            for mode in given.modes.split(","):
                with tempfile.TemporaryDirectory() as folder:
                    base = Path(folder)
                    picture = base / "pictures" / "worst.png"
                    picture.parent.mkdir()
                    height = MAX_PIXELS // _WIDTH + rows
                    write_picture(picture, kind, height)
                    peak, seconds = measure(mode, picture, base, given.tiles)
                print(f"| {what} | {mode} | {peak:.2f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
