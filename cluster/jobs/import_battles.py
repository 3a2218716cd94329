"""The part of the import job that keeps battles."""

import json

import polars as pl

from cluster.importers.battle_table import BattleTable
from cluster.jobs.imported import hashed, tell_known, with_query_ids
from cluster.jobs.run import Manifest
from cluster.lake.candidates import keep_specs
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.preferences import SIDES
from cluster.lake.tables import PREFERENCES


def keep_battles(
    table: BattleTable, *, queries: pl.DataFrame, known: int, format_name: str, lake: Lake
) -> Manifest:
    """Append candidates' names and battles; returns how many of what.

    A candidate is known by the same id as one of that name in an imported score table.

    Args:
        table: what was read.
        queries: the table's, identified.
        known: how many of them were there already.
        format_name: of the importer.
        lake: the lake.
    """
    rows = with_query_ids(table.rows, queries=queries)
    names = pl.Series("name", table.candidates, dtype=pl.String)
    spec = pl.lit(json.dumps({"imported": format_name}))
    ids = hashed(names, prefix=["imported"]).alias("candidate_id")
    keep_specs(pl.DataFrame([ids, names]).with_columns(spec=spec), lake=lake)
    battles = rows.with_columns(hashed(rows[side], prefix=["imported"]) for side in SIDES)
    new = append_new(battles.select(PREFERENCES.columns), lake=lake, table=PREFERENCES)
    tell_known(known, what="battles", others=battles.height - new)
    return {
        "battles": battles.height,
        "new_battles": new,
        "battles_already_there": battles.height - new,
        "ties": table.ties,
        "judges": sorted(set(table.rows["judge"])),
    }
