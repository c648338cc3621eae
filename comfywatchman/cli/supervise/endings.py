"""Output after an order to the supervisor: accepted, or how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfywatchman.app.session import Session
from comfywatchman.cli.render import DONE, print_json, print_step, printable, result_code
from comfywatchman.cli.supervise.common import describe_status
from comfywatchman.cli.supervise.waiting import Ending
from comfywatchman.supervisor.status import read_status

if TYPE_CHECKING:
    from comfywatchman.supervisor.workspace import EnvironmentSet


def finish(
    session: Session, environments: EnvironmentSet, command: str, ending: Ending | None, *, as_json: bool
) -> int:
    """Print how an order ended, and return the exit status.

    Args:
        session: The session.
        environments: The environments.
        command: The order.
        ending: How it ended; None when it was not waited for.
        as_json: Whether to print JSON.
    """
    if as_json:
        print_json(
            command=command,
            waited=ending is not None,
            success=ending.success if ending is not None else None,
            message=ending.message if ending is not None else None,
            hint=(ending.hint or None) if ending is not None else None,
            supervisor=describe_status(read_status(environments.metadata, session.clock)),
        )
    elif ending is None:
        print_step(f"The supervisor was asked to {command}. Follow it: comfywatchman supervise status")
    else:
        print_step(printable(ending.message), err=not ending.success)
        if ending.hint:
            print_step(ending.hint, err=True)
    return DONE if ending is None else result_code(success=ending.success)
