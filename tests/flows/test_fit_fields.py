"""What `train` and `evaluate` are told about fitting and measuring: refused before Ray starts."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.jobs.import_table import ImportSpec, import_table, path_digest
from cluster.jobs.run import Run
from cluster.lake.lake import Lake
from cluster.lake.tables import PREFERENCES
from flows import evaluate as evaluate_module
from flows import train as train_module
from flows.evaluate import EvaluateParams
from flows.fit_fields import fit_fields
from flows.flags import UsageError, parse_flags
from flows.train import TrainParams


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lake with a small imported table, and no tags in it."""
    folder = tmp_path_factory.mktemp("lake")
    table = {"text": ["a b", "c d"], "task": ["t", "u"], "x": [0.0, 1.0], "y": [1.0, 1.0]}
    path = folder / "toy.jsonl"
    pl.DataFrame(table).write_ndjson(path)
    spec = ImportSpec(
        lake=str(folder / "lake"),
        format="table",
        path=str(path),
        digest=path_digest(str(path)),
        dataset="toy",
    )
    import_table(spec, Run.of(spec))
    return spec.lake


@pytest.fixture
def check_train(lake: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIGNALBOX_RAY_ADDRESS", raising=False)

    def run(*arguments: str) -> None:
        words = ["--lake", lake, "--dataset", "toy", *arguments]
        train_module.check(parse_flags(TrainParams, arguments=words, command="train"))

    return run


@pytest.fixture
def check_evaluate(lake: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIGNALBOX_RAY_ADDRESS", raising=False)

    def run(*arguments: str) -> None:
        words = ["--lake", lake, "--dataset", "toy", "--output", "out", *arguments]
        evaluate_module.check(parse_flags(EvaluateParams, arguments=words, command="evaluate"))

    return run


SETTINGS = [
    ("knn: {neighbours: 3}", ("own.yaml", "'knn'", "neighbours", "its settings: encoder")),
    ("knm: {k: 3}", ("own.yaml", "'knm' is not installed")),
    ("knn: {k: many}", ("own.yaml", "'knn'", "k: ", "integer")),
    ("knn: 3", ("own.yaml", "'knn'", "expected its settings")),
]


@pytest.mark.parametrize(("content", "words"), SETTINGS)
@pytest.mark.parametrize("check", ["check_train", "check_evaluate"])
def test_settings_that_a_method_does_not_take(
    content: str, words: tuple[str, ...], check: str, request: Any, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(InputError) as error:
        request.getfixturevalue(check)("--methods", "knn", "--settings", "own.yaml")
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("check", ["check_train", "check_evaluate"])
def test_fields_that_are_right_pass(check: str, request: Any, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("knn: {k: 20}\ncluster_table: {}\n")
    run = request.getfixturevalue(check)
    run("--methods", "knn", "--settings", "own.yaml", "--folds", "5", "--workers", "2")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--settings nowhere.yaml", ("nowhere.yaml", "--settings")),
        ("--tagger insights", ("tagger 'insights'", "none", "--tagger")),
        ("--encoder-model nowhere", ("encoder 'lexical'", "model")),
        ("--encoder huggingface", ("encoder 'huggingface'", "--encoder-model")),
    ],
)
def test_fields_that_name_nothing(flags: str, words: tuple[str, ...], check_train: Any) -> None:
    with pytest.raises(InputError) as error:
        check_train("--methods", "knn", *flags.split())
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("flag", ["--folds", "--cross"])
def test_one_fold_is_none(flag: str, check_evaluate: Any) -> None:
    with pytest.raises(UsageError, match=rf"{flag} '1': one fold leaves nothing to fit on"):
        check_evaluate(flag, "1")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--cross 5 --group-folds", ("--cross and --group-folds", "two ways")),
        ("--cross 5 --holdout-task t", ("--holdout-task and --cross",)),
        ("--cross 5 --train-dataset other", ("--cross", "leave out --train-dataset")),
        ("--strong x", ("--strong and --weak", "both or neither")),
        ("--strong x --weak x", ("two different candidates",)),
    ],
)
def test_flags_that_contradict_each_other(
    flags: str, words: tuple[str, ...], check_evaluate: Any
) -> None:
    with pytest.raises(InputError) as error:
        check_evaluate("--methods", "knn", *flags.split())
    for word in words:
        assert word in str(error.value)


