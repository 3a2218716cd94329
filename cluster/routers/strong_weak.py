"""Methods for two candidates: which pair, which rows, and a gain as a prediction."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from cluster.encoders.encoder import FittedEncoder, load_encoder
from cluster.errors import InputError
from cluster.folds import Folds, task_folds, text_folds
from cluster.outcome import FloatMatrix, OutcomeMatrix
from cluster.routers.context import FitContext
from cluster.routers.encoded import fit_encoder
from cluster.routers.means import macro_means, require_rewards
from cluster.routers.router import Method, Prediction

N_FOLDS = 5


class PairMethod(Method):
    """A method for two candidates, on the vectors of one or several encoders.

    Attributes:
        strong, weak: names of the pair. Of two candidates, the one with the higher macro mean on
            train is the strong one where nothing is said.
        encoder, encoder_settings: an installed encoder, and its settings where they are not its
            defaults.
        more_encoders: by name, the settings of further encoders, that count as much as the first.
        unseen: what is new at routing: further queries of the tasks at hand, or other tasks. It
            decides what is left out when settings are chosen.
    """

    strong: str = ""
    weak: str = ""
    encoder: str = "lexical"
    encoder_settings: dict[str, Any] = Field(default_factory=dict)
    more_encoders: dict[str, dict[str, Any]] = Field(default_factory=dict)
    unseen: Literal["queries", "tasks"] = "queries"

    def pair(self, outcomes: OutcomeMatrix) -> OutcomeMatrix:
        """The queries with both rewards; the strong candidate is the first column.

        Raises:
            InputError: no such pair, or no query with both rewards.
        """
        columns = pair_columns(outcomes, strong=self.strong, weak=self.weak)
        pair = on_candidates(outcomes, columns)
        require_rewards(pair)
        complete = pair.complete()
        if not len(complete):
            names = " and ".join(f"'{name}'" for name in pair.candidates)
            raise InputError(
                f"no training query has a reward of both {names}: collect both on the same queries"
            )
        return complete

    def check(self, outcomes: OutcomeMatrix, *, validation: OutcomeMatrix) -> None:  # noqa: ARG002
        """See `Method.check`.

        Raises:
            InputError: no rows, no such pair, or no query with both rewards.
        """
        self.pair(outcomes)

    def fitted_encoders(
        self, outcomes: OutcomeMatrix, *, seed: int, context: FitContext
    ) -> list[FittedEncoder]:
        """The encoders, fitted on the queries' texts, the first one first."""
        wanted = [(self.encoder, self.encoder_settings), *self.more_encoders.items()]
        return [
            fit_encoder(
                load_encoder(name, **settings), outcomes=outcomes, seed=seed, context=context
            )
            for name, settings in wanted
        ]

    def folds(self, outcomes: OutcomeMatrix) -> Folds:
        """(n_queries,): what is left out together when settings are chosen."""
        if self.unseen == "tasks" and len(np.unique(outcomes.tasks)) > 1:
            return task_folds(outcomes.tasks, n_folds=N_FOLDS, purpose="settings")
        return text_folds(outcomes.texts, n_folds=N_FOLDS, purpose="settings")

    def groups(self, outcomes: OutcomeMatrix) -> npt.NDArray[np.int64]:
        """(n_queries,): what standard errors are over: queries, or tasks if there are several.

        Of a single group all errors are its mean, without any standard error.
        """
        if self.unseen == "tasks" and len(np.unique(outcomes.tasks)) > 1:
            return np.unique(outcomes.tasks, return_inverse=True)[1].astype(np.int64)
        return np.arange(len(outcomes))


def pair_columns(outcomes: OutcomeMatrix, *, strong: str, weak: str) -> list[int]:
    """Columns of the strong and the weak candidate.

    Raises:
        InputError: a name is not there, both are the same, or names are needed and missing.
    """
    names = outcomes.candidates
    listed = ", ".join(names)
    for setting, name in (("strong", strong), ("weak", weak)):
        if name and name not in names:
            raise InputError(f"setting '{setting}': no candidate '{name}' here; there is {listed}")
    if strong and strong == weak:
        raise InputError(f"settings 'strong' and 'weak' both name '{strong}': a pair takes two")
    if strong and weak:
        return [names.index(strong), names.index(weak)]
    if len(names) != 2:
        raise InputError(
            f"a pair is asked for and there are {len(names)} candidates ({listed}): "
            "name the settings 'strong' and 'weak', or --strong and --weak where there are such"
        )
    if strong or weak:
        first = names.index(strong) if strong else 1 - names.index(weak)
    else:
        both = outcomes.complete() if outcomes.mask.all(axis=1).any() else outcomes
        first = int(np.argmax(macro_means(both.reward, both.tasks)))
    return [first, 1 - first]


def on_candidates(outcomes: OutcomeMatrix, columns: list[int]) -> OutcomeMatrix:
    """The same queries with these candidates alone, in this order."""
    names = tuple(outcomes.candidates[column] for column in columns)
    return replace(
        outcomes,
        candidates=names,
        candidate_ids=tuple(outcomes.candidate_ids[column] for column in columns),
        reward=outcomes.reward[:, columns],
        prompt_tokens=outcomes.prompt_tokens[:, columns],
        completion_tokens=outcomes.completion_tokens[:, columns],
        cost_usd=outcomes.cost_usd[:, columns],
        n_samples=outcomes.n_samples[:, columns],
        truncated=outcomes.truncated[:, columns],
        answers=None if outcomes.answers is None else outcomes.answers.select(names),
    )


def half_win(reward: FloatMatrix) -> FloatMatrix:
    """(n,): (1 + s − w) / 2 of (n, 2), a tie is 0.5."""
    win: FloatMatrix = (1 + reward[:, 0] - reward[:, 1]) / 2
    return win


def pair_prediction(
    level: FloatMatrix, *, gain: FloatMatrix, completion_tokens: FloatMatrix
) -> Prediction:
    """Rewards level ± gain / 2, not clipped: a bound would take away from the gain."""
    tokens = np.broadcast_to(completion_tokens, (len(gain), 2)).copy()
    return Prediction(np.column_stack([level + gain / 2, level - gain / 2]), tokens)
