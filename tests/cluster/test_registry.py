"""The registry: aliases from events, one winner of two promotions."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from cluster import registry
from cluster.errors import InputError
from cluster.gate.decision import Decision
from cluster.lake.lake import Lake
from cluster.lake.tables import REGISTRY
from cluster.storage import Storage


def always(_: str | None) -> Decision:
    return Decision(promote=True, why="asked for")


def register(lake: Lake, *versions: str) -> None:
    for version in versions:
        registry.register(
            lake,
            version=version,
            checkpoint=f"{lake.storage.uri}/checkpoints/{version}",
            method="knn",
            dataset="d",
            metrics={"macro_accuracy": 0.5},
            why="trained",
        )


def test_champion_is_what_promotions_and_rollbacks_leave_on_top(root: str) -> None:
    lake = Lake.open(root)
    register(lake, "aaa", "bbb", "ccc")
    assert registry.champion(lake) is None
    for version in ("aaa", "bbb", "ccc"):
        assert registry.promote(lake, version=version, decide=always).promote
    assert registry.champion(lake) == "ccc"
    assert registry.rollback(lake, why="worse") == "bbb"
    assert registry.rollback(lake, why="worse") == "aaa"
    assert registry.champion(lake) == "aaa"
    with pytest.raises(InputError, match="only aaa"):
        registry.rollback(lake, why="worse")
    aliases = dict(registry.versions(lake).select("version", "alias").iter_rows())
    assert aliases == {"aaa": "champion", "bbb": "challenger", "ccc": "challenger"}


def test_registering_again_changes_nothing(root: str) -> None:
    lake = Lake.open(root)
    register(lake, "aaa", "aaa")
    assert registry.versions(lake).height == 1


def test_of_four_who_register_the_same_at_once_one_does(root: str) -> None:
    lake = Lake.open(root)
    with ThreadPoolExecutor(4) as all_at_once:
        list(all_at_once.map(lambda _: register(lake, "v1"), range(4)))
    assert lake.read(REGISTRY).height == 1


def test_a_refused_promotion_leaves_the_champion(root: str) -> None:
    lake = Lake.open(root)
    register(lake, "aaa")
    refusal = Decision(promote=False, why="no better")
    assert registry.promote(lake, version="aaa", decide=lambda _: refusal) == refusal
    assert registry.champion(lake) is None


def test_of_two_promotions_at_once_one_wins_and_the_other_decides_again(root: str) -> None:
    lake = Lake.open(root)
    register(lake, "aaa", "bbb")
    both_looked = Barrier(2, timeout=60)
    seen: dict[str, list[str | None]] = {"aaa": [], "bbb": []}

    def run(version: str) -> Decision:
        def decide(champion: str | None) -> Decision:
            seen[version].append(champion)
            if len(seen[version]) == 1:
                both_looked.wait()
            return Decision(promote=champion is None, why=f"champion is {champion}")

        own = Lake(storage=Storage.at(root))
        return registry.promote(own, version=version, decide=decide)

    with ThreadPoolExecutor(2) as pool:
        decisions = dict(zip(("aaa", "bbb"), pool.map(run, ("aaa", "bbb")), strict=True))
    winner = registry.champion(lake)
    assert winner in ("aaa", "bbb")
    loser = "bbb" if winner == "aaa" else "aaa"
    assert decisions[winner].promote
    assert not decisions[loser].promote
    assert seen[winner] == [None]
    assert seen[loser] == [None, winner]


def test_a_version_is_found_by_its_beginning_and_refused_when_unclear(root: str) -> None:
    lake = Lake.open(root)
    register(lake, "abc", "abd")
    assert registry.resolve(lake, version="abc")["method"] == "knn"
    with pytest.raises(InputError, match="say more"):
        registry.resolve(lake, version="ab")
    with pytest.raises(InputError, match="newest: ab"):
        registry.resolve(lake, version="zzz")
    with pytest.raises(InputError, match="no champion"):
        registry.resolve(lake, version="champion")
