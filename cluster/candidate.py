"""A candidate: a model and everything else that decides how it answers."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cluster.endpoint import Endpoint
from cluster.errors import InputError
from cluster.plugins import load_plugin, plugin_names
from cluster.price import Price
from cluster.query import digest
from cluster.sampling import Sampling
from cluster.spec_file import read_spec_file, validated

# Files of a model folder that decide what it answers; anything else beside them does not.
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "*.safetensors",
    "*.safetensors.index.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.*",
)
_PLACEHOLDER = "{text}"
_FILLED = frozenset({"model_digest", "tokenizer_digest"})


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Resources(_Spec):
    """What one replica needs, and how many replicas there may be.

    Attributes:
        gpus: of a replica; below 1 a share of one, which several then have together.
        replicas: how many there may be.
        cpus: of a replica; by default its share of the machine's.
        usd_per_gpu_hour: what an hour of one GPU costs.
    """

    gpus: float = Field(default=0.0, ge=0)
    replicas: int = Field(default=1, ge=1)
    cpus: float | None = Field(default=None, gt=0)
    usd_per_gpu_hour: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _whole_or_a_share(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError("gpus must be a whole number (tensor parallel), or a share below 1")
        return self


class Candidate(_Spec):
    """One entry of a candidate file.

    Attributes:
        name: readable, unique in its file.
        engine: an installed engine.
        model: a hub id or a model folder; an endpoint's own name for engines that call one.
        revision: the hub's commit; needed for a hub id, or the answers would drift unseen. For an
            endpoint, what its replies must call the model that answered.
        endpoint: for engine `openai`, where the model is called.
        tokenizer: hub id or folder, if it is not the model's.
        dtype: `auto` computes in the type the weights are stored in.
        template: the prompt; `{text}` stands for the query's text.
        chat: use the model's own chat template instead.
        system: with `chat`, the system message; a query's own messages keep theirs if they have
            one, else it is put before them.
        sampling: how tokens are picked.
        seed: another seed gives other samples.
        extend: tokens that an answer cut at `sampling.max_tokens` may have beyond them; one that
            needs still more is truncated.
        max_model_len: tokens of prompt and answer together; the model's own limit if not set.
        samples: answers wanted for each query.
        resources: what a replica needs.
        price: USD per million tokens.
        model_digest, tokenizer_digest: content of local folders, filled by `resolve`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        hide_input_in_errors=True,  # a key may stand where its variable's name should
    )

    name: str = Field(min_length=1)
    engine: str
    model: str = Field(min_length=1)
    revision: str | None = None
    endpoint: Endpoint | None = None
    tokenizer: str | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    template: str = _PLACEHOLDER
    chat: bool = False
    system: str | None = Field(default=None, min_length=1)
    sampling: Sampling = Sampling()
    seed: int = Field(default=0, ge=0)
    extend: int = Field(default=0, ge=0)
    max_model_len: int | None = Field(default=None, ge=2)
    samples: int = Field(default=1, ge=1)
    resources: Resources = Resources()
    price: Price | None = None
    model_digest: str | None = None
    tokenizer_digest: str | None = None

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> Self:
        if _PLACEHOLDER not in self.template:
            raise ValueError(f"template must contain {_PLACEHOLDER}")
        if self.chat and self.template != _PLACEHOLDER:
            raise ValueError("template and chat exclude each other: keep one")
        if self.system is not None and not self.chat:
            raise ValueError(
                "field 'system' is a message of a chat: set 'chat: true', or write the "
                "instruction into 'template'"
            )
        return self

    @property
    def frame_bytes(self) -> int:
        """Bytes that are read around each query's text: template, system message, JSON schema."""
        sampling = self.sampling
        schema = json.dumps(sampling.json_schema) if sampling.json_schema is not None else ""
        around = self.template.replace(_PLACEHOLDER, "") + (self.system or "") + schema
        return len(around.encode())

    @property
    def candidate_id(self) -> str:
        """sha256 of all that changes an answer.

        Name, samples, price and resources do not, nor how hard an endpoint may be asked; a local
        folder counts by its content, not by its path. Fields at their default are left out, so
        that a setting added later with a neutral default keeps every id.
        """
        spec = self.model_dump(
            mode="json",
            exclude_defaults=True,
            exclude={"name", "samples", "price", "resources"},
        )
        if self.endpoint is not None:
            spec["endpoint"] = {"url": self.endpoint.url}
        if self.sampling.json_schema is not None:
            # Sorted with the rest, schemas that differ in the order of answers would look equal.
            spec["sampling"]["json_schema"] = json.dumps(self.sampling.json_schema)
        if self.model_digest is not None:
            spec = {key: spec[key] for key in spec if key not in ("model", "revision")}
        if self.tokenizer_digest is not None:
            spec.pop("tokenizer")
        return digest(
            ["candidate", json.dumps(spec, sort_keys=True, ensure_ascii=False, allow_nan=False)]
        )


