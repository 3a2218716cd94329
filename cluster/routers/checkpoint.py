"""A router on disk: `router.json`, `model.safetensors` and text files; it opens without us.

The version of a checkpoint is the hash of its content. `router.json` lists the other files with
their hashes and is written last, so that its existence means the folder is complete. Loading
executes nothing that is stored, and believes nothing it has not checked.
"""

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.errors import InputError
from cluster.plugins import load_plugin
from cluster.routers.router import Method, Router, RouterState, Tensors
from cluster.storage import Storage

MANIFEST = "router.json"
TENSORS = "model.safetensors"
# Files whose names begin so are not the router's: they say what it was trained on.
BESIDE = "profile."
FORMAT = 1
# It holds names and settings; the numbers of a router are in other files.
MOST_MANIFEST_BYTES = 64 * 2**20
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


class CheckpointMeta(BaseModel):
    """What is known about a router beside its numbers.

    Attributes:
        candidate_ids: the candidates' hashes, in the router's order of candidates.
        label: what the rewards mean: scorer, normalisation, temperature, dataset.
        settings: the method's settings, as chosen.
        data: digests of what it was fitted on, and counts of what was left out.
        metrics: values on validation, by name.
        code_version: version of signalbox that fitted it.
        seed: of everything random in the fit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidate_ids: tuple[str, ...]
    label: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, float | None] = Field(default_factory=dict)
    code_version: str = ""
    seed: int = 0


class Manifest(CheckpointMeta):
    """Content of `router.json`.

    Attributes:
        format: version of this layout.
        method: name of the installed method that can load it.
        candidates: readable names, the order of every column.
        encoder: name of the encoder, if it has one.
        config: what the fitted router keeps as JSON.
        files: sha256 in hex of every other file of the folder.
    """

    format: int
    method: str
    candidates: tuple[str, ...]
    encoder: str | None
    config: dict[str, Any]
    files: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A loaded router, what is known about it, and the version its content has.

    Attributes:
        beside: name → content of the files that are not the router's own.
    """

    router: Router
    meta: Manifest
    version: str
    beside: Mapping[str, bytes] = field(default_factory=dict)


def checkpoint_files(
    router: Router, *, meta: CheckpointMeta, beside: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """Name → content of every file of the folder, `router.json` last.

    Args:
        router: what is kept.
        meta: what is known about it.
        beside: files that go with it and are part of the version, their names begin with `BESIDE`.
    """
    from safetensors.numpy import save

    state = router.state()
    files = {name: text.encode() for name, text in sorted(state.files.items())}
    taken = {name for name in files if name in (MANIFEST, TENSORS) or name.startswith(BESIDE)}
    assert not taken, f"a router's file has the name of one of ours: {sorted(taken)}"
    assert all(name.startswith(BESIDE) for name in beside or {}), "not to be mistaken for its own"
    files |= beside or {}
    assert all(FILE_NAME.fullmatch(name) for name in files), f"bad file name in {sorted(files)}"
    assert len(meta.candidate_ids) == len(router.candidates), "one id a candidate"
    files[TENSORS] = save(contiguous(state.tensors))
    manifest = Manifest(
        **meta.model_dump(),
        format=FORMAT,
        method=router.method,
        candidates=router.candidates,
        encoder=state.config.get("encoder_name"),
        config=state.config,
        files={name: sha256(data) for name, data in files.items()},
    )
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True, allow_nan=False)
    return {**files, MANIFEST: (text + "\n").encode()}


def version_of(files: dict[str, bytes]) -> str:
    """sha256 in hex over the sorted (name, sha256 of content) of a folder's files."""
    listed = sorted((name, sha256(data)) for name, data in files.items())
    return sha256(json.dumps(listed, separators=(",", ":")).encode())


def save_checkpoint(
    router: Router, uri: str, *, meta: CheckpointMeta, beside: Mapping[str, bytes] | None = None
) -> str:
    """Write the folder, local or `s3://`, and return its version.

    Saving the same router with the same `meta` again writes the same bytes.
    """
    storage = Storage.at(uri)
    files = checkpoint_files(router, meta=meta, beside=beside)
    for name, data in files.items():
        storage.write(storage.join(name), data)
    return version_of(files)


def load_router(uri: str, *, version: str | None = None) -> Router:
    """The router in a checkpoint folder, local or `s3://`.

    Raises:
        InputError: as `load_checkpoint`.
    """
    return load_checkpoint(uri, version=version).router


def load_checkpoint(uri: str, *, version: str | None = None) -> Checkpoint:
    """The router in a checkpoint folder, with what is known about it.

    Raises:
        InputError: there is none, a file is missing or damaged, its content is not what `version`
            says, or its method or encoder is not installed.
    """
    storage = Storage.at(uri)
    files = read_folder(storage)
    manifest = parse_manifest(files[MANIFEST], where=storage.join(MANIFEST))
    found = version_of(files)
    if version is not None and version != found:
        raise InputError(
            f"{storage.uri}: damaged checkpoint: its content has version {found}, "
            f"expected {version}; restore the folder or register it anew"
        )
    beside = {name: content for name, content in files.items() if name.startswith(BESIDE)}
    router = restore(manifest, files, where=storage.uri)
    return Checkpoint(router, manifest, found, beside=beside)


