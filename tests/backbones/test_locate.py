"""Finding a model: directories, the hub's cache, and names that are nowhere."""

import functools
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled
from openclip_files import write_openclip

from kanoclip_jax.backbones import load_clip, locate
from kanoclip_jax.errors import InputError


def offline(*_: object, **__: object) -> None:
    raise OfflineModeIsEnabled("no network in tests")


def test_directory_is_taken_as_it_is(tiny_directory: Path) -> None:
    assert locate.locate(str(tiny_directory)) == tiny_directory


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_incomplete_directory_names_what_it_needs(tmp_path: Path, missing: str) -> None:
    for name in {"config.json", "model.safetensors"} - {missing}:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="a directory needs config.json") as caught:
        locate.locate(str(tmp_path))
    for name in ("vocab.json", "merges.txt", "model.safetensors", "pytorch_model.bin"):
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["nobody/no-such-clip", "./no/such/folder", "a b"])
def test_unknown_name_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(locate, "model_info", offline)
    monkeypatch.setattr(
        locate,
        "hf_hub_download",
        functools.partial(locate.hf_hub_download, cache_dir=tmp_path),
    )
    with pytest.raises(InputError) as caught:
        load_clip(name)
    message = str(caught.value)
    assert f"no CLIP {name!r} here" in message
    assert f"huggingface-cli download {name}" in message
    assert "--config.clip.name=demo" in message
    assert "\n" not in message


class Hub:
    """A hub whose one repository is a local directory."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.fetched = directory, []

    def model_info(self, name: str, timeout: float) -> SimpleNamespace:
        files = [SimpleNamespace(rfilename=p.name) for p in self.directory.iterdir()]
        return SimpleNamespace(siblings=files)

    def hf_hub_download(
        self, name: str, file: str, local_files_only: bool = False
    ) -> str:
        self.fetched.append(file)
        if not (self.directory / file).is_file():
            raise EntryNotFoundError(file)
        return str(self.directory / file)


@pytest.mark.parametrize("network", [True, False])
def test_hub_name_fetches_one_file_of_weights(
    monkeypatch: pytest.MonkeyPatch, tiny_directory: Path, network: bool
) -> None:
    hub = Hub(tiny_directory)
    monkeypatch.setattr(locate, "model_info", hub.model_info if network else offline)
    monkeypatch.setattr(locate, "hf_hub_download", hub.hf_hub_download)
    assert locate.locate("someone/some-clip") == tiny_directory
    assert "model.safetensors" in hub.fetched
    assert not {"flax_model.msgpack", "pytorch_model.bin"} & set(hub.fetched)


@pytest.mark.parametrize("network", [True, False])
def test_hub_name_of_open_clip_fetches_its_own_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, network: bool
) -> None:
    """As timm publishes them: beside a config.json and an image tower of its own."""
    write_openclip(tmp_path, {})
    (tmp_path / "config.json").write_text('{"architecture": "vit_tiny"}')
    (tmp_path / "model.safetensors").touch()
    hub = Hub(tmp_path)
    monkeypatch.setattr(locate, "model_info", hub.model_info if network else offline)
    monkeypatch.setattr(locate, "hf_hub_download", hub.hf_hub_download)
    assert locate.locate("timm/some-clip") == tmp_path
    assert {"open_clip_config.json", "open_clip_model.safetensors"} <= set(hub.fetched)
    assert {"vocab.json", "merges.txt"} <= set(hub.fetched)
    assert "model.safetensors" not in hub.fetched


def test_hub_repository_without_weights_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").touch()
    hub = Hub(tmp_path)
    monkeypatch.setattr(locate, "model_info", hub.model_info)
    monkeypatch.setattr(locate, "hf_hub_download", hub.hf_hub_download)
    with pytest.raises(InputError, match="none of model.safetensors, .* is there"):
        locate.locate("someone/some-clip")
