"""Every write boundary of route: one file, and a folder whose policy sees the whole file first."""

from pathlib import Path
from typing import Any

import pytest

from cluster.jobs.run import Run
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES
from cluster.routing.spec import RouteSpec
from tests.faults.crashes import Work
from tests.routed import query_rows, specs

ROWS = 300
CODE = """
from cluster.jobs import route
from cluster.jobs.run import main
route.BATCH_ROWS = 100
main(route.RouteSpec, work=route.route)
"""
OWN = {"seconds", "rows_per_second"}
FILE = {"output": "out.parquet"}
FOLDER = {
    "output": "out",
    "output_format": "jsonl",
    "policy": "budget",
    "policy_settings": {"usd_per_1000": 0.05},
    "feedback": 0.3,
}


@pytest.mark.parametrize("asked", [FILE, FOLDER], ids=["file", "folder"])
def test_route_dies(asked: dict[str, Any], site, die_everywhere, tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    query_rows(ROWS).write_parquet(root / "in.1.parquet", row_group_size=100)
    more = query_rows(ROWS // 4, start=ROWS).write_ndjson().splitlines()
    (root / "in.2.jsonl").write_text("\n".join([*more, '{"id": 1, "text": ""}']))
    spec: RouteSpec = specs(root)(**asked)
    Lake.open(spec.lake)
    uri = Run.of(spec).write_spec(spec)

    def facts() -> dict[str, Any]:
        """Manifest but for its times, every output, and what came back into the lake."""
        manifest = Run.of(spec).read_manifest()
        assert manifest is not None
        if manifest["feedback"]:
            # Those that came back before the death were new then.
            manifest["feedback"].pop("new")
        assert not list(root.rglob("scratch")), "it has served"
        files = [*manifest["outputs"], manifest["quarantine"]]
        fed_back = Lake.open(spec.lake).read(QUERIES)
        assert not fed_back.select(QUERIES.key).is_duplicated().any()
        return {
            "manifest": {name: told for name, told in manifest.items() if name not in OWN},
            "files": {name: Path(name).read_bytes() for name in files},
            "folder": sorted(str(file) for file in root.glob("out*/[!.]*")),
            "fed back": fed_back.sort(QUERIES.key).to_dicts(),
        }

    die_everywhere(
        Work(
            name=f"route to a {'folder' if asked is FOLDER else 'file'}",
            root=root,
            process=lambda **env: site.driver("-c", CODE, uri, **env),
            facts=facts,
        )
    )
