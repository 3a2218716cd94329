"""Batch files of a routing: every row in its candidate's file, once, under a stable id."""

import json
from pathlib import Path

import polars as pl
import pytest

from cluster.answers.batch_request import BARE_TEMPLATE
from cluster.candidate import Candidate
from cluster.errors import InputError
from cluster.jobs.ingest import pin_files
from cluster.routing import candidate_files
from cluster.storage import Storage

from .conftest import Desk

CHEAP = Candidate(
    name="cheap",
    engine="openai",
    model="small-1",
    endpoint={"url": "http://127.0.0.1:9/v1"},
    chat=True,
    sampling={"max_tokens": 7},
)
STRONG = Candidate(name="strong", engine="vllm", model="/models/large", template="{text} A:")
SERVED = {"cheap": CHEAP, "strong": STRONG}


@pytest.fixture
def rows() -> pl.DataFrame:
    texts = [f"add {n} and 7" if n % 2 else f"a poem on {n} trees" for n in range(10)]
    return pl.DataFrame({"text": [*texts, "add 1 and 7"]})


def requests(file: Path | str) -> list[dict]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def test_each_candidate_gets_its_rows_in_order(desk: Desk, rows: pl.DataFrame) -> None:
    manifest = desk.route(desk.spec(rows, answer_rows=0, served=SERVED))
    folder = desk.folder / "out.batches"
    assert manifest["batches"] == {
        "cheap": [str(folder / "cheap-00001.jsonl")],
        "strong": [str(folder / "strong.jsonl")],
    }
    assert set(manifest["outputs"]) > {str(file) for file in folder.iterdir()}
    cheap, strong = requests(folder / "cheap-00001.jsonl"), requests(folder / "strong.jsonl")
    said = [line["body"]["messages"][0]["content"] for line in cheap]
    assert said == [f"add {n} and 7" for n in (1, 3, 5, 7, 9, 1)]
    assert {line["body"]["model"] for line in cheap} == {"small-1"}
    assert {line["body"]["max_tokens"] for line in cheap} == {7}
    assert strong[0]["body"]["messages"][0]["content"] == "a poem on 0 trees A:"
    ids = [line["custom_id"] for line in cheap + strong]
    assert len(set(ids)) == 11
    assert sorted(int(one.split("-")[1]) for one in ids) == list(range(1, 12))


def test_an_id_tells_the_file_by_its_content_and_the_row(desk: Desk, rows: pl.DataFrame) -> None:
    first = desk.route(desk.spec(rows, answer_rows=0, served=SERVED))
    ids = [one["custom_id"] for one in requests(first["batches"]["strong"][0])]
    (desk.folder / "in.parquet").rename(desk.folder / "in.z.parquet")
    spec = desk.spec(rows.head(2), answer_rows=0, served=SERVED, output=str(desk.folder / "b.csv"))
    both = [one["custom_id"] for one in requests(desk.route(spec)["batches"]["strong"][0])]
    assert both[1:] == ids
    assert both[0] not in ids


def test_files_of_the_same_content_have_ids_of_their_own(desk: Desk, rows: pl.DataFrame) -> None:
    rows.write_parquet(desk.folder / "in.copy.parquet")
    manifest = desk.route(desk.spec(rows, answer_rows=0, served=SERVED))
    ids = [one["custom_id"] for one in requests(manifest["batches"]["strong"][0])]
    assert len(set(ids)) == len(ids) == 10


def test_an_endpoints_requests_are_cut_as_its_api_takes_them(
    desk: Desk, rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_files, "MOST_REQUESTS", 4)
    manifest = desk.route(desk.spec(rows, answer_rows=0, served=SERVED))
    assert [len(requests(file)) for file in manifest["batches"]["cheap"]] == [4, 2]
    assert [len(requests(file)) for file in manifest["batches"]["strong"]] == [5]


def test_of_an_imported_candidate_the_name_is_all_there_is(desk: Desk, rows: pl.DataFrame) -> None:
    served = {"cheap": None, "strong": None}
    manifest = desk.route(desk.spec(rows, answer_rows=0, served=served))
    line = requests(manifest["batches"]["cheap"][0])[0]
    messages = [{"role": "user", "content": "add 1 and 7"}]
    assert line["body"] == {"model": "cheap", "messages": messages}