def read_folder(storage: Storage) -> dict[str, bytes]:
    """The manifest and every file it lists, each checked against its hash.

    Raises:
        InputError: something is missing, changed, or named outside the folder.
    """
    content = read_file(storage, MANIFEST)
    manifest = parse_manifest(content, where=storage.join(MANIFEST))
    files = {MANIFEST: content}
    for name, expected in manifest.files.items():
        if not FILE_NAME.fullmatch(name) or name == MANIFEST:
            raise InputError(f"{storage.join(MANIFEST)}: field 'files': {name!r} is no file name")
        files[name] = read_file(storage, name)
        if sha256(files[name]) != expected:
            raise InputError(
                f"{storage.join(name)}: damaged checkpoint: the content is not what {MANIFEST} "
                "lists; restore the folder or train again"
            )
    return files


def read_file(storage: Storage, name: str) -> bytes:
    """Content of one file of the folder.

    Raises:
        InputError: it is not there, or no plain file of a likely size.
    """
    _check_plain(storage, name)
    try:
        return storage.read_bytes(storage.join(name))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(
            f"{storage.join(name)}: no such file; expected a checkpoint folder with {MANIFEST}"
        ) from error


def _check_plain(storage: Storage, name: str) -> None:
    """Refuse what would be read without an end: a device or a pipe that a link leads to, or a
    manifest that is none.

    Raises:
        InputError: it is such a thing.
    """
    where = storage.join(name)
    try:
        mode = 0 if storage.is_s3 else Path(where).stat().st_mode
        size = int(storage.filesystem().info(where)["size"])
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error})") from error
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        raise InputError(f"{where}: damaged checkpoint: is no plain file")
    if name == MANIFEST and size > MOST_MANIFEST_BYTES:
        raise InputError(
            f"{where}: damaged checkpoint: {size:,} bytes, expected at most {MOST_MANIFEST_BYTES:,}"
        )


def read_manifest(uri: str) -> Manifest:
    """`router.json` of a checkpoint alone: what it is, without its weights.

    Raises:
        InputError: it is missing or damaged.
    """
    storage = Storage.at(uri)
    return parse_manifest(read_file(storage, MANIFEST), where=storage.join(MANIFEST))


def parse_manifest(content: bytes, *, where: str) -> Manifest:
    """Read and check `router.json`.

    Raises:
        InputError: it is not JSON, or a field is not as it should be.
    """
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise InputError(f"{where}: damaged checkpoint: {field}: {fault['msg']}") from error
    if manifest.format != FORMAT:
        raise InputError(f"{where}: format {manifest.format}, this version reads {FORMAT}")
    names = manifest.candidates
    if not names or len(set(names)) != len(names) or len(names) != len(manifest.candidate_ids):
        raise InputError(
            f"{where}: field 'candidates': expected unique names, as many as 'candidate_ids'"
        )
    return manifest


def restore(manifest: Manifest, files: dict[str, bytes], *, where: str) -> Router:
    """The router that the checked files describe.

    Raises:
        InputError: its method or encoder is not installed, or a part does not fit the others.
    """
    if TENSORS not in files:
        raise InputError(f"{where}: damaged checkpoint: {TENSORS} is not listed in {MANIFEST}")
    texts = {
        name: data
        for name, data in files.items()
        if name not in (MANIFEST, TENSORS) and not name.startswith(BESIDE)
    }
    method = load_plugin("routers", name=manifest.method)
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise InputError(f"{where}: '{manifest.method}' is installed, but is no routing method")
    state = RouterState(
        config=manifest.config,
        tensors=read_tensors(files[TENSORS], where=f"{where}/{TENSORS}"),
        files={name: read_text(data, where=f"{where}/{name}") for name, data in texts.items()},
    )
    try:
        return method.router.from_state(state, candidates=manifest.candidates)
    except (InputError, ValidationError) as error:
        raise InputError(f"{where}: {error}") from error


def read_tensors(content: bytes, *, where: str) -> Tensors:
    """The arrays of a safetensors file.

    Raises:
        InputError: the file is damaged, or holds a type numpy does not have.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors: Tensors = load(content)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: damaged checkpoint: {error}") from error
    return tensors


def read_text(content: bytes, *, where: str) -> str:
    """A text file.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: damaged checkpoint: not UTF-8 ({error})") from error


def contiguous(tensors: Tensors) -> Tensors:
    """The arrays in C order, which safetensors takes for granted, sorted by name."""
    import numpy as np

    return {name: np.ascontiguousarray(array) for name, array in sorted(tensors.items())}


def sha256(content: bytes) -> str:
    """sha256 in hex."""
    return hashlib.sha256(content).hexdigest()
