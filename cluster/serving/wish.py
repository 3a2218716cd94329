"""Whom a request is to go to, and to whom instead where that one is down."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from cluster.errors import InputError
from cluster.policies import Policy
from cluster.serving.asked import Query
from cluster.serving.routing import Routing, Scored

DIRECT = "direct"


class Wish(Protocol):
    """What a request asks for, once its text has been looked at.

    Attributes:
        routing: the router in service when the request came, to its end.
        policy: name of what chooses, for the headers and the metrics.
    """

    @property
    def routing(self) -> Routing: ...

    @property
    def policy_name(self) -> str: ...

    def first(self) -> str:
        """The candidate to ask."""

    def instead_of(self, barred: Collection[str]) -> str | None:
        """The candidate to ask where these are down; None if no other will do."""

    def cost_usd(self, candidate: str) -> float | None:
        """What the request is expected to cost with a candidate, USD; None if not known."""


@dataclass(frozen=True)
class Named:
    """The client named the candidate: nobody else may answer."""

    routing: Routing
    candidate: str
    policy_name: str = DIRECT

    def first(self) -> str:
        """That one."""
        return self.candidate

    def instead_of(self, barred: Collection[str]) -> str | None:  # noqa: ARG002
        """Nobody."""
        return None

    def cost_usd(self, candidate: str) -> float | None:  # noqa: ARG002
        """Not predicted: the router has not seen the request."""
        return None


@dataclass(frozen=True)
class Routed:
    """The router chooses, by a policy; where its choice is down, the policy's next best."""

    routing: Routing
    policy: Policy
    scored: Scored
    query: Query

    @property
    def policy_name(self) -> str:
        """The policy's."""
        return self.policy.name

    def first(self) -> str:
        """The policy's choice.

        Raises:
            InputError: no candidate will do.
        """
        return self._choice(())

    def instead_of(self, barred: Collection[str]) -> str | None:
        """The policy's choice among the others."""
        try:
            return self._choice(barred)
        except InputError:
            return None

    def cost_usd(self, candidate: str) -> float | None:
        """As predicted; None without prices, or where tokens are not known."""
        if self.scored.cost is None:
            return None
        cost = float(self.scored.cost[0, self.routing.candidates.index(candidate)])
        return None if cost != cost else cost  # noqa: PLR0124 - NaN alone differs from itself

    def _choice(self, barred: Collection[str]) -> str:
        column = self.routing.choose(
            self.scored, policy=self.policy, query=self.query, barred=barred
        )
        return self.routing.candidates[column]