def test_a_batch_file_comes_back_as_batch_files(desk: Desk) -> None:
    lines = [
        {
            "custom_id": f"mine {n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"messages": [{"role": "user", "content": text}], "n": n, "model": "any"},
        }
        for n, text in enumerate(["add 1 and 7", "a poem on 5 trees", "add 3 and 7", "add 1 and 7"])
    ]
    lines.append(lines[0] | {"body": {}})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    spec = desk.spec(text, texts="openai_batch", answer_rows=0, served=SERVED, max_error_share=0.3)
    manifest = desk.route(spec)
    [quarantined] = requests(manifest["quarantine"])
    assert "custom_id" in quarantined["reason"]
    cheap = requests(manifest["batches"]["cheap"][0])
    assert [line["custom_id"] for line in cheap] == ["mine 0", "mine 2", "mine 3"]
    assert [line["body"] for line in cheap] == [
        lines[n]["body"] | {"model": "small-1"} for n in (0, 2, 3)
    ]
    routed = pl.read_parquet(spec.output)
    assert routed["custom_id"].to_list() == [f"mine {n}" for n in range(4)]
    assert [json.loads(body) for body in routed["body"]] == [line["body"] for line in lines[:4]]
    assert not [name for name in routed.columns if name.startswith("__")]


def test_a_completion_is_a_chat_to_a_runner_that_knows_no_completions(desk: Desk) -> None:
    body = {"prompt": "a poem on 5 trees", "model": "any", "max_tokens": 5, "logprobs": 2}
    line = {"custom_id": "p", "method": "POST", "url": "/v1/completions", "body": body}
    other = line | {"custom_id": "s", "body": body | {"prompt": "add 1 and 7"}}
    text = "".join(json.dumps(one) + "\n" for one in (line, other))
    spec = desk.spec(text, texts="openai_batch", answer_rows=0, served=SERVED)
    manifest = desk.route(spec)
    [local] = requests(manifest["batches"]["strong"][0])
    assert (local["custom_id"], local["url"]) == ("p", "/v1/chat/completions")
    assert local["body"] == {
        "model": "/models/large",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "a poem on 5 trees"}],
        "logprobs": True,
        "top_logprobs": 2,
        "chat_template": BARE_TEMPLATE,
        "add_special_tokens": True,
    }
    [remote] = requests(manifest["batches"]["cheap"][0])
    assert remote == other | {"body": other["body"] | {"model": "small-1"}}


def test_a_folder_with_other_files_is_refused(desk: Desk, rows: pl.DataFrame) -> None:
    folder = desk.folder / "out.batches"
    folder.mkdir()
    (folder / "old.jsonl").write_text("{}\n")
    spec = desk.spec(rows, answer_rows=0, served=SERVED)
    with pytest.raises(InputError, match=r"out\.batches: is there already.*--overwrite"):
        desk.route(spec)
    replacing = desk.spec(rows, answer_rows=0, served=SERVED, overwrite=True)
    with pytest.raises(InputError, match=r"old\.jsonl: is in the way"):
        desk.route(replacing)
    (folder / "old.jsonl").unlink()
    desk.route(replacing)
    assert sorted(file.name for file in folder.iterdir()) == ["cheap-00001.jsonl", "strong.jsonl"]
    poems = rows.filter(pl.col("text").str.contains("poem"))
    desk.route(desk.spec(poems, answer_rows=0, served=SERVED, overwrite=True))
    assert [file.name for file in folder.iterdir()] == ["strong.jsonl"]


def test_outputs_that_differ_in_what_follows_a_dot_have_folders_of_their_own() -> None:
    names = ["day.1.parquet", "day.2.parquet", "day.2.csv.gz", "day", "day.parquet"]
    folders = [candidate_files.batches_uri(f"/out/{name}") for name in names]
    assert folders == [f"/out/{name}.batches" for name in ("day.1", "day.2", "day.2", "day", "day")]


def test_names_that_no_file_can_have(desk: Desk) -> None:
    files = candidate_files.file_stems(["a/b", "a:b", "A_b", "..", "日本"])
    assert files == ["a_b", "a_b_", "A_b__", "_", "__"]


def test_input_batches_and_answers_on_s3(
    desk: Desk, rows: pl.DataFrame, s3_root: str, tmp_path: Path
) -> None:
    rows.write_ndjson(tmp_path / "in.jsonl")
    Storage.at(s3_root).write(f"{s3_root}/in/q.jsonl", (tmp_path / "in.jsonl").read_bytes())
    desk.root = f"{s3_root}/lake"
    files = pin_files(f"{s3_root}/in/*.jsonl")
    spec = desk.spec(rows, files=files, output=f"{s3_root}/out.jsonl", served=SERVED)
    manifest = desk.route(spec)
    assert manifest["batches"]["strong"] == [f"{s3_root}/out.batches/strong.jsonl"]
    content = Storage.at(s3_root).read_bytes(manifest["batches"]["strong"][0])
    assert len(content.splitlines()) == 5
    desk.answer(desk.asked(f"{manifest['to_answer']['folder']}/asked"))
    joined = desk.join(spec, manifest, output=f"{s3_root}/out.answers.jsonl")
    assert joined["answers"] == rows.height
    assert len(Storage.at(s3_root).read_bytes(joined["outputs"][0]).splitlines()) == rows.height