def test_every_way_to_measure_passes_alone(check_evaluate: Any) -> None:
    for flags in ("--cross 5", "--group-folds", "--holdout-task t,u", "--strong x --weak y"):
        check_evaluate("--methods", "all", *flags.split(), "--control")


@pytest.fixture(scope="module")
def arena(lake: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The lake, with battles before two judges in it."""
    rows = [
        {"text": f"text {name}", "model_a": "x", "model_b": "y", "outcome": 1, "judge": name}
        for name in ("gpt", "human")
    ]
    path = tmp_path_factory.mktemp("arena") / "votes.csv"
    pl.DataFrame(rows).write_csv(path)
    spec = ImportSpec(
        lake=lake,
        format="battles",
        path=str(path),
        digest=path_digest(str(path)),
        dataset="arena",
    )
    import_table(spec, Run.of(spec))
    return lake


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--preferences nope", ("'nope' has no battles", "datasets that have: arena", "import")),
        ("--preferences arena", ("several judges (gpt, human)", "name one with --judge")),
        ("--preferences arena --judge me", ("judge 'me'", "judges there: gpt, human")),
        (
            "--preferences arena --judge gpt --methods knn,ridge",
            ("knn, ridge learn from rewards alone", "similarity_weighted", "leave --preferences"),
        ),
        ("--judge gpt", ("--judge", "--preferences")),
    ],
)
@pytest.mark.parametrize("check", ["check_train", "check_evaluate"])
def test_battles_that_are_not_there(
    flags: str, words: tuple[str, ...], check: str, arena: str, request: Any
) -> None:
    methods = () if "--methods" in flags else ("--methods", "mf")
    with pytest.raises(InputError) as error:
        request.getfixturevalue(check)(*methods, *flags.split())
    for word in words:
        assert word in str(error.value)


def test_battles_are_pinned_where_they_are_learned_from(arena: str, check_train: Any) -> None:
    flags = ("--methods", "mf,knn", "--preferences", "arena", "--judge", "gpt")
    check_train(*flags)
    check_train(*flags, "--dataset", "arena")
    with pytest.raises(InputError, match="--promote: dataset 'arena' has no rewards"):
        check_train(*flags, "--dataset", "arena", "--promote")
    opened = Lake.open(arena)
    given = {"dataset": "toy", "preferences": "arena", "judge": "gpt"}
    pinned = train_module.train_spec(TrainParams(**given), lake=opened, snapshot="")
    assert pinned.inputs["preferences"] == opened.version(PREFERENCES)
    assert (pinned.preferences, pinned.judge) == ("arena", "gpt")
    assert (
        "preferences" not in train_module.train_spec(TrainParams(), lake=opened, snapshot="").inputs
    )


def test_a_models_folder_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job runs in another folder than the command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    named = fit_fields(TrainParams(encoder_model="model"))["encoder_model"]
    assert named == str(tmp_path / "model")
    assert fit_fields(TrainParams(encoder_model="some/model"))["encoder_model"] == "some/model"


COMMON = {
    "encoder": "huggingface",
    "encoder_model": "some/model",
    "tagger": "task",
    "workers": 2,
    "folds": 5,
}


def test_what_is_typed_reaches_the_job(lake: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("knn: {k: 20}\n")
    opened, given = Lake.open(lake), COMMON | {"settings": str(tmp_path / "own.yaml")}
    trained = train_module.train_spec(TrainParams(dataset="toy", **given), lake=opened, snapshot="")
    ways = {"strong": "x", "weak": "y", "ranking": "reward", "control": True}
    params = EvaluateParams(dataset="toy", output="out", holdout_task=["t", "u"], **given, **ways)
    evaluated = evaluate_module._spec(params, lake=opened)
    for spec in (trained, evaluated):
        assert spec.model_dump(include=set(COMMON)) == COMMON
        assert spec.settings == {"knn": {"k": 20}}
    assert evaluated.model_dump(include=set(ways)) == ways
    assert evaluated.holdout_tasks == ("t", "u")
    assert evaluated.skip_refused
    folded = evaluate_module._spec(
        EvaluateParams(output="out", cross=4, methods=["knn"]), lake=opened
    )
    assert (folded.cross, folded.group_folds, folded.skip_refused) == (4, False, False)
    grouped = EvaluateParams(output="out", group_folds=True)
    assert evaluate_module._spec(grouped, lake=opened).group_folds
