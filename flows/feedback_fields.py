"""The fields of `route` that say what is told of a file, and what of it comes back."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# Beyond it the most unsure queries would all come back, and no more of them could.
MOST_FEEDBACK = 0.4


class FeedbackFields(BaseModel):
    """Whether a sample of the routed queries comes back into the lake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feedback: float = Field(
        default=0.0,
        ge=0.0,
        le=MOST_FEEDBACK,
        title="Feedback",
        description="Share of the queries (0.01 is 1 %) whose texts are copied into the lake, so "
        "that the next training learns from what is asked; more of those where the router is "
        "unsure, always as train, never for a test. Copies users' queries, and the chats before "
        "them: 0, none, unless asked for. 'collect' without query files has them answered and "
        "labelled",
    )
    feedback_dataset: str = Field(
        default="routed",
        min_length=1,
        title="Feedback's dataset",
        description="Name the copied queries are kept under, with --feedback: one of their own, or "
        "the dataset the router is trained on",
    )
    task_column: str = Field(
        default="task",
        title="Task column",
        description="Column that names a query's task: the report tells who answers which; may be "
        "missing",
    )


def feedback_fields(params: FeedbackFields) -> dict[str, Any]:
    """The fields as the job's spec takes them; the dataset's name only where it is read."""
    own: dict[str, Any] = {"task_column": params.task_column, "feedback": params.feedback}
    return own | ({"feedback_dataset": params.feedback_dataset} if params.feedback else {})
