import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.importers.routereval import read

PROMPTS = {"train_prompt": ["one", "two"], "val_prompt": ["three"], "test_prompt": ["one"]}


def pool(*models: str, train: Any, val: Any = None, test: Any = None) -> dict[str, Any]:
    scores = {"train_score": train, "val_score": val, "test_score": test}
    return {"model": list(models), "data": scores, "description": "as published"}


def tree(**more: Any) -> dict[str, Any]:
    return {
        "easy": {
            "3": {
                "all_strong": pool("a", "b", train=[[1, 0], [0, 1]], val=[[1, 1]], test=[[0, 0.5]]),
                "all_weak": pool("c", train=[[1], [1]], test=[[0]]),
            }
        },
        "hard": {"10": {"strong_to_weak": pool("b", "d", train=[[0, 1], [1, 1]], test=[[0.5, 1]])}},
        "prompt": PROMPTS,
        "split_index": {"train_indices": [4, 2]},
    } | more


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("inner", ["data/router_dataset", "router_dataset", "."])
def test_every_model_of_every_pool_once(inner: str, tmp_path: Path) -> None:
    write(tmp_path / inner / "arc_router_dataset.json", tree())
    table = read(str(tmp_path))
    cells = table.rows.select("split", "task", "text", "candidate", "value").rows()
    assert sorted(cells) == [
        ("test", "arc", "one", "a", 0.0),
        ("test", "arc", "one", "b", 0.5),
        ("test", "arc", "one", "c", 0.0),
        ("test", "arc", "one", "d", 1.0),
        ("train", "arc", "one", "a", 1.0),
        ("train", "arc", "one", "b", 0.0),
        ("train", "arc", "one", "c", 1.0),
        ("train", "arc", "one", "d", 1.0),
        ("train", "arc", "two", "a", 0.0),
        ("train", "arc", "two", "b", 1.0),
        ("train", "arc", "two", "c", 1.0),
        ("train", "arc", "two", "d", 1.0),
        ("validation", "arc", "three", "a", 1.0),
        ("validation", "arc", "three", "b", 1.0),
    ]
    assert table.notes == ()


@given(
    st.lists(
        st.lists(st.one_of(st.floats(-9, 9), st.integers(0, 1)), min_size=3, max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_a_matrix_is_read_cell_by_cell(scores: list[list[float]]) -> None:
    prompts = {"val_prompt": [f"prompt {row}" for row in range(len(scores))]}
    alone = pool("a", "b", "c", train=None, val=scores) | {"prompt": prompts}
    with TemporaryDirectory() as folder:
        table = read(str(write(Path(folder) / "gsm8k.json", alone)))
    found = {
        (row[0], row[1]): row[2] for row in table.rows.select("text", "candidate", "value").rows()
    }
    assert found == {
        (f"prompt {row}", name): value
        for row, values in enumerate(scores)
        for name, value in zip("abc", values, strict=True)
    }


def test_pools_that_disagree_are_told_of(tmp_path: Path) -> None:
    other = {"10": {"all_weak": pool("a", train=[[1], [1]])}}
    table = read(str(write(tmp_path / "arc.json", tree(hard=other))))
    assert table.rows.filter(text="two", candidate="a")["value"].to_list() == [0.0]
    assert "1 scores differ" in table.notes[0]


def test_one_pool_by_itself(tmp_path: Path) -> None:
    alone = pool("a", "b", train=[[1, 0], [0, 1]]) | {"prompt": PROMPTS}
    table = read(str(write(tmp_path / "gsm8k.json", alone)))
    assert set(table.rows["task"]) == {"gsm8k"}
    assert table.rows.height == 4
    assert sorted(table.left_out.rows()) == [
        ("test", "gsm8k", "no candidate has a score", 1),
        ("validation", "gsm8k", "no candidate has a score", 1),
    ]


def easy(**more: Any) -> dict[str, Any]:
    return tree(easy={"3": {"all_weak": pool("a", train=[[1], [0]]) | more}}, hard={})


WHERE = r"arc\.json, easy/3/all_weak, field "


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], r"field 'prompt': expected an object"),
        ({"model": ["a"], "data": {}}, r"field 'prompt': expected an object"),
        (tree(prompt={}), "no prompt in any of train, val, test"),
        (tree(prompt={"train_prompt": ["x", ""]}), "row 2, field 'train_prompt'"),
        (tree(prompt={"train_prompt": "x"}), "field 'train_prompt': expected a list"),
        ({"prompt": PROMPTS}, "neither 'easy' nor 'hard' with pools"),
        (tree(easy=[1]), r"arc\.json, easy: expected an object, found \[1\]"),
        (easy(model=["a", 3]), WHERE + r"'model': expected a list of names"),
        (easy(model=["a", "a"]), WHERE + r"'model': a name stands there twice"),
        (easy(data=None), WHERE + r"'data': expected an object"),
        (
            easy(data={"train_score": [[1]]}),
            WHERE + r"'train_score': expected 2 rows, one a prompt, found 1 rows",
        ),
        (
            easy(data={"train_score": [[1], [1, 2]]}),
            WHERE + r"'train_score', row 2: expected 1 scores, one a model",
        ),
        (
            easy(data={"train_score": [[1], ["x"]]}),
            WHERE + r"'train_score', row 2: expected numbers",
        ),
        (easy(data={"label": [[1], [1]]}), "no scores in any pool"),
    ],
)
def test_bad_input_is_named(content: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "arc.json", content)
    with pytest.raises(InputError, match=message) as told:
        read(str(path))
    assert str(path) in str(told.value)


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \*\.json here"):
        read(str(tmp_path))
    broken = tmp_path / "arc.json"
    broken.write_text('{"prompt": {"train_prompt": ["x"]}, "data": NaN}')
    with pytest.raises(InputError, match="NaN is no JSON number"):
        read(str(broken))
