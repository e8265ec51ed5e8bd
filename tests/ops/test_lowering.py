"""For whom is traced: this process's devices, or whoever was named."""

from types import SimpleNamespace

import jax
import pytest

from kanoclip_jax.ops import lowering


@pytest.mark.parametrize(
    ("platform", "capabilities", "expected"),
    [
        ("cpu", [None], "cpu"),
        ("tpu", [None], "other"),
        ("gpu", ["9.0"], "cuda"),
        ("gpu", ["12.0", "8.0"], "cuda"),
        ("gpu", ["7.5"], "other"),
        ("gpu", ["9.0", "7.5"], "other"),
        ("gpu", ["gfx942"], "other"),
    ],
)
def test_only_newer_gpus_of_nvidia_are_cuda(
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    capabilities: list[str | None],
    expected: str,
) -> None:
    devices = [
        SimpleNamespace(**({"compute_capability": value} if value else {}))
        for value in capabilities
    ]
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    assert lowering.target() == expected


def test_the_target_is_the_blocks_own() -> None:
    with pytest.raises(KeyError), lowering.tracing_for("onnx"):
        assert lowering.target() == "onnx"
        raise KeyError
    assert lowering.target() == "cpu"
