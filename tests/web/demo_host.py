"""A host with something on every page of the web page: for pictures of it, and for tests that look at all pages."""

from __future__ import annotations

import os
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import msgspec

from comfywatchman.app.pages.workflow_rows import build_workflow_id
from comfywatchman.app.tasks.records import TaskKind, TaskOrder
from comfywatchman.app.tasks.start import list_tasks
from comfywatchman.base.clock import SystemClock, format_utc
from comfywatchman.base.files import write_atomic
from comfywatchman.base.lock import hold_lock
from comfywatchman.base.state.state_file import write_state
from comfywatchman.jobs.records import AttemptOutcome
from comfywatchman.jobs.store.job_store import JobStore, open_store
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.supervisor.incidents import Incident, MemorySample, record_incident
from comfywatchman.supervisor.memory_file import write_memory
from comfywatchman.supervisor.metadata import create_metadata_folder
from comfywatchman.supervisor.process.child import LOG_NAME
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import LOCK_NAME, SupervisorStatus, write_status
from tests.cli.gov.calls import Gov
from tests.e2e.scenario import Scenario, start_scenario
from tests.governance.contexts import Site as GovernedSite
from tests.jobs.jobs import build_spec, lease, move_clock, start_worker
from tests.supervisor.workspaces import Workspace
from tests.web.site import Site, build_site

INCIDENT = "20261201T091200Z-crash"
LONG_SECONDS = 36_000.0
GIB = 1 << 30
LOG_LINES = (
    "Total VRAM 24564 MB, total RAM 64230 MB",
    "pytorch version: 2.9.1+cu128",
    "Device: cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync",
    "Import times for custom nodes:",
    "   0.1 seconds: custom_nodes/ComfyUI-DepthAnything",
    "   0.4 seconds: custom_nodes/ComfyUI-Impact-Pack",
    "Starting server",
    "To see the GUI go to: http://127.0.0.1:8188",
    "got prompt",
    "Requested to load SDXL",
    "loaded completely 22310.8 4897.0 True",
    "Prompt executed in 6.42 seconds",
)


