"""What a route job is to do."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from cluster.candidate import Candidate
from cluster.files.queries import Kind, QueryColumn
from cluster.jobs.ingest import PinnedFile
from cluster.jobs.spec import JobSpec
from cluster.policies.constraints import Constraints
from cluster.price import Price


class RouteSpec(JobSpec):
    """What to route.

    Attributes:
        files: the query files.
        output: a file, by its extension, or a folder that gets one file a shard.
        output_format: of the files in a folder.
        texts: how a row's query is found (see `QueryColumn`).
        text_column: column that holds the texts or chats.
        router: version of the router.
        checkpoint: where it lies.
        strong, weak: another pair that the router's own pair speaks for; both empty for none.
        pair_ids: the pair's candidate ids, needed where they are to answer.
        policy: name of the policy.
        policy_settings: its settings.
        prices: by candidate's name; where one of the router's candidates has none, costs are not
            predicted.
        constraints: who may be chosen.
        prefix: put before the names of the columns that are added.
        max_error_share: more broken rows than this share fail the job.
        answer_rows: so many distinct queries, drawn by their hash, are kept for their chosen
            candidates to answer; -1 for all.
        rounds: they answer in rounds, as a cascade asks them.
        served: by name the candidates that get OpenAI batch files of their own; empty for none.
        overwrite: replace what is at the output already.
        task_column: column that names a query's task, for the report; may be missing.
        feedback: share of the queries that are copied into the lake as training queries.
        feedback_dataset: name they are kept under.
    """

    job: ClassVar[str] = "route"

    files: tuple[PinnedFile, ...]
    output: str
    output_format: Literal["parquet", "jsonl"] = "parquet"
    texts: Kind = "text"
    text_column: str
    router: str
    checkpoint: str
    strong: str = ""
    weak: str = ""
    pair_ids: tuple[str, ...] = ()
    policy: str
    policy_settings: dict[str, Any]
    prices: dict[str, Price]
    constraints: Constraints = Constraints()
    prefix: str = ""
    max_error_share: float
    answer_rows: int = 0
    rounds: bool = False
    served: dict[str, Candidate | None] = Field(default_factory=dict)
    overwrite: bool = False
    task_column: str = "task"
    feedback: float = 0.0
    feedback_dataset: str = "routed"

    @property
    def queries(self) -> QueryColumn:
        """How the rows' queries are found."""
        return QueryColumn(kind=self.texts, column=self.text_column)
