"""An LLM as judge: grades of single answers, or verdicts on pairs of them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl
from pydantic import Field, field_validator, model_validator

from cluster.candidate import Candidate, Resources, resolve
from cluster.errors import InputError
from cluster.plugins import load_plugin
from cluster.query import digest
from cluster.rewards.judge_asker import Asker, Reply
from cluster.rewards.judge_pairs import (
    are_equal,
    battles_of,
    compared,
    joined,
    orders_told,
    pairs_of,
    ratings_of,
)
from cluster.rewards.judge_prompt import (
    CRITERIA,
    GRADE_TASK,
    PAIR_TASK,
    JudgePrompt,
    Room,
    judge_prompt,
)
from cluster.rewards.judge_verdict import (
    GRADES,
    Mode,
    parse_grade,
    parse_verdict,
    schema_of,
    unparsable,
)
from cluster.rewards.scorer import RATING_SCHEMA, Rated, Rater, Scorer

_TASKS = {"grade": GRADE_TASK, "pairwise": PAIR_TASK}


class Judge(Scorer):
    """A judge, by any engine.

    In mode `grade` an answer gets a grade g from 1 to 5, raw = g, value = (g - 1) / 4. In mode
    `pairwise` each answer is compared with those of the other candidates to the same query, in
    both orders; its value is the share of its wins (a tie is half of one), and the verdicts are
    battles, RouteLLM's D_judge (arXiv 2406.18665, section 4.1).

    Attributes:
        candidate: the judge, with the fields of a candidate file; its `name` may be left out.
        mode: grade or pairwise.
        criteria: what the judge is told to look at.
        show_reference: whether the judge sees the query's reference, where it has one.
        structured: whether the engine holds the judge to JSON; for engines that cannot.
        max_characters: of a text that the judge reads; a longer one is cut, and so is one that is
            too long for a local judge's context.
        reference_candidate: name or id of the one that all others are compared with, in mode
            `pairwise`; its own rewards are 0.5. By default all are compared with all.
    """

    name: ClassVar[str] = "judge"
    needs_actor: ClassVar[bool] = True
    whole_queries: ClassVar[bool] = True

    candidate: Candidate
    mode: Mode = "grade"
    criteria: str = Field(default=CRITERIA, min_length=1)
    show_reference: bool = False
    structured: bool = True
    max_characters: int = Field(default=20_000, ge=100)
    reference_candidate: str | None = None

    @field_validator("candidate", mode="before")
    @classmethod
    def _named(cls, candidate: Any) -> Any:
        return {"name": cls.name} | candidate if isinstance(candidate, dict) else candidate

    @model_validator(mode="after")
    def _compares(self) -> Self:
        if self.reference_candidate is not None and self.mode != "pairwise":
            raise ValueError("reference_candidate belongs to 'mode: pairwise'")
        return self

    @property
    def placement(self) -> Resources:
        return self.candidate.resources

    @property
    def asked(self) -> Candidate:
        """The judge as its engine sees it: with the JSON schema of the mode."""
        sampling = self.candidate.sampling
        if not self.structured or sampling.json_schema is not None:
            return self.candidate
        schema = schema_of(self.mode, bounded=self.candidate.endpoint is None)
        held = sampling.model_copy(update={"json_schema": schema})
        return self.candidate.model_copy(update={"sampling": held})

    def spec(self) -> dict[str, Any]:
        """As of every spec; the judge counts by its `candidate_id`, and the prompt by its text."""
        spec = super().spec()
        found = spec.pop("candidate")
        told = {"engine": found["engine"], "candidate_id": self.asked.candidate_id}
        return spec | {"judge": told, "prompt": digest([_TASKS[self.mode]])}

    def resolved(self, folder: Path) -> Self:
        """The same with a judge of a local folder known by its content.

        Raises:
            InputError: the judge's model is not there, or its engine cannot do what is asked.
        """
        if self.candidate.model_digest or self.candidate.tokenizer_digest:
            raise InputError("field 'candidate.model_digest' is filled by signalbox; remove it")
        try:
            found = resolve(self.asked, folder=folder)
        except InputError as error:
            known = "json_schema" in str(error) and self.candidate.sampling.json_schema is None
            hint = "; for an engine without it set 'structured: false'" if known else ""
            raise InputError(f"field 'candidate': {error}{hint}") from error
        return self.model_copy(update={"candidate": found})

    def score(self, answers: pl.DataFrame) -> pl.Series:
        """The rewards, (n_answers,); the judge is loaded for this call alone.

        Mode `pairwise` needs the columns of `rate`: it has to know whose answer it is.
        """
        with self.open() as rate:
            return rate(answers.with_columns(new=pl.lit(True))).ratings["value"]

    @contextmanager
    def open(self) -> Iterator[Rater]:
        """Load the judge.

        Raises:
            EngineError: it cannot be loaded.
        """
        judge = self.asked
        with load_plugin("engines", name=judge.engine)(judge) as engine:
            asker = Asker(engine, judge)
            room = asker.room(characters=self.max_characters)
            work = self._grade if self.mode == "grade" else self._compare
            yield lambda answers: work(_asked(answers), asker=asker, room=room)

    def _grade(self, answers: pl.DataFrame, *, asker: Asker, room: Room) -> Rated:
        """Grades of the answers that are new."""
        there = answers.filter(pl.col("text").is_not_null(), "new")
        prompts = [
            self._prompt(query, reference, {"Answer": text}, room=room)
            for query, reference, text in there.select("query", "reference", "text").iter_rows()
        ]
        rows = [
            _graded(prompt, reply)
            for prompt, reply in zip(prompts, _replies(asker, prompts), strict=True)
        ]
        graded = pl.DataFrame(rows, schema=RATING_SCHEMA, orient="row")
        rated = answers.select("row").join(
            there.select("row").hstack(graded), on="row", how="left", maintain_order="left"
        )
        return Rated(rated.select(list(RATING_SCHEMA)), usage=asker.spent())

    def _compare(self, answers: pl.DataFrame, *, asker: Asker, room: Room) -> Rated:
        """Verdicts on the pairs with an answer that is new; all answers get their share of wins."""
        there = answers.filter(pl.col("text").is_not_null())
        pairs = pairs_of(there, reference=self.reference_candidate)
        equal = are_equal(pairs)
        judged = pl.concat(
            [
                _tied(pairs.filter(equal)),
                self._judged(pairs.filter(~equal), asker=asker, room=room),
            ]
        )
        ratings = ratings_of(answers, pairs=judged)
        if set(RATING_SCHEMA) <= set(answers.columns):
            ratings = joined(ratings, before=answers.select(list(RATING_SCHEMA)))
        return Rated(
            self._with_reference(ratings, answers=answers),
            battles=battles_of(judged),
            usage=asker.spent(),
        )

    def _judged(self, pairs: pl.DataFrame, *, asker: Asker, room: Room) -> pl.DataFrame:
        """The pairs with their verdicts, each asked for in both orders."""
        columns = pairs.select("query", "reference", "text_a", "text_b").iter_rows()
        prompts = [
            self._prompt(query, reference, {"Answer A": first, "Answer B": second}, room=room)
            for query, reference, text_a, text_b in columns
            for first, second in ((text_a, text_b), (text_b, text_a))
        ]
        replies = _replies(asker, prompts)
        verdicts = [parse_verdict(reply.text) if reply.text else None for reply in replies]
        found = compared(pairs, forward=verdicts[::2], backward=verdicts[1::2])
        faults = [
            _fault(reply, prompt) if verdict is None else None
            for prompt, reply, verdict in zip(prompts, replies, verdicts, strict=True)
        ]
        both = zip(faults[::2], faults[1::2], strict=True)
        return found.with_columns(
            note=pl.Series([prompt.note for prompt in prompts[::2]], dtype=pl.String),
            fault=pl.Series([one or other for one, other in both], dtype=pl.String),
        )

    def _prompt(
        self, query: str, reference: str | None, answers: dict[str, str], *, room: Room
    ) -> JudgePrompt:
        texts = {"Question": query}
        if self.show_reference and reference is not None:
            texts["Right answer"] = reference
        task = _TASKS[self.mode]
        return judge_prompt(task, criteria=self.criteria, texts=texts | answers, room=room)

    def _with_reference(self, ratings: pl.DataFrame, *, answers: pl.DataFrame) -> pl.DataFrame:
        """The candidate all others are compared with is as good as itself, whatever went wrong."""
        if self.reference_candidate is None:
            return ratings
        name = pl.lit(self.reference_candidate)
        itself = answers.select(
            itself=((pl.col("candidate") == name) | (pl.col("candidate_id") == name))
            & pl.col("text").is_not_null()
        )
        found = ratings.hstack(itself).with_columns(
            value=pl.when("itself").then(0.5).otherwise("value"),
            raw=pl.when(~pl.col("itself")).then("raw"),
            reason=pl.when("itself").then(orders_told()).otherwise("reason"),
        )
        return found.select(list(RATING_SCHEMA))


def _asked(answers: pl.DataFrame) -> pl.DataFrame:
    """The answers numbered as `row`; the question of a chat is all its turns."""
    if "messages" in answers.columns:
        turns = pl.col("messages").map_elements(_conversation, return_dtype=pl.String)
        answers = answers.with_columns(query=pl.coalesce(turns, "query"))
    return answers.with_row_index("row")


def _conversation(messages: str) -> str:
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in json.loads(messages))


def _replies(asker: Asker, prompts: Sequence[JudgePrompt]) -> list[Reply]:
    """(n_prompts,) replies; a prompt that the judge cannot hold is not asked."""
    written = [prompt.text for prompt in prompts if prompt.text is not None]
    replies = iter(asker.ask(written))
    return [Reply(None) if prompt.text is None else next(replies) for prompt in prompts]


def _graded(prompt: JudgePrompt, reply: Reply) -> tuple[float | None, float | None, str | None]:
    """Value, raw and reason. Without a reply there is no reason either: it is asked again."""
    grade = parse_grade(reply.text) if reply.text is not None else None
    if grade is None:
        return None, None, _fault(reply, prompt)
    lowest, highest = GRADES[0], GRADES[-1]
    return (grade - lowest) / (highest - lowest), float(grade), prompt.note


def _fault(reply: Reply, prompt: JudgePrompt) -> str | None:
    """Why there is no verdict; None where the engine failed, which may pass."""
    if prompt.text is None:
        return prompt.note
    return unparsable(reply.text) if reply.text is not None else None


def _tied(pairs: pl.DataFrame) -> pl.DataFrame:
    """Pairs of equal answers: a tie that nobody was asked for."""
    columns = {"outcome": pl.Float64, "turned": pl.Boolean, "to_first": pl.Boolean}
    untold = {name: pl.lit(None, dtype=kind) for name, kind in columns.items()}
    words = {name: pl.lit(None, dtype=pl.String) for name in ("note", "fault")}
    return pairs.with_columns(**untold, **words).with_columns(outcome=pl.lit(0.5))
