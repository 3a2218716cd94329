"""A learned scale for another strong and weak candidate, without retraining.

What a router has learned of a pair is mostly which queries a weak candidate cannot answer. RouteLLM
(ICLR 2025, arXiv 2406.18665, section 5.3) routes between pairs the router never saw with the same
win probabilities: the order of the queries stays, and where to cut it is open anew.
"""

from typing import ClassVar, Self

import polars as pl

from cluster.encoders.encoder import Vectors
from cluster.errors import InputError
from cluster.plugins import load_plugin
from cluster.routers.pairs import ComparisonMethod
from cluster.routers.router import Method, Prediction, Router, RouterState
from cluster.routers.strong_weak import PairMethod

PART = "learned"


class TransferredRouter(Router):
    """A router's expectations of its own pair, under the names of another.

    It is made where routing or evaluation starts, from a router that is stored; it is no method
    that could be trained.
    """

    method: ClassVar[str] = "transfer"

    def __init__(
        self, candidates: tuple[str, ...], *, learned: Router, columns: tuple[int, int]
    ) -> None:
        """`columns`: of the learned router, that speak for the strong and the weak candidate."""
        self.candidates = candidates
        self.learned = learned
        self.columns = columns
        if learned.reads_answer_of:
            place = columns.index(learned.candidates.index(learned.reads_answer_of))
            self.reads_answer_of = candidates[place]

    def predict(self, texts: pl.Series) -> Prediction:
        """Expected reward and completion tokens, each (n_queries, 2), the strong one first."""
        return self._columns_of(self.learned.predict(texts))

    def predict_after(self, texts: pl.Series, answers: pl.Series) -> Prediction:
        """As the learned router, with the answers of the candidate in its place."""
        return self._columns_of(self.learned.predict_after(texts, answers))

    def embed(self, texts: pl.Series) -> Vectors | None:
        """As the learned router."""
        return self.learned.embed(texts)

    def _columns_of(self, prediction: Prediction) -> Prediction:
        columns = list(self.columns)
        return Prediction(prediction.reward[:, columns], prediction.completion_tokens[:, columns])

    def state(self) -> RouterState:
        """The learned router and which of its columns are meant."""
        own = RouterState(
            {
                "method": self.learned.method,
                "candidates": list(self.learned.candidates),
                "columns": list(self.columns),
            }
        )
        return own.holding(self.learned.state(), name=PART)

    @classmethod
    def from_state(cls, state: RouterState, *, candidates: tuple[str, ...]) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: a part is missing, or the columns are none of the learned router's.
        """
        kind: type[Method] = load_plugin("routers", name=state.value("method", str))
        names = tuple(state.value("candidates", list))
        columns = state.value("columns", list)
        places = range(len(names))
        if len(candidates) != 2 or len(columns) != 2 or not set(columns) <= set(places):
            raise InputError("damaged checkpoint: 'columns' must be two of the learned router's")
        learned = kind.router.from_state(state.part(PART), candidates=names)
        return cls(candidates, learned=learned, columns=(columns[0], columns[1]))


def transfer(
    router: Router, *, strong: str, weak: str, learned: tuple[str, str] | None = None
) -> TransferredRouter:
    """A router between `strong` and `weak`, in this order, by what `router` has learned.

    Whose columns speak for the two:

    - those of `learned`, a strong and a weak candidate of the router, where they are named. With
      tiers (`SimilarityWeighted.tiers`) any member names its tier;
    - else their own, where the router knows both;
    - else the router's pair, where it was fitted for one and knows which is the strong: the methods
      with the settings `strong` and `weak`, fitted on two candidates.

    Rewards and completion tokens are those of the columns: of the candidates learned from, and an
    assumption about others. The order of the queries is what carries over (APGR .66 to .77 in the
    paper), not the level. A threshold has to be set anew on queries of the new pair.

    Args:
        router: fitted on at least two candidates.
        strong, weak: names of two different candidates, known to the router or not.
        learned: names of the router's own strong and weak candidate; needed where the router has
            several pairs, or does not know which of its two is the strong.

    Raises:
        InputError: the names are missing or the same, or it is open which columns are meant.
    """
    if not strong or not weak or strong == weak:
        raise InputError(
            f"strong '{strong}' and weak '{weak}': name two different candidates to route between"
        )
    pair = learned or own_pair(router, strong=strong, weak=weak)
    columns = [column_of(router, name) for name in pair]
    if columns[0] == columns[1]:
        raise InputError(f"the learned pair is twice '{pair[0]}'; name a strong and a weak one")
    if router.reads_answer_of and router.reads_answer_of not in pair:
        raise InputError(
            f"the router decides on the answer of '{router.reads_answer_of}', which is not in the "
            f"learned pair '{pair[0]}', '{pair[1]}'"
        )
    return TransferredRouter((strong, weak), learned=router, columns=(columns[0], columns[1]))


def own_pair(router: Router, *, strong: str, weak: str) -> tuple[str, str]:
    """The two candidates of the router that speak for the asked ones, where none are named.

    Raises:
        InputError: it knows neither them nor which of its candidates is a strong, which a weak one.
    """
    names = router.candidates
    if strong in names and weak in names:
        return strong, weak
    if len(names) == 2 and has_strong_first(router.method):
        return names[0], names[1]
    unknown = " and ".join(f"'{name}'" for name in (strong, weak) if name not in names)
    raise InputError(
        f"{unknown} not among the candidates of the router ({', '.join(names)}), and method "
        f"{router.method} has learned no strong/weak pair that could stand for them: name two of "
        "its candidates as the learned pair, or train on a pair (settings 'strong' and 'weak')"
    )


def has_strong_first(method: str) -> bool:
    """Whether the method's routers between two candidates have the strong one first."""
    kind = load_plugin("routers", name=method)
    return isinstance(kind, type) and issubclass(kind, (PairMethod, ComparisonMethod))


def column_of(router: Router, name: str) -> int:
    """The router's column of a candidate.

    Raises:
        InputError: it has none.
    """
    if name not in router.candidates:
        raise InputError(
            f"the learned pair names '{name}', which is not among the router's candidates: "
            f"{', '.join(router.candidates)}"
        )
    return router.candidates.index(name)
