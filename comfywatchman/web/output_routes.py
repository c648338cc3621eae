"""The route of the outputs of jobs, which pages show as pictures, videos, sounds and 3D models."""

from __future__ import annotations

from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from comfywatchman.app.pages.outputs import find_output
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.base.errors import Failure
from comfywatchman.web.failure_status import find_status


def build_output_route(host: PageHost) -> Route:
    """Return the route `/outputs/JOB/FILE`."""

    async def send(request: Request) -> Response:
        job, name = request.path_params["job"], request.path_params["name"]
        try:
            file = await run_in_threadpool(find_output, host, job, name)
        except Failure as failure:
            return PlainTextResponse(failure.message, find_status(failure.code))
        disposition = "inline" if file.is_shown else "attachment"
        return FileResponse(
            file.path,
            HTTPStatus.OK,
            media_type=file.media_type,
            filename=name,
            content_disposition_type=disposition,
            # Nothing in an output runs, even where a browser opens it by itself.
            headers={"Content-Security-Policy": "default-src 'none'; sandbox"},
        )

    return Route("/outputs/{job}/{name}", send, methods=["GET"])
