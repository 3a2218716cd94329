"""The profiles of the routers that one run trains: the same queries give the same one."""

import polars as pl

from cluster.drift.fit import fit_profile
from cluster.drift.profile import Profile
from cluster.drift.space import own_encoder
from cluster.query import digest
from cluster.routers.router import Router


class Profiles:
    """Profiles by training queries and space, each made once."""

    def __init__(self, seed: int) -> None:
        """`seed`: of spaces and clusters."""
        self._seed = seed
        self._made: dict[str, Profile | None] = {}

    def of(self, router: Router, *, queries: pl.DataFrame) -> Profile | None:
        """The profile of a router that learned from these queries; None where they are too few.

        Args:
            router: whose encoder is the space, if it may be.
            queries: `query_id`, `text`, `task`, `sampling_probability`.
        """
        encoder = own_encoder(router)
        key = digest([encoder.encoder_id if encoder else "", *sorted(queries["query_id"])])
        if key not in self._made:
            self._made[key] = fit_profile(queries, encoder=encoder, seed=self._seed)
        return self._made[key]
