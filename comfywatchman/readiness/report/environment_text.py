"""The state of the Python environment in one line. Pure."""

from __future__ import annotations

from comfywatchman.readiness.status import Environment


def describe_environment(environment: Environment) -> str:
    """Describe the state of the Python environment in one line."""
    if environment.state == "not governed":
        return _describe_not_governed(environment)
    if environment.state == "unknown" and not environment.checks:
        return "not checked yet"
    count = len(environment.checks)
    not_ok = [check.name for check in environment.checks if check.status != "ok"]
    if not_ok:
        return f"{environment.state}: {', '.join(not_ok)} (of {count} checks)"
    return f"{count} check{'s' if count != 1 else ''}, all ok"


def _describe_not_governed(environment: Environment) -> str:
    root, governs = environment.root, environment.governs
    match environment.cause:
        case "other-comfyui":
            return f"not governed: root {root} governs {governs}"
        case "replaced-comfyui":
            return f"not governed: root {root} governs the ComfyUI that was in {governs} before (run gov init)"
        case "not-recorded":
            return f"not governed: root {root} does not record which ComfyUI it governs (run gov init)"
        case _:
            return "not checked: no governed environment (run gov init --adopt)"
