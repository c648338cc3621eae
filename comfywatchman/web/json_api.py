"""The JSON API of the queue, with its OpenAPI description at `/api/openapi.json`."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from comfywatchman import __version__
from comfywatchman.app import queue_api
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import MAX_PRIORITY, MIN_PRIORITY, Actor, Interface, JobStatus
from comfywatchman.web.failure_status import find_status


class PriorityChange(BaseModel):
    """The body of a change of priority."""

    model_config = ConfigDict(extra="forbid", strict=True)

    priority: int = Field(ge=MIN_PRIORITY, le=MAX_PRIORITY, description="1 runs first, 999 last.")


class ApiError(BaseModel):
    """The body of every refused request."""

    code: str
    message: str
    hint: str | None = None


class HealthAnswer(BaseModel):
    """The body of `/health`."""

    status: str
    version: str


class JobList(BaseModel):
    """The body of `/api/queue`."""

    jobs: list[dict[str, Any]]


# PostgreSQL refuses zero bytes.
NO_ZERO_BYTE: Final = r"^[^\x00]*$"
JobName = Annotated[
    str,
    Path(min_length=1, max_length=300, pattern=NO_ZERO_BYTE, description="The name of the job, with or without .yaml."),
]

Responses = dict[int | str, dict[str, Any]]

_ERRORS: Final[Responses] = {
    401: {"model": ApiError, "description": "The request carries neither the session cookie nor the token."},
    403: {"model": ApiError, "description": "Another site sent the request."},
    413: {"description": "The body is too large, or its size is not stated."},
    415: {"model": ApiError, "description": "The body is not JSON."},
    421: {"model": ApiError, "description": "The Host header names no address of this server."},
    503: {"model": ApiError, "description": "The queue cannot be used at present."},
}
_UNKNOWN: Final[Responses] = {404: {"model": ApiError, "description": "There is no job of that name."}}
_CONFLICT: Final[Responses] = {409: {"model": ApiError, "description": "The status of the job does not allow it."}}


def build_api(host: PageHost) -> FastAPI:
    """Return the application of the API.

    Args:
        host: The host whose queue is shown and changed.
    """
    api = FastAPI(
        title="comfywatchman",
        version=__version__,
        description="The queue of jobs. Changes need the token (`Authorization: Bearer …`) or the session of the page.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses={status: dict(text) for status, text in _ERRORS.items()},
    )
    api.add_exception_handler(Failure, _answer_failure)
    _add_reading(api, host)
    _add_changes(api, host)
    return api


def _add_reading(api: FastAPI, host: PageHost) -> None:
    @api.get("/health")
    def health() -> HealthAnswer:
        """Return that the server answers."""
        return HealthAnswer(status="ok", version=__version__)

    @api.get("/api/queue")
    def list_queue(
        status: JobStatus | None = None,
        text: Annotated[str, Query(max_length=200, pattern=NO_ZERO_BYTE)] = "",
        limit: Annotated[int, Query(ge=1, le=queue_api.MAX_LISTED)] = 100,
    ) -> JobList:
        """Return jobs in the order in which they run."""
        wanted = None if status is None else status.value
        return JobList(jobs=queue_api.list_queue(host.store, wanted, limit=limit, text=text))

    @api.get("/api/queue/{name}", responses=_UNKNOWN)
    def job_details(name: JobName) -> dict[str, Any]:
        """Return a job with its runs, errors and changes."""
        return queue_api.job_details(host.store, name)

    @api.get("/api/stats")
    def stats() -> dict[str, Any]:
        """Return the figures of the queue."""
        return queue_api.count_queue(host.store, pending_warning=host.agent.settings.pending_warning)


def _add_changes(api: FastAPI, host: PageHost) -> None:
    @api.put("/api/queue/{name}/priority", responses=_UNKNOWN)
    def set_priority(name: JobName, change: PriorityChange, request: Request) -> dict[str, Any]:
        """Set the priority of a job, from 1 (first) to 999 (last)."""
        return queue_api.set_priority(host.store, name, change.priority, actor=_find_actor(request))

    @api.post("/api/queue/{name}/retry", responses={**_UNKNOWN, **_CONFLICT})
    def retry(name: JobName, request: Request) -> dict[str, Any]:
        """Queue a failed job again; one that waits already stays as it is."""
        return queue_api.retry_job(host.store, name, actor=_find_actor(request))

    @api.post("/api/queue/{name}/god-mode", responses=_UNKNOWN)
    def god_mode(name: JobName, request: Request) -> dict[str, Any]:
        """Put a job first: priority 1."""
        return queue_api.god_mode(host.store, name, actor=_find_actor(request))


def _find_actor(request: Request) -> Actor:
    return Actor(f"api {request.client.host if request.client else 'unknown'}", Interface.API)


def _answer_failure(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, Failure):
        raise error
    body = {"code": error.code, "message": error.message, "hint": error.hint}
    return JSONResponse(body, find_status(error.code))
