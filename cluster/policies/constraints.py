"""Which candidates may answer which query, whatever the policy would rather have."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cluster.errors import InputError
from cluster.outcome import BoolMatrix, FloatMatrix
from cluster.policies.language import detect_languages, language_codes
from cluster.policies.rules import Rule

# Of a candidate whose tokenizer was never seen at work: English has about four characters a token.
TOKENS_PER_CHARACTER = 0.25


@dataclass(frozen=True)
class Admitted:
    """Who may answer.

    Attributes:
        allowed: (n_queries, n_candidates).
        reasons: (n_queries,) why nobody is left for a query; null where somebody is. A job sets
            these queries aside before it asks a policy.
        fallbacks: (n_queries,) whether only the fallback is left.
        rule_rows: by rule, how many of the queries it is about.
    """

    allowed: BoolMatrix
    reasons: pl.Series
    fallbacks: BoolMatrix
    rule_rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Asked:
    """The queries that constraints look at.

    Attributes:
        frame: (n_queries,) rows of the file, for their tags and languages.
        texts: (n_queries,).
        prompt_tokens, completion_tokens: (n_queries, n_candidates) as expected, NaN where unknown;
            anything where no context is limited.
        eligible: (n_queries, n_candidates), whom the policy could choose (`Policy.eligible`).
    """

    frame: pl.DataFrame
    texts: pl.Series
    prompt_tokens: FloatMatrix
    completion_tokens: FloatMatrix
    eligible: BoolMatrix

    def context_tokens(self) -> FloatMatrix:
        """(n_queries, n_candidates) of prompt and answer; a guess where they are not known."""
        characters = self.texts.str.len_chars().to_numpy()[:, None] * TOKENS_PER_CHARACTER
        prompt = np.where(np.isnan(self.prompt_tokens), characters, self.prompt_tokens)
        tokens: FloatMatrix = prompt + np.nan_to_num(self.completion_tokens)
        return tokens


class Constraints(BaseModel):
    """Settings of a run that say who may answer.

    They count in this order: the names, the context, the rules, and whom the policy can choose at
    all. `prefer` of a rule counts at the end, where somebody preferred is left.

    Attributes:
        allowed: names of the candidates that may be chosen; empty for all.
        context: tokens of prompt and answer that a candidate takes, by name; no limit without.
        rules: by tag or language.
        tag_column: where the rules find a query's tag or tags.
        language_column: where they find its language; empty to detect it.
        fallback: the candidate that takes the queries for which nobody is left; it need not fulfil
            anything itself. Empty: such queries have a reason instead.
        explore: share of the queries that go to any of those who may answer (`exploration`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed: tuple[str, ...] = ()
    context: dict[str, int] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    tag_column: str = ""
    language_column: str = ""
    fallback: str = ""
    explore: float = Field(default=0.0, ge=0, le=1)

    def columns(self) -> tuple[str, ...]:
        """The columns of the file that are read beside the text."""
        tag = self.tag_column if any(rule.reads_tag for rule in self.rules) else ""
        language = self.language_column if any(rule.reads_language for rule in self.rules) else ""
        return tuple(column for column in (tag, language) if column)

    def check(self, candidates: tuple[str, ...], *, rules_file: str = "") -> None:
        """Make sure every name is one of the router's candidates, and one of them may be chosen.

        Raises:
            InputError: it is not.
        """
        where = f"{rules_file}: " if rules_file else ""
        named = {"--allowed": self.allowed, "--fallback": tuple(filter(None, [self.fallback]))}
        for number, rule in enumerate(self.rules, start=1):
            named[f"{where}rule {number}:"] = rule.candidates
        for place, names in named.items():
            unknown = [name for name in names if name not in candidates]
            if unknown:
                raise InputError(
                    f"{place} {', '.join(unknown)}: not among the router's candidates; these are "
                    f"{', '.join(candidates)}"
                )

    def admit(self, asked: Asked, *, candidates: tuple[str, ...]) -> Admitted:
        """Who may answer each query.

        Args:
            asked: the queries.
            candidates: names, the order of the columns.
        """
        left: BoolMatrix = np.ones(asked.eligible.shape, dtype=bool)
        reasons = pl.Series([None], dtype=pl.String).new_from_index(0, len(left))
        rules = list(self._rules(asked))
        for stage in self._stages(asked, rules=rules, candidates=candidates):
            lost = _is_lost(left & stage.allowed) & ~_is_lost(left)
            left &= stage.allowed
            if lost.any():
                reasons = stage.reasons.zip_with(pl.Series(lost), reasons)
        for rule, holds in rules:
            if rule.prefer:
                preferred = left & _named(rule.prefer, candidates=candidates)
                takes = holds & preferred.any(axis=1)
                left[takes] = preferred[takes]
        admitted = self._with_fallback(left, reasons, asked=asked, candidates=candidates)
        about = tuple(int(np.count_nonzero(holds)) for _, holds in rules)
        return replace(admitted, rule_rows=about)

    def _stages(
        self, asked: Asked, *, rules: list[tuple[Rule, BoolMatrix]], candidates: tuple[str, ...]
    ) -> Iterator["_Stage"]:
        rows = len(asked.texts)
        if self.allowed:
            allowed = np.tile(_named(self.allowed, candidates=candidates), (rows, 1))
            yield _stage(allowed, "no candidate is allowed")
        if self.context:
            yield self._context(asked, candidates=candidates)
        for rule, holds in rules:
            allowed = np.ones(asked.eligible.shape, dtype=bool)
            if rule.only:
                allowed[holds] = _named(rule.only, candidates=candidates)
            allowed[np.ix_(holds, _named(rule.never, candidates=candidates))] = False
            yield _stage(allowed, f"the rule {rule.words} leaves no candidate that is allowed")
        yield _stage(
            asked.eligible,
            "the policy can choose none of the candidates that are allowed: what they are expected "
            "to earn or to cost is not known; check their prices, and that training rows have "
            "tokens",
        )

    def _context(self, asked: Asked, *, candidates: tuple[str, ...]) -> "_Stage":
        tokens = asked.context_tokens()
        limits = np.array([self.context.get(name, np.inf) for name in candidates])
        # Who is not among the names may take more, and is none of those that are spoken of.
        allowed = _named(self.allowed or candidates, candidates=candidates)
        least = np.where(allowed, tokens, np.inf).min(axis=1)
        frame = pl.DataFrame({"tokens": least.round()}).cast(pl.Int64)
        words = pl.format(
            f"prompt and answer are expected to take {{}} tokens, and no candidate that is allowed "
            f"takes as many (the most is {limits[allowed].max():.0f})",
            "tokens",
        )
        return _Stage(tokens <= limits, frame.select(words).to_series())

    def _rules(self, asked: Asked) -> Iterator[tuple[Rule, BoolMatrix]]:
        """The rules, and (n_queries,) whether their conditions hold."""
        tags = languages = None
        if any(rule.reads_tag for rule in self.rules):
            tags = asked.frame[self.tag_column]
        if any(rule.reads_language for rule in self.rules):
            column = self.language_column
            detected = detect_languages(asked.texts) if not column else asked.frame[column]
            languages = language_codes(detected)
        for rule in self.rules:
            yield rule, rule.about(tags=tags, languages=languages).to_numpy().astype(bool)

    def _with_fallback(
        self,
        left: BoolMatrix,
        reasons: pl.Series,
        *,
        asked: Asked,
        candidates: tuple[str, ...],
    ) -> Admitted:
        fallbacks = np.zeros(len(left), dtype=bool)
        if self.fallback:
            column = candidates.index(self.fallback)
            fallbacks = _is_lost(left) & asked.eligible[:, column]
            left[fallbacks, column] = True
            reasons = reasons.set(pl.Series(fallbacks), None)
        return Admitted(left, reasons, fallbacks)


@dataclass(frozen=True)
class _Stage:
    """One constraint: (n_queries, n_candidates), and what is said where it leaves nobody."""

    allowed: BoolMatrix
    reasons: pl.Series


def _is_lost(left: BoolMatrix) -> BoolMatrix:
    """(n_queries,) whether nobody is left."""
    return np.logical_not(left.any(axis=1))


def _stage(allowed: BoolMatrix, reason: str) -> _Stage:
    return _Stage(allowed, pl.Series([reason], dtype=pl.String).new_from_index(0, len(allowed)))


def _named(names: tuple[str, ...], *, candidates: tuple[str, ...]) -> BoolMatrix:
    """(n_candidates,) which of them are named."""
    return np.array([name in names for name in candidates], dtype=bool)
