"""Which scorers and taggers label a collection: by name, or from a file with their settings."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from cluster.errors import InputError
from cluster.plugins import plugin_names
from cluster.rewards.scorer import Scorer, load_scorer
from cluster.spec import IdentifiedSpec
from cluster.spec_file import read_spec_file
from cluster.tags.tagger import Tagger, load_tagger

EXAMPLE = "such as 'scorers: {helpful: {scorer: reward_model, model: ./rm}}'"
Kind = Literal["scorer", "tagger"]


class Label(BaseModel):
    """One scorer or tagger to run.

    Attributes:
        name: what its rewards or tags are called in the lake.
        method: the plugin.
        settings: its settings, folders made absolute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    method: str
    settings: dict[str, Any] = {}

    def scorer(self) -> Scorer:
        """The scorer it names."""
        return load_scorer(self.method, **self.settings)

    def tagger(self) -> Tagger:
        """The tagger it names."""
        return load_tagger(self.method, **self.settings)


class Labels(BaseModel):
    """All that label a collection, in the order they run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scorers: tuple[Label, ...] = ()
    taggers: tuple[Label, ...] = ()


def read_labels(path: str, *, scorers: Sequence[str], taggers: Sequence[str]) -> Labels:
    """Those named, with their default settings, and those of a YAML file behind them.

    The file has up to two parts, `scorers:` and `taggers:`; an entry's key is its name in the
    lake, its field `scorer` (or `tagger`) the plugin, by default the key itself, and all other
    fields are settings. An entry called like one of those named replaces it. Scorers that read
    others' rewards come behind these.

    Args:
        path: the file; empty for none.
        scorers: plugins with their default settings.
        taggers: the same.

    Raises:
        InputError: names the file, the entry and the field, and says what to do.
    """
    content = _content(path) if path else {}
    found = _merged("scorer", names=scorers, entries=content.get("scorers", {}), file=path)
    return Labels(
        scorers=_in_order(found, file=path),
        taggers=_merged("tagger", names=taggers, entries=content.get("taggers", {}), file=path),
    )


def _merged(
    kind: Kind, *, names: Sequence[str], entries: Mapping[str, Any], file: str
) -> tuple[Label, ...]:
    plain = [_label(kind, name=name, entry={}, file="") for name in names if name not in entries]
    given = [_label(kind, name=str(name), entry=entries[name], file=file) for name in entries]
    return (*plain, *given)


def scorers_for(name: str, *, among: Sequence[Label]) -> tuple[Label, ...]:
    """The scorer of that name with those it reads, in the order they run; empty: it is not there.

    Args:
        name: of the scorer.
        among: the scorers that are known, in the order they run. What else is read is a plugin with
            its default settings.
    """
    wanted = [name]
    known = {label.name: label for label in among}
    for one in wanted:
        if one not in known and one != name and one in plugin_names("scorers"):
            known[one] = _label("scorer", name=one, entry={}, file="")
        read = known[one].scorer().reads if one in known else ()
        wanted += [other for other in read if other not in wanted]
    return _in_order([known[one] for one in wanted if one in known], file="")


def need_references(scorers: Sequence[Label]) -> bool:
    """Whether none of the scorers has a reward for an answer to a query without a reference.

    Those that are made from others' rewards have one where these have.
    """
    first = [one for one in (label.scorer() for label in scorers) if not one.reads]
    return bool(first) and all(one.needs_reference for one in first)


def _in_order(labels: Sequence[Label], *, file: str) -> tuple[Label, ...]:
    """Every scorer behind those it reads, otherwise as they are.

    Raises:
        InputError: scorers read each other.
    """
    by_name = {label.name: label for label in labels}
    read = {label.name: label.scorer().reads for label in labels}
    if not any(read.values()):
        return tuple(labels)
    sorter = TopologicalSorter({n: [one for one in r if one in by_name] for n, r in read.items()})
    try:
        return tuple(by_name[name] for name in sorter.static_order())
    except CycleError as error:
        circle = " reads ".join(f"'{name}'" for name in reversed(error.args[1]))
        raise InputError(
            f"{file}: scorers read each other: {circle}; let one be made without the other"
        ) from error


def _label(kind: Kind, *, name: str, entry: Any, file: str) -> Label:
    where = f"{file}: {kind} '{name}': " if file else ""
    if not isinstance(entry, dict):
        raise InputError(f"{where}found {entry!r}, expected its settings, {EXAMPLE}")
    settings = {str(key): value for key, value in entry.items()}
    method = str(settings.pop(kind, name))
    try:
        found = _load(kind, method=method, settings=settings)
        resolved = found.resolved(Path(file).parent)
    except InputError as error:
        plugins = (Scorer if kind == "scorer" else Tagger).plugins
        named = not file and method in plugin_names(plugins)
        hint = f"; settings are given in the file of --labels, {EXAMPLE}" if named else ""
        raise InputError(f"{where}{error}{hint}") from error
    return Label(name=name, method=method, settings=resolved.model_dump(mode="json"))


def _load(kind: Kind, *, method: str, settings: dict[str, Any]) -> IdentifiedSpec:
    if kind == "scorer":
        return load_scorer(method, **settings)
    return load_tagger(method, **settings)


def _content(path: str) -> dict[str, Any]:
    content = read_spec_file(Path(path), flag="--labels")
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: expected 'scorers:' and 'taggers:', {EXAMPLE}")
    for part, entries in content.items():
        if part not in ("scorers", "taggers"):
            raise InputError(f"{path}: unknown part '{part}'; expected 'scorers:' and 'taggers:'")
        if not isinstance(entries, dict):
            raise InputError(f"{path}: {part}: expected names with their settings, {EXAMPLE}")
    return content
