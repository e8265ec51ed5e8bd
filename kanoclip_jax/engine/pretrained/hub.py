"""The Hugging Face hub: heads fetched by their ids, and folders of them put there."""

import re
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError

from kanoclip_jax.engine.pretrained.folder import FILES, WEIGHTS, is_head
from kanoclip_jax.errors import InputError

# USER/NAME, and behind an @ a branch, a tag or a commit; no other id has a blank or @.
_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_CACHED = re.compile(r"models--[^/\\]+[/\\]snapshots[/\\]")


def is_id(name: str) -> bool:
    """Whether a name may be a repository's on the hub: what is here is a path."""
    found = _ID.fullmatch(name)
    return bool(found) and not Path(found[1].partition("/")[0]).exists()


def is_cached(folder: Path) -> bool:
    """Whether a folder is a copy that the hub's library keeps: nothing is written there."""
    return bool(_CACHED.search(f"{folder}/"))


def local(given: str) -> Path | None:
    """The folder of a head that is here: as it is named, or by its file of weights.

    Raises:
        InputError: what is here is no head.
    """
    path = Path(given).expanduser()
    if path.name == WEIGHTS and path.is_file():
        path = path.parent
    if path.exists() and not is_head(path):
        raise InputError(
            f"{path} holds no head; give a folder of Detector.save_pretrained or "
            "--mode=save, or USER/NAME of the Hugging Face hub (checkpoints of a "
            "training are taken by Detector.load)"
        )
    return path.absolute() if path.exists() else None


def find(given: str) -> Path | None:
    """The folder of a head among all that may be given as a checkpoint.

    Args:
        given: a folder, the file of weights in it, or an id of the hub, which may end
            with `@REVISION`.

    Returns:
        It, fetched where it is on the hub; None where something else is meant.

    Raises:
        InputError: it looks like an id, and cannot be fetched.
    """
    path = Path(given).expanduser()
    if path.name == WEIGHTS or is_head(path):
        return local(given)
    return fetch(given) if not path.exists() and is_id(given) else None


def fetch(
    name: str,
    revision: str | None = None,
    *,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """A repository's head in the hub's cache, fetched where it is not there.

    Args:
        name: `USER/NAME` or `USER/NAME@REVISION`.
        revision: a branch, a tag or a commit; the newest commit where None.
        token: as huggingface_hub takes it; None is the one that `hf auth login` keeps.
        cache_dir: where copies are kept; huggingface_hub's own cache where None.
        force_download: fetch again what is there.
        local_files_only: ask nobody.

    Raises:
        InputError: there is no such head, or nobody can be asked.
    """
    found = _ID.fullmatch(name)
    repository, own = (found[1], found[2]) if found else (name, None)
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or own,
                allow_patterns=list(FILES),
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
            )
        )
    except (OSError, HFValidationError) as error:
        raise InputError(
            f"{name!r} is no checkpoint or folder of a head here, and as a head on the "
            f"Hugging Face hub it cannot be fetched ({_reason(error, token)}); give "
            "WORKDIR/checkpoints of a training, a folder of --mode=save, or "
            "USER/NAME[@REVISION]"
        ) from None


def push(
    folder: Path,
    repo_id: str,
    *,
    commit_message: str,
    private: bool | None,
    token: str | None,
    branch: str | None,
    create_pr: bool | None,
    **patterns: Any,
) -> str:
    """Upload a folder in one commit to a repository, which is made where it is missing.

    Returns:
        The commit's address.

    Raises:
        InputError: the hub refuses it, or cannot be reached.
    """
    api = HfApi(token=token)
    try:
        made = api.create_repo(repo_id=repo_id, private=private, exist_ok=True)
        return api.upload_folder(
            repo_id=made.repo_id,
            repo_type="model",
            folder_path=folder,
            commit_message=commit_message,
            revision=branch,
            create_pr=create_pr,
            **patterns,
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{repo_id!r} could not be pushed to the Hugging Face hub "
            f"({_reason(error, token)}); log in with `hf auth login`, and see that the "
            "name is USER/NAME of your own"
        ) from None


def _reason(error: Exception, token: str | bool | None) -> str:
    """Why, in few words, without the key that was shown."""
    said = " ".join(str(error).split()).partition(". ")[0]
    if isinstance(token, str) and token:
        said = said.replace(token, "…")
    return f"{type(error).__name__}: {said[:160]}"
