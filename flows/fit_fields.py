"""The fields of `train` and `evaluate` that say how methods are fitted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from cluster.errors import InputError
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS
from cluster.lake.preferences import check_preferences
from cluster.lake.tables import PREFERENCES, TAGGERS, Table
from cluster.plugins import load_plugin, plugin_names
from cluster.routers.fit import load_method
from cluster.routers.lesson import learns_from_battles
from cluster.routers.settings import GivenSettings, check_settings, read_settings
from flows.params import plugin_name

if TYPE_CHECKING:
    EncoderName = str
else:
    EncoderName = plugin_name("encoders")

MAX_FOLDS = 50
MAX_WORKERS = 1024
# The same as below, for the form: the server refuses it before there is a run.
NOT_ONE: dict[str, Any] = {"not": {"const": 1}}


def _none_or_several(folds: int) -> int:
    if folds == 1:
        raise PydanticCustomError(
            "folds", "one fold leaves nothing to fit on: give 0 or at least 2"
        )
    return folds


EncoderField = Annotated[
    EncoderName,
    Field(title="Encoder", description="What turns texts into vectors, for methods that read them"),
]
EncoderModelField = Annotated[
    str,
    Field(
        title="Encoder's model",
        description="Folder or name of the pretrained model, for encoders that need one",
    ),
]
SettingsField = Annotated[
    str,
    Field(
        title="Settings",
        description="YAML file with a line 'knn: {k: 20}' a method: what is given there is not "
        "chosen; 'knn: {k: {try: [10, 20, 40]}}' names the values to choose among, the simplest "
        "first. Empty: every method's settings are chosen among its own",
    ),
]
TaggerField = Annotated[
    str,
    Field(
        title="Tagger",
        description="Whose tags the queries carry, for methods that learn from tags. Empty: each "
        "query's task",
    ),
]
WorkersField = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_WORKERS,
        title="Workers",
        description="Ray Train workers of each method that trains by gradient. 0: it trains in the "
        "job's own process",
    ),
]
# Bounds behind a validator stand in no schema, and the form would let everything pass.
NoneOrSeveral = Annotated[int, Field(ge=0, le=MAX_FOLDS), AfterValidator(_none_or_several)]
FoldsField = Annotated[
    NoneOrSeveral,
    Field(
        json_schema_extra=NOT_ONE,
        title="Folds",
        description="Settings are chosen by cross-validation on train and validation in so many "
        "folds, in parallel. 0: on the validation split, as methods that train by gradient always "
        "do",
    ),
]
PreferencesField = Annotated[
    str,
    Field(
        title="Preferences",
        description="Dataset whose battles ('import', format battles) mf, similarity_weighted, "
        "bert and causal_lm learn from too, or alone where no train query has a reward. Where none "
        "is between the candidates at hand, those who fought are compared in tiers by strength, as "
        "RouteLLM does (settings tiers, strong_tiers, weak_tier). Empty: no battles",
    ),
]
JudgeField = Annotated[
    str,
    Field(
        title="Judge",
        description="Whose verdicts count, with --preferences. Empty: those of the only judge",
    ),
]
StrongField = Annotated[
    str,
    Field(
        title="Strong candidate",
        description="Of the pair that methods for a pair learn, and that PGR, APGR and CPT are "
        "about, with --weak. Empty: of exactly two candidates the one that is better on train",
    ),
]
WeakField = Annotated[
    str, Field(title="Weak candidate", description="The other one of the pair, with --strong")
]


class FitFields(Protocol):
    """What the parameters of both flows have."""

    @property
    def encoder(self) -> str: ...
    @property
    def encoder_model(self) -> str: ...
    @property
    def settings(self) -> str: ...
    @property
    def tagger(self) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def folds(self) -> int: ...
    @property
    def preferences(self) -> str: ...
    @property
    def judge(self) -> str: ...
    @property
    def strong(self) -> str: ...
    @property
    def weak(self) -> str: ...


def check_fit(params: FitFields, *, methods: list[str] | tuple[str, ...], lake: Lake) -> None:
    """Make sure settings, encoder, tagger, pair and battles are what they must be, before a start.

    Raises:
        InputError: they are not.
    """
    _check_encoder(params)
    check_settings(_given(params), methods=methods, file=params.settings)
    taggers = lake.read(TAGGERS)
    known = set(taggers["name"]) | set(taggers["tagger_id"])
    if params.tagger and params.tagger not in known:
        names = ", ".join(sorted(set(taggers["name"]))) or "none"
        raise InputError(
            f"tagger '{params.tagger}' has tagged nothing in {lake.storage.uri}; taggers that "
            f"have: {names}; name one of them with --tagger"
        )
    if bool(params.strong) != bool(params.weak) or (params.strong and params.strong == params.weak):
        raise InputError("--strong and --weak name two different candidates; give both or neither")
    _check_preferences(params, methods=methods, lake=lake)


def _check_preferences(
    params: FitFields, *, methods: list[str] | tuple[str, ...], lake: Lake
) -> None:
    if not params.preferences:
        if params.judge:
            raise InputError("--judge says whose battles count; name their dataset, --preferences")
        return
    check_preferences(lake, dataset=params.preferences, judge=params.judge)
    if methods and not any(learns_from_battles(load_method(name)) for name in methods):
        able = [name for name in plugin_names("routers") if learns_from_battles(load_method(name))]
        raise InputError(
            f"--preferences {params.preferences}: {', '.join(methods)} learn from rewards alone; "
            f"battles are for {', '.join(able)}; add one with --methods, or leave --preferences out"
        )


def _check_encoder(params: FitFields) -> None:
    model = load_plugin("encoders", name=params.encoder).model_fields.get("model")
    if model is not None and model.is_required() and not params.encoder_model:
        raise InputError(
            f"encoder '{params.encoder}' needs a pretrained model: name its folder or its name on "
            "a hub with --encoder-model"
        )


def fit_inputs(params: FitFields) -> tuple[Table, ...]:
    """The tables that are read: battles only where they are learned from."""
    return (*INPUTS, PREFERENCES) if params.preferences else INPUTS


def fit_fields(params: FitFields) -> dict[str, Any]:
    """The fields as the job's spec takes them."""
    given = _given(params)
    return {
        "encoder": given.encoder,
        "encoder_model": given.encoder_model,
        "settings": given.by_method,
        "tagger": params.tagger,
        "workers": params.workers,
        "folds": params.folds,
        "preferences": params.preferences,
        "judge": params.judge,
        "strong": params.strong,
        "weak": params.weak,
    }


def _given(params: FitFields) -> GivenSettings:
    """What is fixed; a folder that is here is named in full, as a job runs in another one."""
    model = params.encoder_model
    if model and Path(model).exists():
        model = str(Path(model).resolve())
    return GivenSettings(params.encoder, model, read_settings(params.settings))
