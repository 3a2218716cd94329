"""The calibrate job, run in this process: which rows it reads, what it promises, what it keeps."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cluster.drift.drift import refusal
from cluster.drift.kept import profile_of
from cluster.errors import InputError
from cluster.guarantee.record import Calibration
from cluster.guarantee.spec import CalibrateSpec
from cluster.jobs.calibrate import calibrate_router
from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.jobs.train import TrainSpec, train
from cluster.lake.lake import Lake
from cluster.lake.outcomes import INPUTS
from cluster.policies.constraints import Constraints
from cluster.policies.quality_floor import QualityFloor
from cluster.policies.rules import Rule
from cluster.price import Price
from cluster.routers.checkpoint import load_checkpoint

PRICES = {"small": Price(input=1, output=1), "large": Price(input=10, output=10)}
TOKENS = {"tokens": 100.0, "prompt_tokens": 20.0}


def table(n: int = 1_600, *, calibration: float = 0.5, seed: int = 0) -> dict:
    """`large` is good at all, `small` at sums as well; half are sums."""
    rng = np.random.default_rng(seed)
    is_sum = np.arange(n) % 2 == 0
    pairs = rng.integers(0, 99_999, size=(n, 2)).tolist()
    chance = np.where(is_sum[:, None], (0.93, 0.93), (0.1, 0.9))
    scores = rng.random((n, 2)) < chance
    splits = rng.choice(
        ["train", "validation", "test", "calibration"],
        n,
        p=[0.35, 0.1, 0.55 - calibration, calibration],
    )
    words = {True: "what is {} plus {}", False: "spell item{} letter{} backwards"}
    rows = {
        "text": [words[bool(one)].format(*pair) for one, pair in zip(is_sum, pairs, strict=True)],
        "task": np.where(is_sum, "sum", "word").tolist(),
        "split": splits.tolist(),
    }
    for column, name in enumerate(("small", "large")):
        rows[name] = scores[:, column].astype(float).tolist()
        rows |= {f"{field}:{name}": [value] * n for field, value in TOKENS.items()}
    return rows


TOY = table()
CALIBRATION = [place for place, split in enumerate(TOY["split"]) if split == "calibration"]


def changed(**columns: float | None) -> dict:
    """The table with other rewards on every sixth calibration row."""
    rows = {name: list(values) for name, values in TOY.items()}
    for place in CALIBRATION[::6]:
        for name, value in columns.items():
            rows[name][place] = value
    return rows


TABLES = {
    "toy": TOY,
    "turned": changed(small=1.0, large=0.0),
    "gone": changed(small=None),
    "useless": TOY | {"small": [0.0] * len(TOY["text"])},
    "of_five": TOY | {"large": [5.0 * value for value in TOY["large"]]},
    "seen": TOY | {"split": ["calibration"] * len(TOY["text"])},
    "few": table(calibration=0.05, seed=1),
    "sums": {
        name: [value for value, task in zip(values, TOY["task"], strict=True) if task == "sum"]
        for name, values in TOY.items()
    },
    "plain": {name: values for name, values in TOY.items() if ":" not in name},
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("calibrate")
    for name, rows in TABLES.items():
        path = folder / f"{name}.jsonl"
        pl.DataFrame(rows, strict=False).write_ndjson(path)
        spec = ImportSpec(
            lake=str(folder / "lake"),
            format="table",
            path=str(path),
            digest=path_digest(str(path)),
            dataset=name,
        )
        import_table(spec, Run.of(spec))
    return str(folder / "lake")


def trained_on(dataset: str, *, lake: str) -> dict:
    """The arguments of a calibration of a router that was trained on a dataset."""
    inputs = Lake.open(lake).versions(INPUTS)
    spec = TrainSpec(
        lake=lake,
        methods=("cluster_table",),
        dataset=dataset,
        scorer="",
        normalisation="none",
        candidates=(),
        prices={},
        seed=0,
        inputs=inputs,
        settings={"cluster_table": {"n_clusters": [4]}},
        champion=None,
    )
    router = train(spec, Run.of(spec))["routers"][0]
    return {
        "lake": lake,
        "router": router["version"],
        "checkpoint": router["checkpoint"],
        "dataset": dataset,
        "scorer": "accuracy",
        "inputs": inputs,
        "prices": PRICES,
        "floor": 0.9,
        "delta": 0.1,
    }


@pytest.fixture(scope="module")
def arguments(lake) -> dict:
    return trained_on("toy", lake=lake)


def calibrated(arguments: dict, **changes) -> tuple[dict, Calibration]:
    spec = CalibrateSpec(**(arguments | changes))
    manifest = calibrate_router(spec, Run.of(spec))
    record = Calibration.model_validate_json(Path(manifest["record"]).read_text())
    return manifest, record


def test_what_is_cheap_and_as_good_is_certified_and_its_page_says_so(arguments, tmp_path) -> None:
    manifest, record = calibrated(arguments, output=str(tmp_path / "out"))
    assert record.policy.reference == "large"
    assert record.certified
    chosen = record.chosen
    assert 0.4 < chosen.elsewhere < 0.65
    assert chosen.usd_per_1000 == pytest.approx(
        1.2 * chosen.elsewhere * 0.1 + 1.2 * (1 - chosen.elsewhere), rel=1e-6
    )
    assert chosen.kept > 0.9
    assert chosen.at_least >= 0.9
    assert not record.settings[-1].certified
    assert "With probability at least 0.9 over the calibration sample" in manifest["promise"]
    assert "at least 0.9 times that of 'large'" in manifest["promise"]
    page = (tmp_path / "out" / "calibration.html").read_text()
    assert manifest["promise"].replace("'", "&#x27;") in page
    assert page.count('<tr class="chosen">') == 1
    assert (tmp_path / "out" / "cost_quality.png").read_bytes().startswith(b"\x89PNG")


def test_where_nothing_cheap_is_good_everything_goes_to_the_reference(arguments) -> None:
    manifest, record = calibrated(arguments, dataset="useless", floor=0.99)
    assert record.policy.tau is None
    assert manifest["promise"].startswith("No saving certified")
    assert manifest["policy"]["reference"] == "large"
    assert [one.certified for one in record.settings].count(True) == 1
    assert manifest["chosen"]["elsewhere"] == 0.0


def test_the_path_and_reference_know_nothing_of_the_calibration_rows(arguments) -> None:
    one, two = (calibrated(arguments, dataset=name)[1] for name in ("toy", "turned"))
    assert [s.tau for s in one.settings] == [s.tau for s in two.settings]
    assert one.policy.reference == two.policy.reference == "large"
    assert one.alone != two.alone


def test_only_calibration_rows_count_and_too_few_are_refused(arguments) -> None:
    _, record = calibrated(arguments)
    assert record.rows + sum(record.left_out.values()) == len(CALIBRATION)
    with pytest.raises(InputError, match=r"has \d+ calibration rows that may count, expected 250"):
        calibrated(arguments, dataset="few")


def test_rows_that_the_router_was_trained_or_promoted_by_are_left_out(arguments) -> None:
    _, record = calibrated(arguments, dataset="seen")
    assert sum(record.left_out.values()) >= len(TOY["text"]) - len(CALIBRATION)
    assert 250 < record.rows <= len(CALIBRATION)


def test_the_record_is_taken_again_and_another_price_makes_another(arguments, tmp_path) -> None:
    first, record = calibrated(arguments)
    record_file = Path(first["record"])
    kept = record_file.read_text()
    record_file.write_text(json.dumps(json.loads(kept) | {"rows": 777}))
    again, _ = calibrated(arguments, output=str(tmp_path / "elsewhere"))
    assert again["record"] == first["record"]
    assert again["rows"] == 777
    record_file.write_text(kept)
    dearer = PRICES | {"small": Price(input=20, output=20)}
    other, turned = calibrated(arguments, prices=dearer)
    assert other["record"] != first["record"]
    # Now the reference is the cheapest, and there is nothing to save.
    assert not turned.certified
    assert record.certified


def test_the_record_keeps_where_its_rows_lie_among_the_training_queries(arguments) -> None:
    (_, whole), (_, sums) = calibrated(arguments), calibrated(arguments, dataset="sums")
    assert sum(whole.policy.like.clusters) == pytest.approx(whole.rows)
    assert sum(share > 0 for share in sums.policy.like.shares) < len(whole.policy.like.clusters)
    assert whole.policy_settings()["like"]["rows"] == whole.rows
    profile = profile_of(load_checkpoint(arguments["checkpoint"]))
    assert refusal(whole.policy.like, profile=profile) is None
    assert refusal(sums.policy.like, profile=profile)


def test_missing_rewards_are_taken_at_their_worst(arguments) -> None:
    (_, whole), (_, record) = calibrated(arguments), calibrated(arguments, dataset="gone")
    assert record.missing["small"] == pytest.approx(len(CALIBRATION) / 6, rel=0.1)
    assert record.rows == whole.rows
    assert record.settings[-1].reward < whole.settings[-1].reward - 0.05
    assert record.settings[0].reward == whole.settings[0].reward


def test_rewards_without_bounds_are_refused(arguments) -> None:
    with pytest.raises(InputError, match=r"'large': reward 5, expected 0 to 1"):
        calibrated(arguments, dataset="of_five")
    with pytest.raises(InputError, match="z-scores have no bounds"):
        calibrated(arguments, normalisation="z_score")
    _, record = calibrated(arguments, dataset="of_five", reward_max=5.0)
    assert record.settings[0].reward == pytest.approx(5 * 0.91, abs=0.2)
    _, scaled = calibrated(arguments, dataset="of_five", normalisation="min_max")
    assert scaled.settings[0].reward < 1


def test_a_reference_can_be_named_and_must_be_a_candidate(arguments) -> None:
    _, record = calibrated(arguments, reference="small")
    assert record.policy.reference == "small"
    assert not record.certified
    with pytest.raises(InputError, match=r"--reference gone: not among"):
        calibrated(arguments, reference="gone")
    with pytest.raises(InputError, match="no price for large"):
        calibrated(arguments, prices={"small": PRICES["small"]})
    with pytest.raises(InputError, match="'large' is not among those of --allowed"):
        calibrated(arguments, constraints=Constraints(allowed=("small",)))


def test_the_approximation_is_marked(arguments) -> None:
    manifest, record = calibrated(arguments, bound="clt")
    assert record.bound == "clt"
    assert "about 0.9" in manifest["promise"]
    assert "normal approximation" in manifest["promise"]


def test_without_tokens_the_price_of_a_token_decides(lake) -> None:
    _, record = calibrated(trained_on("plain", lake=lake))
    assert record.certified
    assert record.chosen.usd_per_1000 is None
    assert record.token_price(record.chosen.shares) < 0.7


def test_rules_that_bar_the_reference_count_against_the_floor(arguments) -> None:
    bars = Constraints(rules=(Rule(tag="word", never=("large",)),), tag_column="task")
    # Half go to `small`, which knows next to nothing of words.
    told = r"send 51\.\d % of the calibration rows elsewhere .*floor of 0.9: it keeps 5\d"
    with pytest.raises(InputError, match=told):
        calibrated(arguments, constraints=bars)
    harmless = Constraints(rules=(Rule(tag="sum", never=("large",)),), tag_column="task")
    _, record = calibrated(arguments, constraints=harmless, floor=0.9)
    first = record.settings[0]
    assert first.certified
    assert 0.4 < first.elsewhere < 0.65
    assert record.policy.barred == first.elsewhere
    assert first.kept == pytest.approx(first.reward / record.alone["large"][0])


def test_where_only_the_rules_save_the_promise_says_so_and_heeds_drift(arguments) -> None:
    rules = (Rule(tag="sum", never=("large",)), Rule(tag="word", only=("large",)))
    manifest, record = calibrated(
        arguments, constraints=Constraints(rules=rules, tag_column="task")
    )
    assert [one.elsewhere for one in record.settings] == [record.policy.barred] * len(
        record.settings
    )
    alone = record.model_copy(
        update={
            "policy": record.policy.model_copy(update={"tau": None}),
            "settings": record.settings[:1],
        }
    )
    assert "at least 0.9 times that of 'large'" in alone.promise
    assert "% of the calibration rows may not go to 'large', and that is counted" in alone.promise
    assert "No saving beyond it is certified: everything that may goes there." in alone.promise
    settings = alone.policy_settings()
    with pytest.raises(InputError, match="another mix"):
        QualityFloor(**settings).heeding("another mix")
    assert "may not go to 'large'" in manifest["promise"]


def test_constraints_are_those_of_routing(arguments) -> None:
    _, whole = calibrated(arguments)
    rules = (Rule(tag="sum", never=("small",)),)
    own = Constraints(rules=rules, tag_column="task")
    _, ruled = calibrated(arguments, constraints=own)
    # Only sums are cheap and good, and now they may not be.
    assert whole.chosen.elsewhere > 0.3
    assert ruled.chosen.elsewhere < 0.1
    short = Constraints(context={"small": 1, "large": 1})
    with pytest.raises(InputError, match=r"has 0 calibration rows .* no candidate may answer"):
        calibrated(arguments, constraints=short)
    other = Constraints(rules=rules, tag_column="topic")
    with pytest.raises(InputError, match="column 'topic', and calibration rows have none"):
        calibrated(arguments, constraints=other)
