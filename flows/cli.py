"""The command line: `signalbox NAME --flag value`, one command a flow, and a look into the lake.

Logs and progress go to stderr; the last line on stdout is the run's manifest as one line of JSON.
"""

import difflib
import importlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from cluster.errors import SignalboxError
from cluster.ray_cluster import prepare_environment
from flows.flags import UsageError, parse_flags


class Command(NamedTuple):
    """What a command runs: `module.function(module.Params)`, and its line in the help.

    `check`, where a command has one, is called before the function, and so before Prefect and Ray
    are started: what it refuses is told at once. `show_result`, where a module has one, shows the
    manifest to the person at the terminal.
    """

    module: str
    function: str
    params: str
    help: str
    check: str = ""


# Loggers of what runs, and of what follows the end of a run and tells of no trouble of the user's.
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.EventsWorker")
# Prefect needs about 3 s to end its server.
LEAVE_SECONDS = 15.0
# To stop the job and end Ray, which takes 4 s.
INTERRUPT_SECONDS = 20.0
STOPPED = "was stopped; what was committed is kept, run it again to go on"
FAILED_STATE = "Finished in state Failed"

COMMANDS: dict[str, Command] = {
    "demo": Command("flows.demo", "demo", "DemoParams", "the whole loop on models shipped with it"),
    "collect": Command(
        "flows.collect",
        "run",
        "CollectParams",
        "candidates answer queries; label",
        "check",
    ),
    "import": Command(
        "flows.import_tables",
        "import_tables",
        "ImportParams",
        "bring in score tables and battles",
        "check",
    ),
    "train": Command(
        "flows.train", "train", "TrainParams", "fit routers, evaluate, register", "check"
    ),
    "retrain": Command(
        "flows.retrain",
        "retrain",
        "RetrainParams",
        "one night: what is new, train, gate, promote",
        "check",
    ),
    "add-candidate": Command(
        "flows.add_candidate",
        "add_candidate",
        "AddCandidateParams",
        "a new candidate joins a router without retraining",
        "check",
    ),
    "evaluate": Command(
        "flows.evaluate", "evaluate", "EvaluateParams", "methods against all baselines", "check"
    ),
    "calibrate": Command(
        "flows.calibrate",
        "calibrate",
        "CalibrateParams",
        "the least cost that keeps a share of quality, with a promise",
        "check",
    ),
    "route": Command("flows.route", "route", "RouteParams", "query files to routed files", "check"),
    "route-waiting": Command(
        "flows.route_waiting",
        "route_waiting",
        "WaitingParams",
        "route what waits for a new champion",
        "check",
    ),
    "serve": Command(
        "flows.serve", "serve", "ServeParams", "an endpoint that routes each request", "check"
    ),
    "export": Command(
        "flows.export", "export", "ExportParams", "outcomes and choices for other projects", "check"
    ),
    "up": Command("flows.up", "up", "UpParams", "Prefect, Ray and all flows in its UI", "check"),
    "registry list": Command(
        "flows.registry", "list_versions", "ListParams", "routers and which one is champion"
    ),
    "registry show": Command("flows.registry", "show", "ShowParams", "one router in full"),
    "registry promote": Command(
        "flows.champion", "run_promote", "PromoteParams", "make a router champion"
    ),
    "registry rollback": Command(
        "flows.champion", "run_rollback", "RollbackParams", "bring the champion before back"
    ),
    "snapshot create": Command(
        "flows.snapshot", "create", "CreateParams", "freeze test queries for the gate"
    ),
    "snapshot list": Command("flows.snapshot", "list_snapshots", "ListParams", "frozen snapshots"),
    "snapshot show": Command(
        "flows.snapshot", "show", "ShowParams", "one snapshot, and the looks spent on it"
    ),
    "labels list": Command(
        "flows.snapshot", "list_labels", "LabelsParams", "batches of labels, and who was refused"
    ),
    "labels release": Command(
        "flows.snapshot", "release_labels", "ReleaseParams", "learn from a refused batch after all"
    ),
    "quality": Command(
        "flows.quality", "report", "QualityParams", "what a dataset is worth training on", "check"
    ),
    "tags": Command(
        "flows.tags", "show", "TagsParams", "tags: frequency, coverage, reward by tag", "check"
    ),
    "upkeep": Command(
        "flows.upkeep",
        "upkeep",
        "UpkeepParams",
        "merge small files, delete what nobody reads any more",
        "check",
    ),
    "lake": Command("flows.lake", "summary", "LakeParams", "tables, rows, versions, sizes"),
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command; exit status 0, 1 on failure, 2 on wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())  # noqa: T201
        raise SystemExit(0 if words else 2)
    name, rest = _split_name(words)
    verbose = "--verbose" in rest
    rest = [word for word in rest if word != "--verbose"]
    raise SystemExit(_run(name, rest, verbose=verbose))


