"""`python -m comfywatchman`, and the entry points of all programs."""

import sys


def run() -> None:
    """Start the program."""
    _require_posix()
    try:
        from comfywatchman.cli.main import run as start

        start()
    except KeyboardInterrupt:
        _exit_interrupted()


def run_gov() -> None:
    """Start `gov`, which is `comfywatchman env`."""
    _require_posix()
    try:
        from comfywatchman.cli.main import run_gov as start

        start()
    except KeyboardInterrupt:
        _exit_interrupted()


def run_e3() -> None:
    """Start `e3`, which is `comfywatchman jobs`."""
    _require_posix()
    try:
        from comfywatchman.cli.main import run_e3 as start

        start()
    except KeyboardInterrupt:
        _exit_interrupted()


def _require_posix() -> None:
    """Exit with one sentence on Windows, where files cannot be locked as all commands need it."""
    try:
        import fcntl  # noqa: F401
    except ModuleNotFoundError:
        sys.stderr.write(
            "comfywatchman needs Linux or macOS. On Windows, install it in WSL, "
            "https://learn.microsoft.com/windows/wsl/install, and name ComfyUI by its path there (/mnt/c/...).\n"
        )
        sys.exit(1)


def _exit_interrupted() -> None:
    sys.stderr.write("Interrupted.\n")
    sys.exit(130)


if __name__ == "__main__":
    run()
