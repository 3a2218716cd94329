"""The parameters of `retrain`: those of `collect` and `train` that a night takes, and its own."""

import hashlib
from copy import copy
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from cluster.candidate import check_candidates, load_candidates
from cluster.errors import InputError
from cluster.jobs.spending import check_spendable
from cluster.lake.lake import Lake
from cluster.lake.prices import read_prices
from cluster.nightly.watched import require_watchable
from cluster.query import digest
from flows.collect import CollectParams, ScorerName, TaggerName, check_labels
from flows.fit_fields import (
    EncoderField,
    EncoderModelField,
    FoldsField,
    SettingsField,
    StrongField,
    TaggerField,
    WeakField,
    WorkersField,
    check_fit,
)
from flows.params import (
    FlowParams,
    LabelsField,
    NormalisationField,
    PricesField,
    ScorerField,
    SeedField,
    TemperatureField,
    check_ray,
)
from flows.train import MethodName, TrainParams
from tasks.notify import check_block_name

FILES = ("settings", "labels")
# Who watches, who hears of it and how fast it goes change nothing of what a night does; who is
# asked and what is spent are one night's business. Of files counts what they hold, not the path.
OUTSIDE_SERIES = {
    *FILES,
    "lake",
    "ray_address",
    "notify",
    "settle_seconds",
    "shard_rows",
    "workers",
    "candidates",
    "budget",
    "max_usd",
    "abandon_night",
}


def _as_in(model: type[BaseModel], name: str) -> Any:
    """A field as another flow has it."""
    return copy(model.model_fields[name])


class RetrainParams(FlowParams):
    """One night: take what is new, have it answered and labelled, train, and promote what is
    better."""

    watch: str = Field(
        default="",
        title="Watched folder",
        description="Folder, glob or s3:// prefix whose new files of queries are taken, each once. "
        "Empty: none",
    )
    candidates: str = Field(
        default="",
        title="Candidate file",
        description="YAML or TOML file of the candidates that answer what is new. Empty: nobody is "
        "asked, and the night learns from what is in the lake, such as imported tables",
    )
    dataset: str = Field(
        default="default",
        title="Dataset",
        description="What new queries of files are kept under, what is learned from and measured "
        "on",
        min_length=1,
    )
    routed: list[str] = Field(
        default=["routed"],
        title="Routed datasets",
        description="Datasets that 'route' copies queries to as feedback: they are answered and "
        "labelled as well, and learned from; never measured on. What no scorer could reward, as it "
        "has no reference, is not asked. Those not in the lake are left out",
    )
    methods: list[MethodName] = _as_in(TrainParams, "methods")
    max_usd: float = _as_in(CollectParams, "max_usd")
    notify: str = Field(
        default="",
        title="Notify",
        description="Notification block of Prefect that hears how the night went, by type and "
        "name: slack-webhook/nightly. Empty: none",
    )
    warm_start: bool = Field(
        default=False,
        title="Warm start",
        description="Methods that train by gradient go on from the last version of theirs, with "
        "its settings and encoder, where the candidates are the same: a fraction of the time, and "
        "no better for it",
    )
    abandon_night: int = Field(
        default=0,
        ge=0,
        title="Abandon night",
        description="Number of a night that cannot be finished: it is closed as it is, what it had "
        "answered is kept, and the next begins. One that is closed already is left alone. 0: none",
    )
    scorers: list[ScorerName] = _as_in(CollectParams, "scorers")
    taggers: list[TaggerName] = _as_in(CollectParams, "taggers")
    labels: LabelsField = ""
    scorer: ScorerField = ""
    normalisation: NormalisationField = "none"
    temperature: TemperatureField = 1.0
    prices: PricesField = ""
    encoder: EncoderField = "lexical"
    encoder_model: EncoderModelField = ""
    settings: SettingsField = ""
    tagger: TaggerField = ""
    folds: FoldsField = 0
    strong: StrongField = ""
    weak: WeakField = ""
    budget: int = _as_in(CollectParams, "budget")
    text_column: str = _as_in(CollectParams, "text_column")
    task_column: str = _as_in(CollectParams, "task_column")
    reference_column: str = _as_in(CollectParams, "reference_column")
    messages_column: str = _as_in(CollectParams, "messages_column")
    max_error_share: float = _as_in(CollectParams, "max_error_share")
    retry_errors: bool = _as_in(CollectParams, "retry_errors")
    shard_rows: int = _as_in(CollectParams, "shard_rows")
    settle_seconds: float = Field(
        default=60.0,
        ge=0,
        allow_inf_nan=False,
        title="Settle seconds",
        description="A local file of the watched folder that was written to less than so many "
        "seconds ago may not be whole, and is left for the next night",
    )
    workers: WorkersField = 0
    seed: SeedField = 0

    def collect(self, *, dataset: str) -> CollectParams:
        """What `collect` would be asked for one of the datasets."""
        shared = set(CollectParams.model_fields) & set(RetrainParams.model_fields)
        own = {name: getattr(self, name) for name in shared - {"dataset"}}
        return CollectParams(**own, dataset=dataset)

    def train(self) -> TrainParams:
        """What `train` would be asked."""
        shared = set(TrainParams.model_fields) & set(RetrainParams.model_fields)
        return TrainParams(**{name: getattr(self, name) for name in shared - {"candidates"}})

    def series(self) -> str:
        """A hash of what makes nights those of one series, settings' and labels' contents included.

        Whether an unfinished night asks others than it began with is seen by itself
        (`flows.retrain_begin.give_up`).
        """
        values = self.model_dump_json(exclude=OUTSIDE_SERIES)
        contents = [_content(getattr(self, name)) for name in FILES]
        return digest([values, *contents])[:12]


def _content(file: str) -> str:
    """The digest of a file's content; nothing for none."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def check(params: RetrainParams) -> None:
    """What can be told before anything is started; the lake comes last, for it is made here.

    Raises:
        SignalboxError: watched folder, candidate file, labels, settings, block's name, Ray address
            or lake are not what they must be.
    """
    if params.watch:
        require_watchable(params.watch)
    if params.notify:
        check_block_name(params.notify)
    if params.candidates:
        check_candidates(params.candidates)
        check_labels(params.collect(dataset=params.dataset))
        if params.max_usd:
            check_spendable(load_candidates(params.candidates))
    elif params.max_usd:
        raise InputError("--max-usd: nobody is asked without a candidate file; add --candidates")
    check_ray(params)
    lake = Lake.open(params.lake)
    read_prices(params.prices, lake=lake)
    check_fit(params.train(), methods=params.methods, lake=lake)