def resolve(candidate: Candidate, *, folder: Path, digests: bool = True) -> Candidate:
    """The candidate with local folders made absolute and known by their content.

    Reads every weight file once (about 1 s a gigabyte); with `digests=False` only looks whether
    the folders are there.

    Raises:
        InputError: the engine is not installed or cannot do what is asked of it, a folder is
            missing or holds no model, or a hub id has no revision.
    """
    if candidate.engine not in plugin_names("engines"):
        known = ", ".join(plugin_names("engines"))
        raise InputError(f"engine '{candidate.engine}' is not installed; known: {known}")
    engine = load_plugin("engines", name=candidate.engine)
    engine.check(candidate)
    if not engine.loads_weights:
        return candidate
    update: dict[str, str] = {}
    model = _local_folder(candidate.model, folder=folder, field="model")
    if model is not None:
        _check_model(model)
        update |= {"model": str(model), "model_digest": _content(model) if digests else ""}
    elif candidate.revision is None:
        raise InputError(
            f"field 'model': there is no folder {_beside(candidate.model, folder)}; correct the "
            "path, or for a model of the hub pin its commit in 'revision'"
        )
    if candidate.tokenizer is not None:
        tokenizer = _local_folder(candidate.tokenizer, folder=folder, field="tokenizer")
        if tokenizer is not None:
            content = _content(tokenizer) if digests else ""
            update |= {"tokenizer": str(tokenizer), "tokenizer_digest": content}
    return candidate.model_copy(update=update)


def model_digest(folder: Path) -> str:
    """sha256 of the names, sizes and bytes of a model folder's files.

    Raises:
        InputError: the folder has no config.json or no safetensors.
    """
    _check_model(folder)
    return _content(folder)


def _check_model(folder: Path) -> None:
    for pattern in ("config.json", "*.safetensors"):
        if not any(folder.glob(pattern)):
            raise InputError(
                f"field 'model': the folder {folder} has no {pattern}; "
                "it must be a Hugging Face model saved as safetensors"
            )


def load_candidates(path: str | Path) -> list[Candidate]:
    """The candidates of a YAML or TOML file: a list, `candidates: [...]`, or a single one.

    Raises:
        InputError: names the file, the candidate and the field, and says what to do.
    """
    file = Path(path)
    candidates = _candidates(file, digests=True)
    _check_unique(
        [(one.candidate_id, one.name) for one in candidates],
        file=file,
        what="the same answers (engine, model, prompt and sampling are equal)",
    )
    return candidates


def check_candidates(path: str | Path) -> None:
    """Make sure a candidate file can be used, without reading the models' weights.

    Raises:
        InputError: as `load_candidates`; that two entries give the same answers is left to it.
    """
    _candidates(Path(path), digests=False)


def _candidates(file: Path, *, digests: bool) -> list[Candidate]:
    entries = _entries(read_spec_file(file), file=file)
    candidates = [
        _candidate(entry, file=file, number=number, digests=digests)
        for number, entry in enumerate(entries, 1)
    ]
    _check_unique([(one.name, one.name) for one in candidates], file=file, what="the same name")
    return candidates


def is_candidate_file(path: str | Path) -> bool:
    """Whether a YAML or TOML file holds candidates, and not prices by name.

    Raises:
        InputError: it cannot be read.
    """
    content = read_spec_file(Path(path))
    if isinstance(content, dict):
        return "candidates" in content or isinstance(content.get("model"), str)
    return isinstance(content, list)


def load_prices(path: str | Path) -> dict[str, Price]:
    """Prices by candidate's name, from a YAML or TOML file: `name: {input: …, output: …}`.

    Raises:
        InputError: names the file, the candidate and the field.
    """
    file = Path(path)
    entries = read_spec_file(file)
    if not isinstance(entries, dict) or not entries:
        raise InputError(
            f"{file}: expected candidates' names, each with {{input: …, output: …}} in USD per "
            "million tokens"
        )
    return {
        str(name): validated(Price, entry, where=f"{file}: price of '{name}'")
        for name, entry in entries.items()
    }


def _candidate(entry: Any, *, file: Path, number: int, digests: bool) -> Candidate:
    name = entry.get("name") if isinstance(entry, dict) else None
    where = f"{file}: candidate {number}" + (f" ('{name}')" if name else "")
    candidate = validated(Candidate, entry, where=where, hidden=_FILLED)
    try:
        return resolve(candidate, folder=file.parent, digests=digests)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _entries(content: Any, *, file: Path) -> list[Any]:
    if isinstance(content, dict) and "candidates" in content:
        others = ", ".join(f"'{key}'" for key in content if key != "candidates")
        if others:
            raise InputError(f"{file}: unknown field {others} beside 'candidates'; remove it")
        content = content["candidates"]
    elif isinstance(content, dict):
        content = [content]
    if not isinstance(content, list) or not content:
        raise InputError(
            f"{file}: no candidates; expected a list, or 'candidates:' with a list, of entries "
            "with at least name, engine and model"
        )
    return content


def _local_folder(value: str, *, folder: Path, field: str) -> Path | None:
    """The absolute folder a field names, or None for a hub id."""
    path = _beside(value, folder)
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"field '{field}': {path} is a file; a model folder was expected")
    looks_like_path = value.startswith((".", "/", "~")) or value.count("/") != 1
    if looks_like_path and "/" in value:
        raise InputError(f"field '{field}': there is no folder {path}; correct the path")
    return None


def _beside(value: str, folder: Path) -> Path:
    return (folder.resolve() / Path(value).expanduser()).resolve()


def _content(folder: Path) -> str:
    files = sorted({file for pattern in MODEL_FILES for file in folder.glob(pattern)})
    parts: list[str | int] = ["model"]
    for file in files:
        try:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"field 'model': {file} cannot be read ({error.strerror})") from error
        parts += [file.name, file.stat().st_size, content]
    return digest(parts)


def _check_unique(pairs: Sequence[tuple[str, str]], *, file: Path, what: str) -> None:
    first: dict[str, str] = {}
    for key, name in pairs:
        if key in first:
            raise InputError(
                f"{file}: candidates '{first[key]}' and '{name}' have {what}; remove or change one"
            )
        first[key] = name
