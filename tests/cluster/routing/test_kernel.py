"""Which routers let a pretrained model read the queries, and so get shorter shards."""

from pathlib import Path

import pytest

from cluster.jobs import route as route_module
from cluster.routing.kernel import load_routing
from tests.routed import query_rows, run, specs


def test_words_and_tables_run_no_model(tmp_path: Path) -> None:
    query_rows(2).write_parquet(tmp_path / "in.parquet")
    assert not load_routing(specs(tmp_path)("out.parquet")).runs_model


def test_a_pretrained_encoder_is_a_model(
    tmp_path: Path, pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route_module, "MODEL_BATCH_ROWS", 2)
    query_rows(5).write_parquet(tmp_path / "in.parquet")
    encoder = {"encoder": "huggingface", "encoder_settings": {"model": pretrained("bert")}}
    spec = specs(tmp_path, **encoder)("folder")
    assert load_routing(spec).runs_model
    assert len(run(spec)["outputs"]) == 3
