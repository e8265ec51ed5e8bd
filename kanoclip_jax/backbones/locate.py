"""Where a backbone's files are: bundled, in a local directory or on the Hugging Face hub."""

import functools
from pathlib import Path

from huggingface_hub import hf_hub_download, model_info
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    OfflineModeIsEnabled,
)

from kanoclip_jax import documents
from kanoclip_jax.backbones import openclip, shapes
from kanoclip_jax.errors import InputError

DEMO = Path(__file__).parent / "demo"
# In order of preference: the last can hold code, and is read by an allow-list.
WEIGHTS = ("model.safetensors", "flax_model.msgpack", "pytorch_model.bin")
INDEX = "model.safetensors.index.json"
# Endings of files that `read_torch_archive` reads.
TORCH = (".bin", ".pt", ".pth")
_GUIDE_WEIGHTS = (WEIGHTS[0], WEIGHTS[2])
_TOKENIZER = ("vocab.json", "merges.txt")
_BESIDE = (
    "preprocessor_config.json",
    *_TOKENIZER,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


def locate(name: str) -> Path:
    """The directory that holds the named model's files.

    Args:
        name: `demo`, a local directory, or a Hugging Face id such as
            `openai/clip-vit-large-patch14-336` (taken from the local cache, or fetched);
            the files are laid out as transformers or open_clip write them.

    Raises:
        InputError: no such model, saying which files are wanted and where they can
            come from.
    """
    if name == "demo":
        return DEMO
    path = Path(name).expanduser()
    if path.is_dir():
        described = is_openclip(path) or (path / "config.json").is_file()
        if described and weights_file(path) is not None:
            return path
        raise InputError(
            f"{name} holds no CLIP: a directory needs config.json, "
            f"preprocessor_config.json, {' and '.join(_TOKENIZER)}, and one of "
            f"{', '.join(WEIGHTS)}; or, of open_clip, {openclip.CONFIG} (which a folder "
            f"called {' or '.join(openclip.PUBLISHED)} does without), "
            f"{' and '.join(_TOKENIZER)}, and one of {', '.join(openclip.WEIGHTS)}, *.pt"
        )
    return _fetch(name)


def is_openclip(directory: Path) -> bool:
    """Whether a directory is to be read as open_clip's; transformers' goes first."""
    if not openclip.is_described(directory):
        return False
    try:
        content = documents.read(directory / "config.json", dict, shapes.FETCH)
    except InputError:
        return True
    # timm lays a config.json of its own beside open_clip's files.
    return content.get("model_type") != "clip"


def weights_file(directory: Path) -> Path | None:
    """The safest file of weights there, or None."""
    if is_openclip(directory):
        return openclip.weights_file(directory)
    for name in (WEIGHTS[0], INDEX, *WEIGHTS[1:]):
        if (directory / name).is_file():
            return directory / name
    return None


def locate_guide(name: str) -> Path:
    """The file of weights of a DINOv2, with its `config.json` beside it if it has one.

    Args:
        name: a local directory as transformers writes it, the authors' own `.pth`, or a
            Hugging Face id (taken from the local cache, or fetched).

    Raises:
        InputError: no such model, saying which files are wanted and where they can
            come from.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    wanted = f"config.json and one of {', '.join(_GUIDE_WEIGHTS)}"
    if path.is_dir():
        for file in _GUIDE_WEIGHTS:
            if (path / file).is_file() and (path / "config.json").is_file():
                return path / file
        raise InputError(f"{name} holds no DINOv2: a directory needs {wanted}")
    try:
        published, fetch = _reach(name)
        fetch("config.json")
        for file in _GUIDE_WEIGHTS:
            found = _if_there(fetch, file, published)
            if found:
                return Path(found)
        raise EntryNotFoundError(f"none of {', '.join(_GUIDE_WEIGHTS)} is there")
    except (OSError, HFValidationError, EntryNotFoundError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"no DINOv2 {name!r} here ({type(error).__name__}: {reason}); wanted: "
            f"{wanted}. Fetch them where there is a network (`huggingface-cli download "
            f"{name}`), copy the folder here and pass --config.guide.name=FOLDER, or "
            "the authors' dinov2_vitb14_reg4_pretrain.pth; --config.method=crane does "
            "without a guide"
        ) from None


def _reach(name: str) -> tuple[set[str] | None, functools.partial]:
    """What a model's page lists, None where it cannot be asked, and how to get a file.

    One short question decides between hub and cache; a download by itself would retry
    for half a minute before it admits that there is no network.
    """
    try:
        published = {s.rfilename for s in model_info(name, timeout=10).siblings}
    except (OSError, OfflineModeIsEnabled):
        return None, functools.partial(hf_hub_download, name, local_files_only=True)
    return published, functools.partial(hf_hub_download, name)


def _fetch(name: str) -> Path:
    try:
        published, fetch = _reach(name)
        for file in ("config.json", *_BESIDE):
            _if_there(fetch, file, published)
        described = _if_there(fetch, openclip.CONFIG, published)
        directory = Path(described or fetch("config.json")).parent
        weights = openclip.WEIGHTS if is_openclip(directory) else WEIGHTS
        if not any(_if_there(fetch, file, published) for file in weights):
            raise EntryNotFoundError(f"none of {', '.join(weights)} is there")
    except (OSError, HFValidationError, EntryNotFoundError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"no CLIP {name!r} here ({type(error).__name__}: {reason}); wanted: "
            f"config.json, preprocessor_config.json, {' and '.join(_TOKENIZER)}, and "
            f"one of {', '.join(WEIGHTS)}. Fetch them where there is a network "
            f"(`huggingface-cli download {name}`), copy the folder here and pass "
            "--config.clip.name=FOLDER; --config.clip.name=demo needs none of this"
        ) from None
    return directory


def _if_there(
    fetch: functools.partial, file: str, published: set[str] | None
) -> str | None:
    if published is not None and file not in published:
        return None
    try:
        return fetch(file)
    except EntryNotFoundError:
        return None
