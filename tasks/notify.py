"""Word of a run through a notification block of Prefect: Slack, e-mail, a webhook and others.

The block is made in the UI, where its address stays a secret; a flow knows its name alone. A word
that could not be sent is told in the run's log and fails nothing: the work is done.
"""

from typing import Any

from prefect import get_run_logger
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block

from cluster.errors import InputError


def check_block_name(name: str) -> None:
    """Make sure that a name is one of a block: `type/name`, as the UI shows it.

    Raises:
        InputError: it is not.
    """
    kind, slash, own = name.partition("/")
    if not (kind and slash and own) or "/" in own or ":" in name:
        raise InputError(
            f"--notify '{name}': expected the type and the name of a notification block, such as "
            "slack-webhook/nightly; make one in the UI under Blocks"
        )


def notify(name: str, *, subject: str, body: str) -> str:
    """Send a word through a block; returns what went wrong, in words, empty where nothing did.

    Args:
        name: of the block, `type/name`; empty sends nothing.
        subject, body: plain text.
    """
    if not name:
        return ""
    try:
        _send(name, subject=subject, body=body)
    # Whatever a block of any kind raises: nothing of it may fail a night that is done.
    except Exception as error:  # noqa: BLE001
        # Not the error's own words, which may hold the block's address.
        trouble = f"block '{name}' could not be notified ({type(error).__name__})"
        get_run_logger().warning("%s; the run goes on", trouble)
        return trouble
    return ""


def _send(name: str, *, subject: str, body: str) -> None:
    found: Any = Block.load(name)
    # Prefect types `notify` as a coroutine, which it is only where a loop is running.
    block: Any = found
    if not isinstance(found, NotificationBlock):
        raise InputError(f"block '{name}' is no notification block")
    with block.raise_on_failure():
        block.notify(body, subject)
