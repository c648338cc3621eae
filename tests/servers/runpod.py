"""The job interface of RunPod's serverless endpoints on 127.0.0.1, as its worker package 1.12 calls it."""

from __future__ import annotations

import json
import queue
from collections import defaultdict
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.servers.base import Asked, LocalServer, Reply

_POLL_SECONDS = 0.5


class RunPodServer(LocalServer):
    """One endpoint with one worker.

    Attributes:
        jobs: The jobs that wait.
        stops: The ids of jobs that the worker is to stop.
        posts: What the worker sent for each job, in order.
        results: The results of jobs that have ended, one after the other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.jobs: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stops: queue.Queue[str] = queue.Queue()
        self.posts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.results: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    @property
    def variables(self) -> dict[str, str]:
        """The variables of a worker of the endpoint."""
        base = f"{self.url}/v2/endpoint"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID",
            "RUNPOD_POD_ID": "worker",
            "RUNPOD_AI_API_KEY": "key",
            # They ask for a GPU and for hosts outside this machine.
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }

    def answer(self, asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:  # noqa: ARG002 - the base class's signature
        self.asked.append(asked)
        parts = urlsplit(asked.path).path.split("/")
        action = parts[3] if len(parts) > 3 else ""
        if action == "job-take":
            return self._give(self.jobs, lambda job: job)
        if action == "job-stop":
            return self._give(self.stops, lambda job_id: {"jobsToStop": [job_id]})
        if action == "job-done":
            content = json.loads(asked.body)
            self.posts[parts[-1]].append(content)
            if content.get("status") != "IN_PROGRESS":
                self.results.put((parts[-1], content))
        return _reply({})

    def _give(self, source: queue.Queue[Any], build: Any) -> Reply:
        try:
            return _reply(build(source.get(timeout=_POLL_SECONDS)))
        except queue.Empty:
            return Reply(status=204)


def _reply(content: object) -> Reply:
    return Reply(json.dumps(content).encode(), 200, {"content-type": "application/json"})
