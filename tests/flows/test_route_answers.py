"""Routing with answers: real candidates answer whole files, chats and batch requests."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS

DEMO_MODEL = Path(__file__).parents[2] / "infra" / "demo" / "models" / "abacus"


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines_of(path: Path | str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@dataclass(frozen=True)
class Site:
    """A lake, and the version of a router in it."""

    lake: Path
    router: str

    @property
    def words(self) -> tuple[object, ...]:
        return ("--lake", self.lake, "--router", self.router)


@pytest.fixture(scope="module")
def site(signalbox: Any, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A lake with a router between a candidate that says little for little and another.

    Collected with two samples, though one answer is all that is asked for in routing.
    """
    folder = tmp_path_factory.mktemp("answers")
    shared = f"engine: transformers, model: {DEMO_MODEL}, dtype: float32, samples: 2"
    candidates = folder / "candidates.yaml"
    candidates.write_text(
        f"- {{name: short, {shared}, sampling: {{max_tokens: 1}}, "
        "price: {input: 1, output: 1}}\n"
        f'- {{name: long, {shared}, template: "{{text}}\\nA:", sampling: {{max_tokens: 8}}, '
        "price: {input: 5, output: 5}}\n"
    )
    rows = [{"text": f"what is {n} plus 2?", "reference": str(n + 2)} for n in range(60)]
    queries, where = jsonl(folder / "queries.jsonl", rows), ("--lake", folder / "lake")
    collected = signalbox("collect", "--queries", queries, "--candidates", candidates, *where)
    page, numbers = map(Path, collected.manifest["quality"]["outputs"])
    assert page == folder / "lake" / "reports" / "default" / "quality.html"
    assert page.read_text().startswith("<!doctype html>")
    assert set(json.loads(numbers.read_text())["candidates"]) == {"short", "long"}
    [router] = signalbox("train", "--methods", "best_single", *where).manifest["routers"]
    return Site(folder / "lake", router["version"])


def test_a_sample_of_the_rows_is_answered_beside_the_output(
    signalbox: Any, site: Site, tmp_path: Path
) -> None:
    asked = jsonl(tmp_path / "a.jsonl", [{"text": f"what is 3 plus {n}?"} for n in range(9)])
    words = ("route", "--input", asked, *site.words, "--output", tmp_path / "routed")
    manifest = signalbox(*words, "--answer", "4").manifest["answers"]
    assert manifest["outputs"] == [f"{tmp_path / 'routed'}.answers.parquet"]
    answers = pl.read_parquet(manifest["outputs"][0])
    assert answers.height == answers["text"].n_unique() == 4
    assert answers["answered_by"].equals(answers["candidate"])
    assert sum(row["generated"] for row in manifest["generated"]) == 4
    assert manifest["cost_usd"] == pytest.approx(answers["cost_usd"].sum())
    [one] = manifest["candidates"]
    assert one["predicted"]["requests"] == one["answered"] == 4
    assert one["predicted"]["usd"] == pytest.approx(one["usd"], rel=0.5)
    assert pl.read_parquet(tmp_path / "routed").height == 9
    signalbox(*words, "--answer", "2").refused("--overwrite")


