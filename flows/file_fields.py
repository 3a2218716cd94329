"""What a query file is: the parameters every flow that reads one for its queries shares."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cluster.errors import InputError
from cluster.files.openai_batch import CUSTOM_ID
from cluster.files.queries import FLAGS, QueryColumn, recognised, refuse_mixture
from cluster.files.reader import check_column
from cluster.files.source import find_files


class FileFields(BaseModel):
    """Where the queries of a file stand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str = Field(
        title="Input",
        description="A file, glob or folder, local or s3://: Parquet, JSON Lines or CSV "
        "(also .gz, .zst), one query a row; or OpenAI batch files",
    )
    input_format: Literal["auto", "rows", "openai_batch"] = Field(
        default="auto",
        title="Input format",
        description="rows: a text or a chat in a column; openai_batch: lines of {custom_id, "
        "method, url, body}, whose last user turn is the query; auto: told by the first lines",
    )
    text_column: str = Field(
        default="text", title="Text column", description="Column that holds the query"
    )
    messages_column: str = Field(
        default="",
        title="Messages column",
        description="Column with chats (lists of role and content, as such or as JSON) instead "
        "of texts; the last user turn is the query",
    )


def query_column(params: FileFields) -> QueryColumn:
    """How the queries of the input are found.

    Raises:
        InputError: nothing is there, it is a mixture, or the flags contradict each other.
    """
    if params.messages_column and params.input_format == "openai_batch":
        raise InputError(
            "--messages-column is for chats in a column, and --input-format openai_batch has "
            "them in its requests: leave one of the two out"
        )
    if params.messages_column:
        return QueryColumn(kind="messages", column=params.messages_column)
    is_batch = params.input_format == "openai_batch"
    if params.input_format == "auto":
        sources = find_files(params.input)
        is_batch = refuse_mixture({source.uri: recognised(source) for source in sources})
    return QueryColumn(kind="openai_batch") if is_batch else QueryColumn(column=params.text_column)


def check_queries(params: FileFields) -> None:
    """Make sure the files are there and have their queries; reads little of them.

    Raises:
        InputError: nothing is there, a file is empty or damaged, a column is not in it, or the
            flags contradict each other.
        LakeError: the S3 store or bucket cannot be reached.
    """
    queries = query_column(params)
    column = CUSTOM_ID if queries.kind == "openai_batch" else queries.column
    for source in find_files(params.input):
        check_column(source, column=column, flag=FLAGS[queries.kind])