def build_picture(width: int, height: int, seed: int) -> bytes:
    """Return a PNG picture with soft colours."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            red = 60 + 18 * (seed % 3) + 120 * x // width
            green = 80 + 20 * (seed % 2) + 90 * y // height
            blue = 190 - 24 * (seed % 4) - 60 * (x + y) // (width + height)
            rows += bytes((red, green, blue))

    def build_chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(build_chunk(kind, content) for kind, content in chunks)


def add_workflows(scenario: Scenario) -> None:
    """Add workflows of each verdict, and the files that the model sites have."""
    host = scenario.host
    for name in ("portrait-sdxl", "product-shot", "landscape-wide", "upscale-4x", "avatar-batch", "inpaint-basic"):
        host.write(f"{name}.json")
    scenario.on_civitai("film_grain.safetensors", title="film grain")
    for name in ("cinematic-still", "night-street"):
        host.write(f"{name}.json", lora="film_grain.safetensors")
    url = scenario.on_hugging_face("comfy/vae", "split/sdxl_vae.safetensors")
    scenario.loader("sdxl_vae.safetensors", "VAELoader", declared={"url": url, "directory": "vae"})
    (host.workflows / "sdxl_vae.safetensors.json").rename(host.workflows / "fix-washed-out.json")
    scenario.on_civitai("ink_style.safetensors", title="ink style")
    scenario.on_civitai("ink_style.safetensors", had_as="ink style of another author", title="ink style again")
    host.write("ink-drawing.json", lora="ink_style.safetensors")
    host.write("poster-flux.json", checkpoint="flux1-unpublished.safetensors")
    host.write("half-saved.json", b'{"nodes": [')


def add_jobs(site: Site) -> None:
    """Add jobs in every state: done ones with pictures, failed ones of two causes, one that runs, some that wait."""
    store = site.store
    names = iter(range(1, 100))

    def add(subject: str, **changes: object) -> str:
        name = f"T2I_20261201{90000 + 100 * next(names):06d}_1_{subject}.yaml"
        spec = replace(build_spec(1, **changes), config_name=name, workflow_id="portrait-sdxl", source_sha256=subject)
        store.upsert(spec)
        return name

    worker = start_worker(store, site.host.agent.host, lease_seconds=LONG_SECONDS)

    for number, subject in enumerate(("red-fox", "lighthouse", "tea-house", "old-tram")):
        add(subject)
        folder = site.host.agent.settings.finished / "image" / subject
        folder.mkdir(parents=True)
        picture = build_picture(320, 240, number)
        (folder / f"{subject}.png").write_bytes(picture)
        files = [{"name": f"{subject}.png", "size_bytes": len(picture)}]
        taken = lease(store, worker, lease_seconds=LONG_SECONDS, host=site.host.agent.host)
        move_clock(store, 34 + 11 * number)
        store.complete(taken, AttemptOutcome(True, metadata={"folder": str(folder), "files": files}))
        move_clock(store, 1_500)
    for subject, text in (
        ("harbour", "CUDA out of memory. Tried to allocate 3.20 GiB\nat KSampler, node 3"),
        ("harbour-wide", "CUDA out of memory. Tried to allocate 3.20 GiB\nat KSampler, node 3"),
        ("market", "Value not in list: lora_name: 'grain_v2.safetensors'\nat LoraLoader, node 10"),
    ):
        add(subject, retry_limit=0)
        failed = AttemptOutcome(False, "node-error", text, retryable=False)
        store.complete(lease(store, worker, lease_seconds=LONG_SECONDS, host=site.host.agent.host), failed)
        move_clock(store, 400)
    move_clock(store, 900)
    add("mountain-hut")
    running = lease(store, worker, lease_seconds=LONG_SECONDS, host=site.host.agent.host)
    store.beat(
        worker,
        progress={"running": True, "job": running.job.config_name, "node": "KSampler", "value": 14, "maximum": 30},
    )
    previews = site.host.agent.settings.previews
    assert previews is not None
    write_atomic(previews / f"{running.job.id}.png", build_picture(256, 192, 5))
    for subject in ("winter-garden", "paper-boats", "glass-vase"):
        add(subject)
    add("cover-draft", priority=200)


def add_hosts(store: JobStore, own_host: str) -> None:
    """Add a second host, on which one workflow is not ready."""
    ready = {"portrait-sdxl": True, "upscale-4x": True, "poster-flux": False}
    reasons = {"poster-flux": "flux1-unpublished.safetensors is missing"}
    store.publish_readiness(own_host, ready, reasons)
    start_worker(store, "render-2", lease_seconds=LONG_SECONDS)
    store.publish_readiness("render-2", {**ready, "upscale-4x": False}, {**reasons, "upscale-4x": "2 nodes missing"})


@contextmanager
def supervise(workspace: Workspace) -> Iterator[None]:
    """Let this process be the supervisor of a workspace whose ComfyUI is ready, and has had one crash."""
    clock = SystemClock()
    now = clock.now()
    create_metadata_folder(workspace.metadata)
    log = workspace.metadata / LOG_NAME
    log.write_text("\n".join([*LOG_LINES, ""]))
    curve = (5.1, 5.4, 9.8, 14.2, 14.1, 9.6, 9.5, 15.8, 15.9, 11.0, 10.4, 10.5, 16.2, 16.1, 11.2, 11.1)
    samples = tuple(
        MemorySample(format_utc(now - timedelta(minutes=2 * (len(curve) - n))), int(gib * GIB), int((gib + 2) * GIB))
        for n, gib in enumerate(curve)
    )
    write_memory(workspace.metadata, samples)
    sentence = "ComfyUI ended with signal 11 while a prompt ran. It was started again after 1 s."
    incident = Incident(
        INCIDENT,
        format_utc(now - timedelta(hours=5)),
        "crash",
        "main",
        "crashed",
        sentence,
        exit_status=-11,
        uptime_seconds=7_320.0,
        queue_length=2,
        memory=samples[:8],
    )
    record_incident(workspace.metadata, incident, log, max_incidents=5)
    with hold_lock(workspace.metadata / LOCK_NAME, command="supervise run", clock=clock):
        status = SupervisorStatus(
            SupervisorState.READY,
            format_utc(now),
            format_utc(now - timedelta(hours=3)),
            8188,
            os.getpid(),
            environment="main",
            detail="A test prompt ran 40 s ago.",
            proven_at=format_utc(now),
            pid=os.getpid(),
            queue_length=1,
            starts_in_window=1,
            max_starts=5,
            last_incident=INCIDENT,
            boot_id=clock.boot_id(),
            looked_at_seconds=clock.boottime(),
        )
        has_ended = threading.Event()

        def publish() -> None:
            while True:
                looked = {"looked_at": format_utc(clock.now()), "looked_at_seconds": clock.boottime()}
                write_status(workspace.metadata, msgspec.structs.replace(status, **looked))
                if has_ended.wait(5.0):
                    return

        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            yield
        finally:
            has_ended.set()
            publisher.join()


def govern(governed: GovernedSite) -> dict[str, str]:
    """Promote one node pack, try another one, and return the variables with which the page finds the root."""
    gov = Gov(governed, measures=False)
    for pack, requirement in (("ComfyUI-Impact-Pack", "plainlet"), ("ComfyUI-DepthAnything", "deeplet")):
        gov.pack(pack, requirement)
        result = gov("node", "add", "--adopt", pack)
        assert result.exit_code == 0, result.output
        transaction = gov.json("tx", "run", pack)["txid"]
        if requirement == "plainlet":
            result = gov("tx", "promote", transaction)
            assert result.exit_code == 0, result.output
    assert gov("check").exit_code in (0, 1)
    return {"COMFYWATCHMAN_GOVERNANCE__ROOT": str(governed.root)}


@contextmanager
def build_demo(governed: GovernedSite, set_variables: Callable[[Mapping[str, str]], None]) -> Iterator[Site]:
    """Build the host around a governed root and yield its page.

    Args:
        governed: A governed root as `gov init` leaves it; everything lies in its folder.
        set_variables: Sets environment variables of this process.
    """
    folder = governed.folder
    with ExitStack() as stack:
        main = (governed.comfyui / "main.py").read_bytes()
        scenario = stack.enter_context(start_scenario(folder, empty=True))
        add_workflows(scenario)
        # The trial of a node runs the program that `gov init` has seen.
        (governed.comfyui / "main.py").write_bytes(main)
        workspace = Workspace(folder / "workspace", "main", "testing")
        shutil.rmtree(workspace.comfyui("main"))
        workspace.comfyui("main").symlink_to(governed.comfyui)
        stack.enter_context(supervise(workspace))
        variables = {**scenario.host.variables, **govern(governed)}
        variables["COMFYWATCHMAN_SUPERVISOR__WORKSPACE"] = str(workspace.root)
        set_variables({"HOME": str(folder), "COMFYWATCHMAN_HOME": str(folder / "home"), **variables})
        for _ in range(3):
            result = scenario.host.invoke("--run-cycle")
            assert result.exit_code == 0, result.output
        store = stack.enter_context(open_store(f"sqlite:///{folder / 'jobs.db'}"))
        site = build_site(None, store)
        add_jobs(site)
        add_hosts(store, site.host.agent.host)
        order = TaskOrder(TaskKind.COMPARISON, "comfywatchman duplicates --hash", format_utc(SystemClock().now()))
        write_state(folder / "home" / "state" / "tasks" / "20261201T090000Z-comparison.task.json", order)
        yield site


def list_paths(site: Site) -> tuple[str, ...]:
    """Return the paths of all pages, with those of jobs, workflows, a task, an incident, and a page that is missing."""
    report = site.host.read_master_status()
    assert report is not None
    ready = [entry for entry in report.workflows if entry.status is WorkflowStatus.READY]
    shown = [entry for entry in report.workflows if entry not in ready[1:]]
    workflows = [f"/workflows/{build_workflow_id(entry.path)}" for entry in shown]
    first_of_status = {job.status: job.config_name for job in reversed(site.store.list_jobs())}
    jobs = [f"/queue/{quote(name)}" for name in first_of_status.values()]
    tasks = [f"/tasks/{task.id}" for task in list_tasks(site.host.session)]
    return (*PAGES, f"/server/incidents/{INCIDENT}", *workflows, *jobs, *tasks)


PAGES = (
    "/",
    "/workflows",
    "/queue",
    "/queue?status=running",
    "/queue?status=waiting",
    "/queue?status=failed",
    "/queue?status=done",
    "/models",
    "/environment",
    "/server",
    "/hosts",
    "/hosts?rows=all",
    "/settings",
    "/tasks",
    "/sign-in",
    "/no-such-page",
)
