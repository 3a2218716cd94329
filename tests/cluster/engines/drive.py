"""Run a plan of engines, one after another, in this process (see conftest.py)."""

import json
import sys
from pathlib import Path

from cluster.candidate import Candidate
from cluster.engines.engine import Request
from cluster.errors import EngineError
from cluster.plugins import load_plugin


def main(folder: Path) -> None:
    for step in json.loads((folder / "plan.json").read_text()):
        candidate = Candidate.model_validate(step["candidate"])
        engine_class = load_plugin("engines", name=candidate.engine)
        try:
            loaded = engine_class(candidate)
        except EngineError as error:
            (folder / f"{step['name']}.error").write_text(str(error))
            continue
        with loaded as engine:
            for shard, requests in step["shards"].items():
                answer = engine.answer(
                    [Request(**one | {"samples": tuple(one["samples"])}) for one in requests]
                )
                answer.write_parquet(folder / f"{step['name']}-{shard}.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
