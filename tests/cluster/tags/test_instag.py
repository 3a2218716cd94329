"""InsTag with a real model: a tiny Llama that has learned to tag, in vLLM and held to a schema."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.labels import read_labels
from cluster.tags.instag import InsTag
from cluster.tags.open_vocabulary import RAW_SCHEMA

QUERIES = {
    "sum": ("what is {} plus {} ?", '{"tags": ["sums", "numbers"]}'),
    "word": ("spell {} {} !", '{"tags": ["spelling"]}'),
}
PROMPT = "query : {text} tags :"
# Tags with open(), as an actor does, and writes what it wrote and what that is worth.
DRIVE = """
import sys
import polars as pl
from cluster.labels import read_labels
tagger = read_labels(sys.argv[1], scorers=[], taggers=[]).taggers[0].tagger()
queries = pl.read_parquet(sys.argv[2])
with tagger.open() as write:
    write(queries).write_parquet(sys.argv[3])
"""


def queries(n: int) -> pl.DataFrame:
    tasks = ["sum", "word"] * (n // 2)
    texts = [QUERIES[task][0].format(i % 7, i % 5) for i, task in enumerate(tasks)]
    ids = [f"q{number}" for number in range(n)]
    return pl.DataFrame({"query_id": ids, "task": tasks, "text": texts})


def save_trained_llama(folder: Path) -> None:
    """60,000 weights, taught in some seconds to answer a prompt with the tags of its task."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["query", "what", "is", "plus", "spell", "tags", "sums", "numbers", "spelling"]
    tokens = ["<pad>", "<eos>", "<unk>", *map(chr, range(32, 127)), *words]
    model = models.WordLevel({word: i for i, word in enumerate(tokens)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[a-z]+|."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        llama = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokens),
                hidden_size=64,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=128,
                eos_token_id=1,
                bos_token_id=None,
                pad_token_id=0,
                dtype="float32",
            )
        )
        taught = queries(14)
        rows = [
            PROMPT.replace("{text}", text) + QUERIES[task][1] + "<eos>"
            for task, text in taught.select("task", "text").iter_rows()
        ]
        batch = fast(rows, padding=True, return_tensors="pt")
        ids, seen = batch["input_ids"], batch["attention_mask"]
        answer = (ids == fast.convert_tokens_to_ids("{")).cumsum(dim=1) * seen
        labels = ids.masked_fill(answer == 0, -100)
        optimizer = torch.optim.AdamW(llama.parameters(), lr=5e-3)
        for _ in range(150):
            loss = llama(ids, attention_mask=seen, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    llama.save_pretrained(folder)


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> Path:
    """A labels file, the model's path relative to it."""
    folder = tmp_path_factory.mktemp("tagger")
    save_trained_llama(folder / "model")
    candidate = {"engine": "vllm", "model": "model", "sampling": {"max_tokens": 40}}
    entry = {"candidate": candidate, "prompt": PROMPT, "max_tags": 3}
    (folder / "labels.yaml").write_text(json.dumps({"taggers": {"instag": entry}}))
    return folder / "labels.yaml"


def test_a_model_writes_tags_by_the_schema(labels: Path, tmp_path: Path) -> None:
    asked = queries(12).vstack(
        pl.DataFrame({"query_id": ["odd"], "task": ["sum"], "text": ["诗 🔥 " + "é" * 30]})
    )
    asked.write_parquet(tmp_path / "queries")
    command = [sys.executable, "-c", DRIVE, labels, tmp_path / "queries", tmp_path / "written"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    written = pl.read_parquet(tmp_path / "written")
    assert written.schema == RAW_SCHEMA
    by_query = dict(written.group_by("query_id").agg("raw_tag").iter_rows())
    assert by_query.keys() == set(asked["query_id"])
    for number in range(12):
        wanted = ["spelling"] if number % 2 else ["sums", "numbers"]
        assert by_query[f"q{number}"] == wanted
    assert written.filter(place=0)["completion_tokens"].min() > 0


def tagger(**settings) -> InsTag:
    candidate = {"engine": "vllm", "model": "m", "revision": "main"}
    return InsTag(**({"candidate": candidate} | settings))


def test_who_writes_is_told_apart_by_what_changes_a_tag() -> None:
    base = tagger()
    free = {"engine": "vllm", "model": "m", "revision": "main", "name": "x", "price": None}
    assert tagger(candidate=free).tagger_id == base.tagger_id
    assert tagger(vocabulary={"alpha": 3}).writer_id == base.writer_id
    assert tagger(vocabulary={"alpha": 3}).tagger_id != base.tagger_id
    for other in ({"max_tags": 2}, {"prompt": "{text}"}, {"structured": False}):
        assert tagger(**other).writer_id != base.writer_id


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{}", ["'candidate' is missing"]),
        ("{candidate: {engine: nobody, model: m}}", ["'nobody' is not installed", "vllm"]),
        ("{candidate: {engine: vllm, model: ./none}}", ["there is no folder", "none"]),
        ("{candidate: {engine: vllm}}", ["candidate.model"]),
        (
            "{candidate: {engine: transformers, model: m, revision: r}}",
            ["json_schema", "'structured: false'"],
        ),
        (
            "{candidate: {engine: vllm, model: m, revision: r}, prompt: tag it}",
            ["prompt", "must contain {text}"],
        ),
        (
            "{candidate: {engine: vllm, model: m, revision: r, sampling: {json_schema: {}}}}",
            ["the tagger sets sampling.json_schema itself"],
        ),
        (
            "{candidate: {engine: vllm, model: m, revision: r}, vocabulary: {encoder: none}}",
            ["encoder 'none' is not installed"],
        ),
        (
            "{candidate: {engine: vllm, model: m, revision: r}, vocabulary: {alpha: 0}}",
            ["vocabulary.alpha"],
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, entry: str, words: list[str]) -> None:
    file = tmp_path / "labels.yaml"
    file.write_text(f"taggers: {{words: {entry[:1]}tagger: instag, {entry[1:]}}}")
    with pytest.raises(InputError) as error:
        read_labels(str(file), scorers=[], taggers=[])
    assert all(word in str(error.value) for word in [str(file), "tagger 'words'", *words])
