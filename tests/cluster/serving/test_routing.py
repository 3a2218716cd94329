"""A router in service, without a server around it."""

from pathlib import Path

import pytest

from cluster.errors import EngineError, InputError
from cluster.policies.constraints import Constraints
from cluster.policies.rules import Rule
from cluster.price import Price
from cluster.serving.asked import Query
from cluster.serving.backend import Backend
from cluster.serving.model_name import row_by_row
from cluster.serving.routing import Routing, load_routing
from cluster.serving.spec import ServeSpec

from .conftest import CANDIDATES, PRICES, register

POEM = "a poem on 7 green trees"
BACKENDS = {name: Backend(url="http://h/v1", model=name) for name in CANDIDATES}
GERMAN = "Bitte schreibe mir ein langes Gedicht über die grünen Bäume im alten Wald hinter dem Haus"


def loaded(routers, **changes) -> Routing:
    """The first router, which sends poems to the poet."""
    prices = {name: Price(**price) for name, price in PRICES.items()}
    settings = {"router": routers.first, "policy": "best", "prices": prices, "backends": BACKENDS}
    return load_routing(
        ServeSpec(lake=routers.lake.storage.uri, **settings | changes), lake=routers.lake
    )


def chosen(routing: Routing, text: str, *, policy: str = "best", barred=(), whole="", **settings):
    query = Query(text, whole or text)
    fitted = routing.fitted(row_by_row(policy, settings=settings))
    (scored,) = routing.score([query])
    return routing.candidates[routing.choose(scored, policy=fitted, query=query, barred=barred)]


def test_queries_at_once_are_scored_as_each_alone(routers) -> None:
    routing = loaded(routers)
    queries = [Query(text, text * n) for n, text in enumerate((POEM, "add 3 and 4", POEM), 1)]
    together = routing.score(queries)
    for query, scored in zip(queries, together, strict=True):
        (alone,) = routing.score([query])
        assert (scored.prediction.reward == alone.prediction.reward).all()
        assert (scored.cost == alone.cost).all()
    assert (together[0].cost < together[2].cost).all(), "all that is asked is paid for"


def test_the_next_best_is_chosen_where_others_are_barred(routers) -> None:
    routing = loaded(routers)
    assert chosen(routing, POEM) == "poet"
    assert chosen(routing, POEM, barred=["poet"]) == "teller"
    with pytest.raises(InputError):
        chosen(routing, POEM, barred=CANDIDATES)


def test_a_candidate_without_a_back_end_is_never_chosen(routers) -> None:
    without = {name: BACKENDS[name] for name in CANDIDATES if name != "poet"}
    assert chosen(loaded(routers, backends=without), POEM) == "teller"
    with pytest.raises(InputError, match="--backends"):
        loaded(routers, backends={"somebody": BACKENDS["poet"]})


def test_constraints_count_for_every_request(routers) -> None:
    only = Constraints(
        rules=(Rule(language=("de",), only=("abacus",)), Rule(language=("en",), never=("poet",)))
    )
    routing = loaded(routers, constraints=only)
    assert chosen(routing, GERMAN) == "abacus"
    with pytest.raises(InputError, match="nobody may answer"):
        chosen(routing, GERMAN, barred=["abacus"])
    short = loaded(routers, constraints=Constraints(context={"poet": 100}))
    assert chosen(short, POEM) == "poet"
    assert chosen(short, POEM, whole=POEM + " and more" * 100) == "teller"


def test_one_that_is_preferred_and_down_is_stepped_in_for(routers) -> None:
    prefer = Constraints(rules=(Rule(not_language=("fr",), prefer=("abacus",)),))
    routing = loaded(routers, constraints=prefer)
    assert chosen(routing, POEM) == "abacus"
    assert chosen(routing, POEM, barred=["abacus"]) == "poet"


def test_policies_that_do_not_fit_the_router_are_refused_in_words(routers) -> None:
    unpriced = loaded(routers, prices={"poet": Price(input=1, output=1)})
    assert chosen(unpriced, POEM) == "poet"
    with pytest.raises(InputError, match="no price for abacus, polymath, teller"):
        chosen(unpriced, POEM, policy="utility", lambda_usd="1")
    routing = loaded(routers)
    with pytest.raises(InputError, match="strong"):
        chosen(routing, POEM, policy="threshold", threshold="0.1")
    pair = {"strong": "poet", "weak": "teller"}
    assert chosen(routing, POEM, policy="threshold", threshold="0.1", **pair) == "poet"
    assert chosen(routing, POEM, policy="threshold", threshold="0.9", **pair) == "teller"
    assert chosen(routing, POEM, policy="cascade", accept_from="0.4") == "teller"
    with pytest.raises(InputError, match="whole file"):
        loaded(routers, policy="budget", policy_settings={"usd_per_1000": 1})


def test_what_cannot_be_served_is_told_when_it_is_loaded(routers, monkeypatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    keyed = BACKENDS | {"poet": Backend(url="http://h/v1", model="m", key_variable="NO_SUCH_KEY")}
    with pytest.raises(EngineError, match="NO_SUCH_KEY"):
        loaded(routers, backends=keyed)
    with pytest.raises(InputError, match="nobody"):
        loaded(routers, constraints=Constraints(allowed=("nobody",)))
    version = register(routers.lake, name="broken", swapped=False, k=9)
    weights = Path(routers.lake.storage.uri) / "checkpoints/broken/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(InputError, match="damaged"):
        loaded(routers, router=version)
