import json
from pathlib import Path

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.importers.routellm import read

CLONE = Path(__file__).resolve().parents[4] / "shared" / "data" / "RouteLLM"
WEAK, STRONG = "org/weak-7b", "strong"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    evals = tmp_path / "routellm" / "evals"
    responses = evals / "mmlu" / "responses"
    responses.mkdir(parents=True)
    header = f"prompt,{WEAK},{STRONG}\n"
    (responses / "mmlu_virology.csv").write_text(
        header
        + '"Which?\nA. one\nB. two",False,True\nSeen,True,True\nSame,True,False\nSame,,True\n'
    )
    (responses / "mmlu_anatomy.csv").write_text(header + "Bone?,True,True\n")
    (evals / "mmlu" / "contaminated_prompts.jsonl").write_text(
        json.dumps({"train_prompt": "other", "eval_prompt": "Seen ", "eval_idx": 1}) + "\n"
    )
    (evals / "gsm8k").mkdir()
    (evals / "gsm8k" / "gsm8k_responses.csv").write_text(
        f"prompt,{WEAK},{STRONG},{WEAK}_response,{STRONG}_response\n"
        '1+1?,False,True,"3, I think",2\n'
    )
    (evals / "custom_dataset").mkdir()
    (evals / "custom_dataset" / "of_another_shape.csv").write_text("a,b\n1,2\n")
    return tmp_path


@pytest.mark.parametrize("start", [".", "routellm/evals"])
def test_clone_is_read_without_contaminated_prompts(clone: Path, start: str) -> None:
    table = read(str(clone / start))
    found = table.rows.select("task", "text", "occurrence", "candidate", "value").rows()
    assert sorted(found) == [
        ("anatomy", "Bone?", 0, WEAK, 1.0),
        ("anatomy", "Bone?", 0, STRONG, 1.0),
        ("gsm8k", "1+1?", 0, WEAK, 0.0),
        ("gsm8k", "1+1?", 0, STRONG, 1.0),
        ("virology", "Same", 0, WEAK, 1.0),
        ("virology", "Same", 0, STRONG, 0.0),
        ("virology", "Same", 1, STRONG, 1.0),
        ("virology", "Which?\nA. one\nB. two", 0, WEAK, 0.0),
        ("virology", "Which?\nA. one\nB. two", 0, STRONG, 1.0),
    ]
    assert table.left_out.rows() == [("test", "virology", "contaminated prompt", 1)]
    assert set(table.rows["split"]) == {"test"}
    assert set(table.rows["scorer"]) == {"accuracy"}


def test_contaminated_prompts_can_be_kept(clone: Path) -> None:
    table = read(str(clone), keep_contaminated=True)
    assert "Seen" in table.queries["text"]
    assert table.left_out.is_empty()


def test_answers_come_with_their_candidate(clone: Path) -> None:
    table = read(str(clone / "routellm" / "evals" / "gsm8k" / "gsm8k_responses.csv"))
    assert table.rows.select("candidate", "answer").rows() == [
        (WEAK, "3, I think"),
        (STRONG, "2"),
    ]


def test_one_csv_of_any_candidates(tmp_path: Path) -> None:
    file = tmp_path / "riddles.csv"
    file.write_text("prompt,a,b,c\nWhy?,1,0,true\n")
    table = read(str(file))
    assert table.rows.select("task", "candidate", "value").rows() == [
        ("riddles", "a", 1.0),
        ("riddles", "b", 0.0),
        ("riddles", "c", 1.0),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt,a\nx,True\ny,perhaps\n", "row 2, field 'a': expected True or False"),
        ("prompt,a\nx,True\n,False\n", "row 2, field 'prompt'"),
        ("question,a\nx,True\n", "no column 'prompt'"),
        ("prompt\nx\n", "a column of True and False"),
        ("prompt,a,a\nx,True,True\n", "two columns are called 'a'"),
        ("prompt,a\nx,True,False\n", "cannot be read as CSV"),
        ("", "cannot be read as CSV"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "mmlu_virology.csv"
    file.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read(str(tmp_path))
    assert str(file) in str(caught.value)


def test_broken_list_of_contaminated_prompts_is_named(clone: Path) -> None:
    listed = clone / "routellm" / "evals" / "mmlu" / "contaminated_prompts.jsonl"
    listed.write_text('{"eval_prompt": "Seen"}\n{"eval_prompt"\n')
    with pytest.raises(InputError, match=r"contaminated_prompts\.jsonl, line 2: broken JSON"):
        read(str(clone))


def test_nothing_there_and_nothing_of_this_shape(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read(str(tmp_path / "absent"))
    with pytest.raises(InputError, match="no score files here"):
        read(str(tmp_path))


def test_published_rows_come_out() -> None:
    if not CLONE.is_dir():
        pytest.skip("the RouteLLM data is not beside the repository (../shared/data)")
    table, everything = read(str(CLONE)), read(str(CLONE), keep_contaminated=True)
    for found, mmlu, gsm8k in ((table, 14_037, 1_307), (everything, 14_042, 1_319)):
        is_gsm8k = found.queries["task"] == "gsm8k"
        assert ((~is_gsm8k).sum(), is_gsm8k.sum()) == (mmlu, gsm8k)
    assert table.left_out["queries"].sum() == 17
    assert table.queries["task"].n_unique() == 58
    assert len(table.candidates) == 2
    assert everything.queries.filter(pl.col("occurrence") > 0, pl.col("task") != "gsm8k").height > 0
    scored = everything.rows.filter(
        pl.col("task") == "gsm8k", pl.col("candidate").str.contains("gpt")
    )
    assert scored["value"].mean() == pytest.approx(0.8567, abs=0.0001)
    assert scored["answer"].null_count() == 0
