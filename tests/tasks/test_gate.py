"""The gate as a step of a flow: one look a comparison, whoever asks and how often."""

import random
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster import registry
from cluster.errors import InputError
from cluster.gate.decision import Decision
from cluster.gate.rules import GateRules
from cluster.gate.snapshot import Measure, current_or_frozen
from cluster.gate.spending import looks, share
from cluster.jobs.gate import GateSpec, gate
from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Manifest, Run
from cluster.jobs.spec import JobSpec
from cluster.jobs.train import TrainSpec, train
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS
from cluster.lake.tables import CANDIDATES
from cluster.price import Price
from tasks.gate import decide_and_promote, shown_comparisons

RULES = GateRules(horizon=5)


def in_this_process(spec: JobSpec) -> Manifest:
    assert isinstance(spec, GateSpec)
    return gate(spec, Run.of(spec))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """A lake, and by method the version of a router in its registry: one good, one useless."""
    folder = tmp_path_factory.mktemp("gate")
    table, lake = folder / "table.csv", str(folder / "lake")
    table.write_text(_table())
    spec = ImportSpec(
        lake=lake, format="table", path=str(table), digest=path_digest(str(table)), dataset="toy"
    )
    import_table(spec, Run.of(spec))
    methods = ("cluster_table", "knn", "random")
    return lake, {name: _fitted(lake, method=name) for name in methods}


def _fitted(lake: str, *, method: str = "cluster_table", candidates: tuple[str, ...] = ()) -> str:
    """Version of a router that is in the registry."""
    training = TrainSpec(
        lake=lake,
        methods=(method,),
        dataset="toy",
        scorer="",
        normalisation="none",
        candidates=candidates,
        prices={},
        champion=None,
        seed=0,
        inputs=Lake.open(lake).versions(INPUTS),
    )
    [router] = train(training, Run.of(training))["routers"]
    entry: dict[str, Any] = {key: router[key] for key in ("version", "checkpoint", "method")}
    registry.register(Lake.open(lake), dataset="toy", metrics={}, why="trained", **entry)
    return str(router["version"])


