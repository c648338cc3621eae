"""The pages of the web page and the actions behind its buttons, in the order of the navigation.

To add a page:

1. Write a view in `comfywatchman/app/pages/`: a function that takes a `PageRequest` and returns a frozen dataclass of
   plain values (no HTML, no sentences that a template can make itself). A `Failure` that it raises becomes a page with
   its message, hint and command. Views run in a thread and may block.
2. Write a template in `comfywatchman/web/templates/` that begins with `{% extends 'base.html' %}` and fills
   `{% block body %}`. It gets `view` (what the view returned) and everything that `web.rendering` lists. The templates
   in use show the parts: `icon`, `verdict`, `moment` (a `<time>`), `url` (every link and form action goes through it),
   `live` (a part that refreshes itself), and `action_button`.
3. Add a row to `PAGES`. `{name}` in a path is a part that the view finds in `request.path`.

A button is a form with `method="post"` and `action="{{ url('actions/queue/retry') }}"`. Its function in `app/pages/`
takes an `ActionRequest`, makes the change and returns an `ActionResult`: a sentence, and the page on which it is shown.
Add it to `ACTIONS`. Session, origin, content type and the audit line are checked and written before and after it by
`web.guard_middleware`; nothing that changes anything may be a page. An action that takes longer than a few seconds
starts a background task with `app.tasks.start.start_task` and returns `ActionResult(sentence, f"tasks/{task.id}")`.

A part of a page that refreshes itself is a block at the top level of the template, beside `body`, and is placed by
`{{ live('running', seconds=5) }}` inside `body`. The browser asks for that block alone and sends the tag of what it
has; the answer is 304 while the block is unchanged. Without JavaScript the block is simply part of the page. Give a
block no `<details>` that a person may have opened, and no list whose rows would jump.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from comfywatchman.app.pages import (
    environment,
    home,
    hosts,
    models,
    queue,
    queue_actions,
    server,
    settings,
    tasks,
    workflow_detail,
    workflows,
)
from comfywatchman.app.pages.page_request import ActionRequest, ActionResult, PageRequest


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        path: Its path below the base path, without the leading slash; empty for the home page.
        title: Its title, without that of the program.
        view: Reads what it shows.
        template: The file that renders it.
        label: Its label in the navigation; empty for a page that is not in it.
        has_3d: Whether it may show 3D files, whose viewer needs a content policy of its own.
    """

    path: str
    title: str
    view: Callable[[PageRequest], Any]
    template: str
    label: str = ""
    has_3d: bool = False


@dataclass(frozen=True, slots=True)
class PageAction:
    """One button.

    Attributes:
        path: The path that its form is sent to.
        run: Makes the change.
    """

    path: str
    run: Callable[[ActionRequest], ActionResult]


PAGES: Final = (
    Page("", "Home", home.view_home, "home.html", label="Home"),
    Page("workflows", "Workflows", workflows.view_workflows, "workflows.html", label="Workflows"),
    Page("workflows/{id}", "Workflow", workflow_detail.view_workflow, "workflow.html"),
    Page("queue", "Queue", queue.view_queue, "queue.html", label="Queue"),
    Page("queue/{name}", "Job", queue.view_job, "job.html", has_3d=True),
    Page("models", "Models", models.view_models, "models.html", label="Models"),
    Page("environment", "Environment", environment.view_environment, "environment.html", label="Environment"),
    Page("server", "Server", server.view_server, "server.html", label="Server"),
    Page("server/incidents/{name}", "Incident", server.view_incident, "incident.html"),
    Page("hosts", "Hosts", hosts.view_hosts, "hosts.html", label="Hosts"),
    Page("settings", "Settings", settings.view_settings, "settings.html", label="Settings"),
    Page("tasks", "Tasks", tasks.view_tasks, "tasks.html", label="Tasks"),
    Page("tasks/{id}", "Task", tasks.view_task, "task.html"),
)

ACTIONS: Final = (
    PageAction("check", tasks.start_check),
    PageAction("actions/queue/priority", queue_actions.set_priority),
    PageAction("actions/queue/god-mode", queue_actions.god_mode),
    PageAction("actions/queue/retry", queue_actions.retry),
    PageAction("actions/queue/cancel", queue_actions.cancel),
    PageAction("actions/queue/pause", queue_actions.pause),
    PageAction("actions/queue/resume", queue_actions.resume),
    PageAction("actions/queue/retry-all", queue_actions.retry_all),
    PageAction("actions/queue/cancel-all", queue_actions.cancel_all),
    PageAction("actions/queue/priority-all", queue_actions.set_priority_of_all),
    PageAction("actions/tasks/stop", tasks.stop_background_task),
    PageAction("actions/plan/approve", workflows.approve_plan),
    PageAction("actions/workflows/choose", workflow_detail.choose_model),
    PageAction("actions/models/download", workflow_detail.download_model),
    PageAction("actions/models/search", workflow_detail.search_model),
    PageAction("actions/models/duplicates", models.find_duplicates),
    PageAction("actions/environment/check", environment.check_environment),
    PageAction("actions/environment/promote", environment.promote_transaction),
    PageAction("actions/environment/abort", environment.abort_transaction),
    PageAction("actions/environment/resolve", environment.resolve_transaction),
    PageAction("actions/environment/back", environment.go_back),
    PageAction("actions/environment/undo", environment.undo_operation),
    PageAction("actions/server/restart", server.restart_server),
    PageAction("actions/server/stop", server.stop_server),
    PageAction("actions/server/switch", server.switch_server),
)
