"""`python -m comfywatchman`, and the entry points of all programs."""

import sys


def run() -> None:
    """Start the program."""
    try:
        from comfywatchman.cli.main import run as start

        start()
    except KeyboardInterrupt:
        _exit_interrupted()


def run_gov() -> None:
    """Start `gov`, which is `comfywatchman env`."""
    try:
        from comfywatchman.cli.main import run_gov as start

        start()
    except KeyboardInterrupt:
        _exit_interrupted()


def run_e3() -> None:
    """Start `e3`, which is `comfywatchman jobs`."""
    try:
        from comfywatchman.cli.main import run_e3 as start

        start()
    except KeyboardInterrupt:
        _exit_interrupted()


def _exit_interrupted() -> None:
    sys.stderr.write("Interrupted.\n")
    sys.exit(130)


if __name__ == "__main__":
    run()