def _table() -> str:
    draw = random.Random(0)
    success = {"sum": (0.9, 0.2), "word": (0.2, 0.9)}
    lines = ["text,task,split,small,large,cost:small,cost:large"]
    for number in range(500):
        task = ("sum", "word")[number % 2]
        words = {"sum": "what is {} plus {}", "word": "spell item{} letter{}"}[task]
        text = words.format(draw.randint(0, 9999), draw.randint(0, 9999))
        scores = ",".join(str(int(draw.random() < chance)) for chance in success[task])
        split = ("train", "train", "validation", "test", "test")[number // 2 % 5]
        lines.append(f"{text},{task},{split},{scores},0.0001,0.0001")
    return "\n".join(lines) + "\n"


@pytest.fixture
def lake(trained: tuple[str, dict[str, str]], tmp_path: Path) -> Lake:
    """A copy of the trained lake, which a test may promote in."""
    return copied(trained[0], tmp_path)


def copied(lake: str, folder: Path) -> Lake:
    shutil.copytree(lake, folder / "lake")
    return Lake.open(folder / "lake")


def put(lake: Lake, version: str, *, rules: GateRules = RULES, **changes: Any) -> Any:
    snapshot = current_or_frozen(lake, measure=Measure("toy")).name
    settings: dict[str, Any] = {"prices": {}, "run_job": in_this_process} | changes
    return decide_and_promote(version, snapshot=snapshot, lake=lake, rules=rules, **settings)


def test_the_first_that_beats_best_single_becomes_champion(
    lake: Lake, trained: tuple[str, dict[str, str]]
) -> None:
    useless = put(lake, trained[1]["random"])
    assert (useless.promote, useless.how) == (False, "")
    assert registry.champion(lake) is None
    decision = put(lake, trained[1]["cluster_table"])
    assert (decision.promote, decision.how, decision.look) == (True, "first", 2)
    assert registry.champion(lake) == trained[1]["cluster_table"]
    against = {row["against"]: row for row in shown_comparisons(decision.table())}
    assert set(against) == {"best single", "cost-matched mix"}
    assert against["best single"]["queries"] == 200
    assert "gain over best single" in decision.why


def test_a_look_is_spent_once_a_comparison(lake: Lake, trained: tuple[str, dict[str, str]]) -> None:
    useless = trained[1]["random"]
    first, again = put(lake, useless), put(lake, useless)
    assert first == again
    spent = looks(lake, snapshot="toy-1")
    assert spent["look"].to_list() == [1]
    assert spent["level"].to_list() == [pytest.approx(RULES.alpha * share(1, horizon=5))]
    assert spent["how"].to_list() == [""]


def test_when_the_looks_are_used_up_nothing_is_promoted_and_nothing_is_run(
    lake: Lake, trained: tuple[str, dict[str, str]]
) -> None:
    put(lake, trained[1]["random"], rules=GateRules(horizon=1))

    def never(spec: JobSpec) -> Manifest:
        raise AssertionError("a comparison was made")

    good = trained[1]["cluster_table"]
    decision = put(lake, good, rules=GateRules(horizon=1), run_job=never)
    assert not decision.promote
    assert "signalbox snapshot create" in decision.why
    assert registry.champion(lake) is None


def test_what_a_promotion_had_is_handed_on(lake: Lake, trained: tuple[str, dict[str, str]]) -> None:
    first = put(lake, trained[1]["cluster_table"])
    second = put(lake, trained[1]["random"])
    assert first.promote
    assert second.level == pytest.approx(first.level + RULES.alpha * share(2, horizon=5))
    third = put(lake, trained[1]["knn"])
    assert third.level == pytest.approx(RULES.alpha * share(3, horizon=5))


def test_another_promotion_meanwhile_is_another_comparison(
    lake: Lake, trained: tuple[str, dict[str, str]]
) -> None:
    """The gate is run again against the new champion, not just the event appended again."""
    rival, seen = trained[1]["cluster_table"], []

    def interrupted(spec: JobSpec) -> Manifest:
        assert isinstance(spec, GateSpec)
        seen.append(spec.champion and spec.champion[0])
        if len(seen) == 1:
            put(lake, rival)
        return in_this_process(spec)

    decision = put(lake, trained[1]["knn"], run_job=interrupted)
    assert seen == [None, rival]
    assert "champion" in {row.against for row in decision.comparisons}
    assert not decision.promote
    assert registry.champion(lake) == rival


def test_a_champion_is_not_replaced_by_its_like(
    lake: Lake, trained: tuple[str, dict[str, str]]
) -> None:
    put(lake, trained[1]["cluster_table"])
    decision = put(lake, trained[1]["knn"])
    assert not decision.promote
    assert "gain over the champion" in decision.why
    champion = next(one for one in decision.comparisons if one.against == "champion")
    assert champion.low < champion.gain < champion.high


def test_one_that_follows_a_cheaper_champion_is_held_against_the_last_better_one(
    lake: Lake, trained: tuple[str, dict[str, str]]
) -> None:
    """Promotions for less money may not lead downhill, a margin at a time."""
    better, cheaper, third = (trained[1][name] for name in ("cluster_table", "knn", "random"))
    put(lake, better)

    def passes(spec: JobSpec) -> Manifest:
        return in_this_process(spec) | {"how": "cheaper", "why": "cheaper"}

    assert put(lake, cheaper, run_job=passes).how == "cheaper"
    decision = put(lake, third)
    assert {"champion", "anchor"} <= {one.against for one in decision.comparisons}
    seen: list[GateSpec] = []

    def noted(spec: JobSpec) -> Manifest:
        assert isinstance(spec, GateSpec)
        seen.append(spec)
        return in_this_process(spec)

    put(lake, third, run_job=noted, prices={"small": Price(input=1, output=1)})
    assert seen[0].champion is not None
    assert seen[0].anchor is not None
    assert (seen[0].champion[0], seen[0].anchor[0]) == (cheaper, better)


def test_a_version_that_was_rolled_back_comes_back_by_hand_alone(
    lake: Lake, trained: tuple[str, dict[str, str]]
) -> None:
    """Neither by the look that promoted it, nor by another one on a new snapshot."""
    first, second = trained[1]["random"], trained[1]["cluster_table"]
    by_hand = Decision(promote=True, why="by hand")
    registry.promote(lake, version=first, decide=lambda _: by_hand)
    assert put(lake, second).promote
    registry.rollback(lake, why="users complained")
    refused = put(lake, second)
    assert (refused.promote, refused.look) == (False, 0)
    assert "users complained" in refused.why
    assert "registry promote --router" in refused.why
    assert registry.champion(lake) == first
    registry.promote(lake, version=second, decide=lambda _: by_hand)
    registry.promote(lake, version=trained[1]["knn"], decide=lambda _: by_hand)
    assert registry.taken_off(lake, version=second) is None
    assert put(lake, second).look


def test_a_damaged_checkpoint_is_an_error_and_no_look_that_saw_nothing(
    lake: Lake, trained: tuple[str, dict[str, str]]
) -> None:
    version = trained[1]["knn"]
    checkpoint = registry.resolve(lake, version=version)["checkpoint"]
    for uri, _ in lake.storage.list(checkpoint):
        if uri.endswith(".safetensors"):
            lake.storage.write(uri, b"nothing")
    with pytest.raises(InputError):
        put(lake, version)
    assert looks(lake, snapshot="toy-1")["how"].to_list() == [None]


def test_an_unknown_snapshot_is_named(lake: Lake, trained: tuple[str, dict[str, str]]) -> None:
    with pytest.raises(InputError, match="no snapshot 'other'"):
        decide_and_promote(
            trained[1]["knn"],
            snapshot="other",
            lake=lake,
            prices={},
            rules=RULES,
            run_job=in_this_process,
        )


def test_queries_of_the_snapshot_are_never_learned_from(
    lake: Lake, trained: tuple[str, dict[str, str]]
) -> None:
    """A train query that came later and nearly repeats one of the snapshot is left out."""
    from cluster.gate.frozen import snapshot_texts
    from cluster.jobs.kept_outcomes import fitted_on
    from cluster.lake.commit import append_new
    from cluster.lake.tables import QUERIES, REWARDS

    snapshot = current_or_frozen(lake, measure=Measure("toy"))
    text = snapshot_texts(lake, snapshot=snapshot)[0]
    there = lake.read(QUERIES).filter(text=text)
    late = there.with_columns(query_id=pl.lit("late"), split=pl.lit("train"), dataset=pl.lit("b"))
    known = (
        lake.read(QUERIES)
        .filter(split="train")
        .with_columns(query_id=pl.format("b {}", "query_id"), dataset=pl.lit("b"))
    )
    tested = (
        lake.read(QUERIES)
        .filter(split="test")
        .head(40)
        .with_columns(
            query_id=pl.format("b {}", "query_id"),
            dataset=pl.lit("b"),
            text=pl.format("{} indeed this is another text altogether {}", "task", "query_id"),
        )
    )
    queries = pl.concat([late, known, tested])
    append_new(queries, lake=lake, table=QUERIES)
    rewards = pl.concat(
        [
            lake.read(REWARDS).with_columns(query_id=pl.format("b {}", "query_id")),
            lake.read(REWARDS)
            .filter(query_id=there["query_id"][0])
            .with_columns(query_id=pl.lit("late")),
        ]
    )
    append_new(rewards, lake=lake, table=REWARDS)

    def learned(snapshot_name: str) -> set[str]:
        spec = TrainSpec(
            lake=lake.storage.uri,
            methods=("prompt_length",),
            dataset="b",
            scorer="",
            normalisation="none",
            candidates=(),
            prices={},
            champion=None,
            seed=0,
            inputs=lake.versions(INPUTS),
            snapshot=snapshot_name,
        )
        manifest = train(spec, Run.of(spec))
        kept = fitted_on(manifest["routers"][0]["checkpoint"], lake=lake)
        assert kept is not None
        return set(kept["query_id"])

    assert "late" in learned("")
    assert "late" not in learned(snapshot.name)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """As `trained`, with a candidate beside them that is always right, and by name the versions of
    routers that may choose all three, only the two, and only the third."""
    folder = tmp_path_factory.mktemp("three")
    head, *lines = _table().splitlines()
    table, lake = folder / "table.csv", str(folder / "lake")
    table.write_text("\n".join([f"{head},oracle", *(f"{line},1" for line in lines)]) + "\n")
    spec = ImportSpec(
        lake=lake, format="table", path=str(table), digest=path_digest(str(table)), dataset="toy"
    )
    import_table(spec, Run.of(spec))
    sets = {"all": (), "two": ("large", "small"), "third": ("oracle",)}
    return lake, {name: _fitted(lake, candidates=names) for name, names in sets.items()}


def test_a_champion_is_measured_without_whom_nobody_can_ask_any_more(
    three: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    lake, versions = copied(three[0], tmp_path), three[1]
    gone = tuple(lake.read(CANDIDATES).filter(name="oracle")["candidate_id"])
    put(lake, versions["all"], run_job=lambda spec: in_this_process(spec) | {"how": "first"})
    assert registry.champion(lake) == versions["all"]
    held, free = put(lake, versions["two"]), put(lake, versions["two"], gone=gone)
    before, after = (
        {one.against: one for one in found.comparisons}["champion"] for found in (held, free)
    )
    # The oracle's 1.0 against 0.9 of who knows the kinds; without it both know the kinds.
    assert before.high < -0.02
    assert abs(after.gain) < 0.02
    assert "oracle" not in held.why
    assert "measured without oracle" in free.why
    assert free.look == held.look + 1


def test_a_champion_all_of_whose_candidates_are_gone_holds_nobody_up(
    three: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    lake, versions = copied(three[0], tmp_path), three[1]
    gone = tuple(lake.read(CANDIDATES).filter(name="oracle")["candidate_id"])
    put(lake, versions["third"], run_job=lambda spec: in_this_process(spec) | {"how": "first"})
    assert not put(lake, versions["two"]).promote
    decision = put(lake, versions["two"], gone=gone)
    assert decision.promote, decision.why
    assert "no champion that could run" in decision.why
