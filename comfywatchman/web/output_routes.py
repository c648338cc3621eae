"""The routes of outputs and previews of jobs, which pages show as pictures, videos, sounds and 3D models."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from comfywatchman.app.pages.outputs import find_job_preview, find_output
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.base.errors import Failure
from comfywatchman.web.failure_status import find_status

FILE_POLICY: Final = "default-src 'none'; sandbox"
"""Nothing in a file runs, even where a browser opens it by itself."""


def build_output_routes(host: PageHost) -> list[Route]:
    """Return the routes `/outputs/JOB/FILE` and `/previews/JOB`."""

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
            headers={"Content-Security-Policy": FILE_POLICY},
        )

    async def send_preview(request: Request) -> Response:
        try:
            file = await run_in_threadpool(find_job_preview, host, request.path_params["job"])
            content = await run_in_threadpool(file.path.read_bytes)
        except Failure as failure:
            return PlainTextResponse(failure.message, find_status(failure.code))
        except OSError:
            # The job ended meanwhile.
            return PlainTextResponse("The preview is gone.", HTTPStatus.NOT_FOUND)
        headers = {"Content-Security-Policy": FILE_POLICY, "Cache-Control": "no-store"}
        return Response(content, media_type=file.media_type, headers=headers)

    return [
        Route("/outputs/{job}/{name}", send, methods=["GET"]),
        Route("/previews/{job}", send_preview, methods=["GET"]),
    ]