def test_chats_are_answered_and_written_for_others_to_answer(
    signalbox: Any, site: Site, tmp_path: Path
) -> None:
    """The same chat twice is asked once; one without a question is set aside."""
    turns = [[{"role": "user", "content": f"what is {n} plus 40?"}] for n in (1, 2, 3, 1)]
    turns.append(
        [
            {"role": "user", "content": "what is 5"},
            {"role": "assistant", "content": "5"},
            {"role": "user", "content": "plus 40?"},
        ]
    )
    rows = [{"n": n, "chat": chat} for n, chat in enumerate([*turns, [turns[4][1]]])]
    asked = jsonl(tmp_path / "asked.jsonl", rows)
    words = ("--messages-column", "chat", "--answer", "-1", "--per-candidate")
    output = ("--output", tmp_path / "out.jsonl", "--max-error-share", "0.2")
    manifest = signalbox("route", "--input", asked, *site.words, *words, *output).manifest
    assert (manifest["rows"], manifest["broken"]) == (5, 1)
    answers = [
        json.loads(line) for line in (tmp_path / "out.answers.jsonl").read_text().splitlines()
    ]
    assert [row["n"] for row in answers] == list(range(5))
    assert [row["chat"] for row in answers] == turns
    assert answers[0]["answer"] == answers[3]["answer"] is not None
    assert sum(row["generated"] for row in manifest["answers"]["generated"]) == 4
    [files] = manifest["batches"].values()
    lines = lines_of(files[0])
    assert len({line["custom_id"] for line in lines}) == 5
    said = "user: what is 5\n\nassistant: 5\n\nuser: plus 40?"
    assert said in lines[4]["body"]["messages"][0]["content"]


def test_a_cascade_asks_the_next_where_the_verifier_says_no(
    signalbox: Any, site: Site, tmp_path: Path
) -> None:
    """Batch requests, recognised as such; what the cap stops goes on in the next run."""
    lines = [
        {
            "custom_id": f"r{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"messages": [{"role": "user", "content": f"what is {n} plus 5?"}]},
        }
        for n in range(12)
    ]
    asked = jsonl(tmp_path / "requests.jsonl", lines)
    labels = tmp_path / "labels.yaml"
    labels.write_text("scorers: {a_list: {scorer: json_schema, json_schema: {type: array}}}\n")
    words = ["route", "--input", asked, *site.words, "--output", tmp_path / "out.parquet"]
    words += ["--policy", "cascade", "--accept-from", "1", "--answer", "-1"]
    words += ["--verifier", "a_list", "--labels", labels]
    stopped = signalbox(*words, "--max-usd", "0.0002")
    assert stopped.manifest["answers"]["stopped"]
    assert "stopped at --max-usd" in stopped.err
    assert stopped.manifest["answers"]["spent_usd"] <= 0.0002
    before = Lake.open(site.lake).read(COMPLETIONS).height

    manifest = signalbox(*words).manifest["answers"]
    found = pl.read_parquet(manifest["outputs"][0])
    assert found["custom_id"].to_list() == [f"r{n}" for n in range(12)]
    assert set(found["calls"]) == {2}, "no answer is a list"
    assert set(found["answered_by"]) == {"long"}
    [first] = manifest["rounds"]
    assert (first["answered"], first["asked"]["long"]) == (12, 12)
    assert manifest["cost_usd"] == pytest.approx(found["cost_usd"].sum())
    completions = Lake.open(site.lake).read(COMPLETIONS)
    assert not completions.select(COMPLETIONS.key).is_duplicated().any()
    assert 0 < completions.height - before < 24


def test_flags_that_do_not_go_together_are_told_of(told: Any, site: Site, tmp_path: Path) -> None:
    asked = jsonl(tmp_path / "asked.jsonl", [{"text": "hi", "chat": []}])
    words = ("route", "--input", asked, *site.words, "--output", tmp_path / "out.parquet")
    cascade = ("--policy", "cascade", "--accept-from", "1", "--answer", "-1")
    told(*words, "--max-usd", "1").refused("--max-usd is about answers: add --answer")
    told(*words, "--answer", "1", "--verifier", "regex").refused("name --policy cascade")
    told(*words, *cascade, "--verifier", "nobody").refused("nobody")
    told(*words, *cascade, "--labels", "x.yaml").refused("--labels is for --verifier")
    told(*words, "--input-format", "openai_batch").refused("asked.jsonl", "custom_id")
    told(*words, "--messages-column", "turns").refused("--messages-column", "Columns: text, chat")
    both = ("--messages-column", "chat", "--input-format", "openai_batch")
    told(*words, *both).refused("leave one of the two out")