def overview() -> str:
    """The help text of the whole command line."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name.ljust(width)}{command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: signalbox COMMAND [--config FILE] [--verbose] [FLAGS]",
            "",
            "The batch, reproducible end of LLM routing.",
            "",
            "commands:",
            *lines,
            "",
            "'signalbox COMMAND --help' explains every flag. --config FILE reads flags from YAML;",
            "--verbose shows tracebacks and everything the jobs log.",
        ]
    )


def _split_name(words: list[str]) -> tuple[str, list[str]]:
    """The command (one word or two) and what is left."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name, words[length:]
    near = difflib.get_close_matches(" ".join(words[:2]), COMMANDS, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    _say(f"error: no command '{words[0]}'{hint} Commands: {', '.join(COMMANDS)}")
    raise SystemExit(2)


def _run(name: str, arguments: list[str], *, verbose: bool) -> int:
    command = COMMANDS[name]
    try:
        _prepare(verbose=verbose)
        # Seconds, in which somebody sees that it is the wrong command.
        module = importlib.import_module(command.module)
        if not verbose:
            _say_failures_once()
        params = parse_flags(getattr(module, command.params), arguments=arguments, command=name)
        if command.check:
            getattr(module, command.check)(params)
        manifest = getattr(module, command.function)(params)
        if hasattr(module, "show_result"):
            module.show_result(manifest)
    except UsageError as error:
        _say(f"error: {error}")
        return 2
    except SignalboxError as error:
        if verbose:
            logging.getLogger("signalbox").exception("%s failed", name)
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        _say(f"{name} {STOPPED}")
        _leave_within(LEAVE_SECONDS, status=130)
        return 130
    print(json.dumps(manifest, default=str), flush=True)  # noqa: T201
    return 0


def _prepare(*, verbose: bool) -> None:
    """Settle what Ray and Prefect read from the environment before they are imported."""
    prepare_environment()
    defaults = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_LEVEL": "DEBUG" if verbose else "INFO",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    signal.signal(signal.SIGINT, _interrupted_by_hand)
    signal.signal(signal.SIGTERM, _interrupted)


def _interrupted(number: int, frame: Any) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt


def _interrupted_by_hand(number: int, frame: Any) -> NoReturn:
    """Stop the run, and be gone soon in any case.

    Ctrl-C reaches Prefect's temporary server as well, and Prefect then asks a server that is gone,
    again and again for minutes, to note the end of the run.
    """
    _leave_within(INTERRUPT_SECONDS, status=130, word=f"the command {STOPPED}")
    _interrupted(number, frame)


def _leave_within(seconds: float, *, status: int, word: str = "") -> None:
    """End the process, with a last word, if it has not ended by then.

    A stopped command sometimes hangs at its exit: Prefect stops its server and then waits, without
    a limit, until it has sent that server the last events.
    """

    def leave() -> NoReturn:
        if word:
            _say(word)
        os._exit(status)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


def _say_failures_once() -> None:
    """Keep Prefect's words on a failure off the terminal: the command ends with the error's own.

    The task, the flow and the state say the same error three times, with two tracebacks. The
    server still gets all of it.
    """
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_no_failure)


def _is_no_failure(record: logging.LogRecord) -> bool:
    if not record.name.startswith(RUN_LOGGERS):
        return True
    return record.levelno < logging.ERROR and FAILED_STATE not in record.getMessage()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
