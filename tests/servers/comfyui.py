"""A ComfyUI that computes nothing and misbehaves on demand: real HTTP and WebSocket on 127.0.0.1.

It follows `server.py` and `execution.py` of ComfyUI: one prompt thread, a queue ordered by number, a history in memory,
events published by one thread to one client after the other. Tests with a real ComfyUI check the same contract.

    python -m tests.servers.comfyui --port=8188 [--fault NAME[=VALUE]]...
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import queue
import socket
import sys
import threading
import time
import uuid
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from websockets.frames import Frame, Opcode

from tests.servers.comfyui_files import FakeFiles
from tests.servers.comfyui_http import FakeHttpServer, Faults

CLASSES: Final = ("EmptyImage", "ImageBlur", "PreviewAny", "PreviewImage", "SaveImage", "TestSleep", "TestFail")
_OUTPUT_CLASSES: Final = frozenset({"PreviewAny", "PreviewImage", "SaveImage", "TestSleep", "TestFail"})
_MAX_HISTORY: Final = 10_000


class FakeComfyUI:
    """The server, used as a context manager.

    Attributes:
        faults: What it does wrong.
        requests: Method and path of each request, in order.
        heard: What clients sent over their WebSockets.
        submitted: The prompts that were accepted, in order.
        ran: Ids of the prompts that ran to their end or failed, in order.
        files: What `/view` serves, by file name.
        stored: The input folder, and the cache.
    """

    def __init__(self, faults: Faults | None = None, *, port: int = 0) -> None:
        self.faults = faults or Faults()
        self.requests: list[tuple[str, str]] = []
        self.heard: list[bytes] = []
        self.submitted: list[dict[str, Any]] = []
        self.ran: list[str] = []
        self.files: dict[str, bytes] = {}
        self.stored = FakeFiles()
        self.leave = threading.Event()
        self._mutex = threading.Condition()
        self._pending: list[tuple[float, str, Any, dict[str, Any], list[str]]] = []
        self._running: tuple[float, str, Any, dict[str, Any], list[str]] | None = None
        self._history: dict[str, Any] = {}
        self._must_free = False
        self._counter = itertools.count()
        self._interrupt = threading.Event()
        self._sockets: dict[str, socket.socket] = {}
        self._connections: set[socket.socket] = set()
        self._messages: queue.SimpleQueue[tuple[str | None, Frame] | None] = queue.SimpleQueue()
        self._server = FakeHttpServer(port, self)
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True),
            threading.Thread(target=self._work, daemon=True),
            threading.Thread(target=self._publish, daemon=True),
        ]

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave.set()
        self._interrupt.set()
        self._messages.put(None)
        self.close_sockets()
        with self._mutex:
            self._mutex.notify_all()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(5)

    # What a test looks at and does.

    @property
    def history(self) -> dict[str, Any]:
        with self._mutex:
            return dict(self._history)

    @property
    def queued(self) -> list[str]:
        with self._mutex:
            running = [self._running[1]] if self._running else []
            return [*running, *(item[1] for item in sorted(self._pending))]

    @property
    def clients(self) -> list[str]:
        return list(self._sockets)

    @property
    def running_id(self) -> str | None:
        with self._mutex:
            return None if self._running is None else self._running[1]

    def wake(self) -> None:
        """Let the prompt thread look at the queue again."""
        with self._mutex:
            self._mutex.notify_all()

    def forget(self) -> None:
        """Lose queue and history, as a restart does."""
        with self._mutex:
            self._pending.clear()
            self._history.clear()

    def close_sockets(self) -> None:
        """Close all WebSockets without a close frame, as the end of the process does."""
        # Also those that a later connection with the same id has replaced.
        for client in list(self._connections):
            self._connections.discard(client)
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def send(self, kind: str, data: object, sid: str | None = None) -> None:
        text = json.dumps({"type": kind, "data": data}).encode()
        self._messages.put((sid, Frame(Opcode.TEXT, text)))

    def send_bytes(self, content: bytes, sid: str | None = None) -> None:
        self._messages.put((sid, Frame(Opcode.BINARY, content)))

    # The prompt thread.

    def _work(self) -> None:
        while not self.leave.is_set():
            with self._mutex:
                self._mutex.wait_for(lambda: self.leave.is_set() or (self._pending and not self.faults.dead_worker))
                if self.leave.is_set():
                    return
                item = self._running = heapq.heappop(self._pending)
            self._run(item)

    def _run(self, item: tuple[float, str, Any, dict[str, Any], list[str]]) -> None:
        _number, prompt_id, prompt, extra, targets = item
        sid = extra.get("client_id")
        self._interrupt.clear()
        if self.faults.closes_sockets:
            self.close_sockets()
            # What follows would have gone to the closed connection, not to one that the client opens meanwhile.
            sid = f"{sid} (closed)"
        self._event("execution_start", {"prompt_id": prompt_id}, sid)
        unchanged = self.stored.list_cached(prompt) if self.faults.cache != "off" else []
        cached_nodes = {"prompt_id": prompt_id, "nodes": unchanged}
        self._event("execution_cached", cached_nodes, sid)
        messages: list[Any] = [["execution_start", {"prompt_id": prompt_id}], ["execution_cached", cached_nodes]]
        outputs: dict[str, Any] = {}
        ending = "execution_success"
        facts: dict[str, Any] = {"prompt_id": prompt_id}
        for node_id in sorted(prompt):
            self._event("executing", {"prompt_id": prompt_id, "node": node_id}, sid)
            progress = {node_id: {"value": 1, "max": 2, "state": "running"}}
            self._event("progress_state", {"prompt_id": prompt_id, "nodes": progress}, sid)
            cached = self.stored.find_cached(prompt, node_id) if self.faults.cache != "off" else None
            if cached is not None:
                if node_id in targets and self.faults.cache == "old":
                    outputs[node_id] = cached
                continue
            ending, more = self._run_node(node_id, prompt[node_id])
            if ending == "execution_success":
                self.stored.remember(prompt, node_id, more)
            if ending != "execution_success":
                facts |= more
                break
            if node_id in targets:
                outputs[node_id] = more
                self._event("executed", {"prompt_id": prompt_id, "node": node_id, "output": more}, sid)
        self._event(ending, facts, sid)
        status = "success" if ending == "execution_success" else "error"
        entry = {
            "prompt": list(item),
            "outputs": outputs,
            "status": {
                "status_str": status,
                "completed": status == "success",
                "messages": [*messages, [ending, facts]],
            },
        }
        with self._mutex:
            if self._must_free:
                self._must_free = False
                self.stored.forget()
            self._running = None
            self.ran.append(prompt_id)
            if not self.faults.no_history:
                self._history[prompt_id] = entry
        self._send_status()
        self._event("executing", {"prompt_id": prompt_id, "node": None}, sid)

    def _run_node(self, node_id: str, node: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        inputs = node["inputs"]
        if node["class_type"] == "TestSleep":
            end = time.monotonic() + inputs["seconds"]
            while time.monotonic() < end and not self._interrupt.wait(min(0.01, inputs["seconds"])):
                pass
        if self._interrupt.is_set():
            return "execution_interrupted", {"node_id": node_id, "node_type": node["class_type"]}
        if node["class_type"] == "TestFail":
            return "execution_error", {
                "node_id": node_id,
                "node_type": "TestFail",
                "exception_type": "RuntimeError",
                "exception_message": "made to fail\n",
            }
        if node["class_type"] in {"SaveImage", "PreviewImage"}:
            kind = "output" if node["class_type"] == "SaveImage" else "temp"
            name = f"{inputs.get('filename_prefix', 'made')}_00001_.png"
            self.files[name] = b"\x89PNG made"
            return "execution_success", {"images": [{"filename": name, "subfolder": "", "type": kind}]}
        return "execution_success", {"text": [str(inputs.get("source", ""))]}

    def _event(self, kind: str, data: object, sid: str | None) -> None:
        if not self.faults.no_events and kind not in self.faults.silent_kinds:
            self.send(kind, data, sid)

    # Events, sent to one client after the other: one that does not read stops all others.

    def _publish(self) -> None:
        while (message := self._messages.get()) is not None:
            sid, frame = message
            for target_sid, target in list(self._sockets.items()):
                if sid in {None, target_sid}:
                    with suppress(OSError):
                        target.sendall(frame.serialize(mask=False))

    def _send_status(self) -> None:
        self.send("status", {"status": {"exec_info": {"queue_remaining": len(self.queued)}}})

    def register(self, sid: str, client: socket.socket) -> None:
        self._sockets[sid] = client
        self._connections.add(client)
        # The first message does not go through the queue.
        status = {"status": {"exec_info": {"queue_remaining": len(self.queued)}}, "sid": sid}
        text = json.dumps({"type": "status", "data": status}).encode()
        client.sendall(Frame(Opcode.TEXT, text).serialize(mask=False))

    def unregister(self, sid: str) -> None:
        # As ComfyUI does: whichever connection has the id now.
        self._sockets.pop(sid, None)

    # Requests, as `FakeServer.answer` describes.

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        parts = path.removeprefix("/api").strip("/").split("/")
        if parts[0] == "jobs":
            return self._answer_jobs(method, parts[1:])
        handlers = {
            ("GET", "system_stats"): self._get_system_stats,
            ("GET", "prompt"): lambda _arguments: (200, {"exec_info": {"queue_remaining": len(self.queued)}}),
            ("GET", "object_info"): lambda _arguments: (
                200,
                {name: {} for name in CLASSES if name in {*parts[1:]} or not parts[1:]},
            ),
            ("GET", "queue"): self._get_queue,
            ("GET", "history"): lambda _arguments: (200, self._get_history(parts[1:], query)),
            ("GET", "view"): lambda _arguments: self._get_file(query),
            ("POST", "prompt"): self._post_prompt,
            ("POST", "upload"): self._post_upload,
            ("POST", "queue"): self._post_queue,
            ("POST", "history"): self._post_history,
            ("POST", "interrupt"): self._post_interrupt,
            ("POST", "free"): self._post_free,
        }
        handler = handlers.get((method, parts[0]))
        return (404, "404: Not Found") if handler is None else handler(body)

    def _get_system_stats(self, _body: Any) -> tuple[int, Any]:
        device = {"name": self.faults.device, "type": self.faults.device, "index": 0, "vram_total": 8, "vram_free": 4}
        system = {"comfyui_version": "0.33.0", "argv": sys.argv, "ram_total": 16, "ram_free": 8}
        return 200, {"system": system, "devices": [device]}

    def _post_free(self, _body: Any) -> tuple[int, Any]:
        with self._mutex:
            self._must_free = self.faults.frees_late
            if not self._must_free:
                self.stored.forget()
        return 200, None

    def _get_queue(self, _body: Any) -> tuple[int, Any]:
        with self._mutex:
            running = [self._running] if self._running else []
            return 200, {"queue_running": running, "queue_pending": list(self._pending)}

    def _get_history(self, ids: list[str], query: dict[str, list[str]]) -> dict[str, Any]:
        history = self.history
        if ids:
            return {key: entry for key, entry in history.items() if key == ids[0]}
        newest = int(query.get("max_items", [str(_MAX_HISTORY)])[0])
        return dict(list(history.items())[-newest:])

    def _get_file(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        content = self.files.get(query.get("filename", [""])[0])
        return (404, "404: Not Found") if content is None else (200, content)

    def _post_prompt(self, body: Any) -> tuple[int, Any]:
        prompt = body["prompt"]
        for node in prompt.values():
            if node["class_type"] not in CLASSES:
                message = f"Cannot execute because node {node['class_type']} does not exist."
                error = {"type": "invalid_prompt", "message": message, "details": "", "extra_info": {}}
                return 400, {"error": error, "node_errors": {}}
        targets = [node_id for node_id, node in prompt.items() if node["class_type"] in _OUTPUT_CLASSES]
        if not targets:
            return 400, {"error": {"type": "prompt_no_outputs", "message": "Prompt has no outputs"}, "node_errors": {}}
        number = float(body["number"]) if "number" in body else next(self._counter) * (-1 if body.get("front") else 1)
        prompt_id = body.get("prompt_id", str(uuid.uuid4()))
        if self.faults.renames_prompts:
            prompt_id = str(uuid.uuid4())
        extra = dict(body.get("extra_data", {}))
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        with self._mutex:
            self.submitted.append(prompt)
            heapq.heappush(self._pending, (number, prompt_id, prompt, extra, targets))
            self._mutex.notify_all()
        self._send_status()
        errors = {"99": {"errors": [{"type": "value_not_in_list"}]}} if self.faults.drops_outputs else {}
        return 200, {"prompt_id": prompt_id, "number": number, "node_errors": errors}

    def _post_upload(self, body: Any) -> tuple[int, Any]:
        return (413, "413: Payload Too Large") if self.faults.refuses_uploads else self.stored.upload(body)

    def _post_queue(self, body: Any) -> tuple[int, Any]:
        for prompt_id in body.get("delete", []):
            self._dequeue(prompt_id)
        return 200, None

    def _post_history(self, body: Any) -> tuple[int, Any]:
        with self._mutex:
            for prompt_id in body.get("delete", []):
                self._history.pop(prompt_id, None)
        return 200, None

    def _post_interrupt(self, body: Any) -> tuple[int, Any]:
        wanted = (body or {}).get("prompt_id")
        with self._mutex:
            if self._running is not None and wanted in {None, self._running[1]}:
                self._set_interrupt()
        return 200, None

    def _set_interrupt(self) -> None:
        if self.faults.ignored_interrupts:
            self.faults.ignored_interrupts -= 1
        else:
            self._interrupt.set()

    def _dequeue(self, prompt_id: str) -> bool:
        with self._mutex:
            kept = [item for item in self._pending if item[1] != prompt_id]
            is_found = len(kept) < len(self._pending)
            self._pending = kept
            heapq.heapify(self._pending)
        self._send_status()
        return is_found

    def _answer_jobs(self, method: str, rest: list[str]) -> tuple[int, Any]:
        if self.faults.no_jobs_api:
            return (404, "404: Not Found") if method == "GET" else (405, "405: Method Not Allowed")
        if method == "GET" and not rest:
            return (500, "500 Internal Server Error") if self.faults.poisoned_jobs else (200, {"jobs": []})
        if method == "GET":
            return self._get_job(rest[0])
        if rest[-1] != "cancel" or self.faults.no_cancel_route:
            return 405, "405: Method Not Allowed"
        if self._dequeue(rest[0]):
            return 200, {"cancelled": True}
        with self._mutex:
            is_running = self._running is not None and self._running[1] == rest[0]
            if is_running:
                self._set_interrupt()
        return 200, {"cancelled": is_running}

    def _get_job(self, prompt_id: str) -> tuple[int, Any]:
        if self.faults.poisoned_job:
            return 500, "500 Internal Server Error\n\nServer got itself in trouble"
        with self._mutex:
            if self._running is not None and self._running[1] == prompt_id:
                return 200, {"id": prompt_id, "status": "in_progress"}
            if any(item[1] == prompt_id for item in self._pending):
                return 200, {"id": prompt_id, "status": "pending"}
            if prompt_id in self._history:
                return 200, {"id": prompt_id, "status": "completed"}
        return 404, {"error": "Job not found"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a ComfyUI that misbehaves on demand.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fault", action="append", default=[], help="a field of Faults, or NAME=VALUE as JSON")
    options, _others = parser.parse_known_args()
    faults = Faults()
    for fault in options.fault:
        name, _, value = fault.partition("=")
        parsed = json.loads(value) if value else True
        setattr(faults, name, set(parsed) if isinstance(parsed, list) else parsed)
    with FakeComfyUI(faults, port=options.port) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.leave.wait()


if __name__ == "__main__":
    main()
