"""The same run on 1, 2, 4 and 8 devices: its rate, and that its losses agree.

    python benchmarks/scaling.py                 all devices there are, or simulated ones
    python benchmarks/scaling.py --clip=vit-l/14 --size=518 --batch-size=32

CPU devices are simulated where there is no other: they share the cores, so the rate
cannot rise; what is shown is that splitting a batch costs little and changes nothing.
"""

import argparse
import os
import sys
import time

SIMULATED = "--xla_force_host_platform_device_count=8"


def main() -> None:
    """Measure and print."""
    import jax
    import numpy as np
    from common import VIT, get_clip, get_optimizer, seconds, show

    from kanoclip_jax.engine.sharding import Devices
    from kanoclip_jax.engine.step import fresh_state, make_features, make_train_step
    from kanoclip_jax.models.base import TrainBatch
    from kanoclip_jax.models.kanoclip import Kanoclip

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", default="demo", help=f"demo, or {', '.join(VIT)}")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--output")
    given = parser.parse_args()
    size, batch_size = given.size, given.batch_size
    clip = get_clip(given.clip, size)
    method, optimizer = Kanoclip(clip), get_optimizer()
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (batch_size, size, size, 3), np.uint8)
    labels = np.arange(batch_size, dtype=np.int32) % 2
    masks = np.zeros((batch_size, size, size), np.uint8)
    masks[1::2, : size // 4, : size // 4] = 1
    batch = TrainBatch(masks, labels, labels, np.ones(batch_size, bool))
    classes = method.learning_from(
        method.prompts(method.frozen, ["bottle", "object"]),
        np.full((2, method.joint), method.joint**-0.5, np.float32),
    )
    rows, losses = [], {}
    for count in (1, 2, 4, 8):
        if count > jax.local_device_count() or batch_size % count:
            continue
        devices = Devices(batch_size, "batch", count)
        state = fresh_state(method, optimizer, devices)
        frozen = devices.copy(method.frozen)
        visual = make_features(method, devices)
        step = make_train_step(method, optimizer, devices)
        on_devices = devices.put(images)
        features, labelled = visual(frozen, on_devices), devices.put(batch)
        tower = seconds(visual, frozen, on_devices)
        losses[count] = []
        for _ in range(20):
            state, terms = step(frozen, state, features, labelled, classes)
            losses[count].append(float(terms["loss"]))

        started = time.perf_counter()
        for _ in range(3):
            state, terms = step(frozen, state, features, labelled, classes)
        jax.block_until_ready(state)
        head = (time.perf_counter() - started) / 3
        first, last = (
            abs(losses[count][i] / losses[1][i] - 1) for i in (0, len(losses[1]) - 1)
        )
        rows.append(
            {"devices": count, "tower images/s": batch_size / tower}
            | {"head images/s": batch_size / head}
            | {"loss 1 differs by": first, "loss 20 differs by": last}
        )
    show(f"Scaling, {clip.name} at {size} px, batch {batch_size}", rows, given.output)


if __name__ == "__main__":
    if os.environ.get("XLA_FLAGS") is None:
        # Read when JAX starts; harmless where there are accelerators.
        os.environ["XLA_FLAGS"] = SIMULATED
    sys.exit(main())
