"""The file behind `up --nightly`: what `retrain` is to run with every night."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import InputError
from flows.flags import UsageError, parse_flags

if TYPE_CHECKING:
    from flows.retrain_params import RetrainParams

# Runs of another start of `up` may begin in another folder.
PATHS = ("watch", "candidates", "labels", "prices", "settings", "lake")


def check_nightly(file: str, *, lake: str, candidates: str) -> None:
    """Make sure a night could begin, as `signalbox retrain` does before it begins one.

    Args:
        file: of fields, as `signalbox retrain --config` takes.
        lake, candidates: what holds where the file does not say.

    Raises:
        SignalboxError: the file, or something that it names, is not what it must be.
    """
    from flows.retrain_params import check

    said = _read(file)
    filled = {"lake": said.lake or lake, "candidates": said.candidates or candidates}
    check(said.model_copy(update=filled))


def nightly_values(file: str) -> dict[str, Any]:
    """What the file says of the night, paths as they are from everywhere."""
    said = _read(file).model_dump(mode="json", exclude_unset=True)
    return {name: _absolute(value) if name in PATHS else value for name, value in said.items()}


def _read(file: str) -> "RetrainParams":
    from flows.retrain_params import RetrainParams

    try:
        said = parse_flags(RetrainParams, arguments=["--config", file], command="retrain")
    except UsageError as error:
        raise InputError(f"--nightly: {error}") from error
    if not said.model_fields_set:
        raise InputError(f"--nightly: {file}: there is no field; say at least max-usd")
    return said


def _absolute(path: str) -> str:
    """A local path without the folder it was written in; others as they are."""
    return path if not path or "://" in path else str(Path(path).absolute())
