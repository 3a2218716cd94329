"""Letting the chosen candidates answer: the parameters of route that are about it."""

from pydantic import BaseModel, ConfigDict, Field

from flows.params import LabelsField


class AnswerFields(BaseModel):
    """Who answers, and for how much."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_candidate: bool = Field(
        default=False,
        title="A file for each candidate",
        description="Also write OpenAI batch files with the requests of each candidate, ready for "
        "vllm run-batch or an API, to a folder beside the output",
    )
    answer: int = Field(
        default=0,
        ge=-1,
        title="Answer",
        description="Let the chosen candidates answer so many distinct queries, drawn evenly; 0: "
        "none, -1: all. The rows with their answers go to a file beside the output",
    )
    max_usd: float = Field(
        default=0.0,
        ge=0.0,
        allow_inf_nan=False,
        title="Most to spend",
        description="With --answer: USD after which no candidate is asked any more; what is "
        "answered by then is kept, and a rerun goes on with as much again. What a verifier costs "
        "counts. 0: no cap",
    )
    retry_errors: bool = Field(
        default=False,
        title="Retry errors",
        description="With --answer: ask again what failed in an earlier run",
    )
    verifier: str = Field(
        default="",
        title="Verifier",
        description="With --policy cascade and --answer: name of a scorer that needs no reference "
        "(of --labels, or with its default settings); the next candidate is asked where its "
        "reward of an answer is below --accept-from",
    )
    labels: LabelsField = ""
