"""`version init`: git, uv and the first start of a home's ComfyUI."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.app.version_clones import start_once
from comfywatchman.base.config import network_variables
from comfywatchman.base.errors import Failure
from comfywatchman.base.filesystem import can_reflink, find_network_filesystem
from comfywatchman.base.git_clone import Repository, clone_repository
from comfywatchman.governance.nodes.identity import parse_origin
from comfywatchman.governance.store.settings import LinkMode, NetworkTable
from comfywatchman.governance.uv.client import Uv, UvResult, find_uv
from comfywatchman.versions.home import VersionHome
from comfywatchman.versions.initialization import HomeRequest, HomeTools
from comfywatchman.versions.interpreter import read_interpreter
from comfywatchman.versions.package_files import PackageFile, list_package_files
from comfywatchman.versions.torch_builds import CPU, choose_torch_backend, list_excluded_packages

COMFYUI_REPOSITORY: Final = "https://github.com/comfyanonymous/ComfyUI.git"
_GIT_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class HomeOptions:
    """Options of `version init`.

    Attributes:
        python: The interpreter for the environment; None for the one that runs this program.
        network: Where packages come from.
        allow_local: Whether the repository may be a folder of this machine.
        with_start: Whether ComfyUI is started once.
        use_cpu: Whether it is started without the GPU.
    """

    python: Path | None
    network: NetworkTable
    allow_local: bool
    with_start: bool
    use_cpu: bool


def build_home_tools(
    home: VersionHome,
    request: HomeRequest,
    options: HomeOptions,
    *,
    confirm: Callable[[tuple[PackageFile, ...]], None],
    progress: Callable[[str], None],
) -> HomeTools:
    """Build the functions that `version init` needs."""
    network = network_variables()
    is_on_volume = find_network_filesystem(_find_existing(home.root)) is not None
    table = options.network
    if is_on_volume and "UV_CACHE_DIR" not in network:
        table = msgspec.structs.replace(table, cache_dir=str(home.package_cache))
    uv = Uv(find_uv(), network, table, dies_with_us=True)
    backend = choose_torch_backend(request.torch)

    def clone_code(folder: Path) -> str:
        origin = parse_origin(request.repo, allow_local=options.allow_local)
        repository = Repository(origin.url, origin.user, origin.secret, origin.is_local, network)
        return clone_repository(repository, folder, ref=request.ref, timeout_seconds=_GIT_SECONDS, progress=progress)

    def make_environment(folder: Path) -> None:
        python = (options.python or Path(sys.executable)).absolute()
        _check(uv.make_environment(folder, python=python, seed=False), "creating it")

    def list_downloads(environment: Path, requirements: Path) -> tuple[PackageFile, ...]:
        python = environment.absolute() / "bin" / "python"
        with _write_options(request) as (further, overrides):
            files = (requirements, *further)
            result = uv.resolve_files(files, python=python, torch_backend=backend, overrides=overrides)
        _check(result, "looking up its packages")
        return list_package_files(result.output, read_interpreter(python).version)

    def install(environment: Path, requirements: Path) -> None:
        progress("Installing packages")
        mode = choose_home_link_mode(home.root, is_on_volume=is_on_volume)
        with _write_options(request) as (further, overrides):
            result = uv.install_requirements(
                environment, (requirements, *further), link_mode=mode, torch_backend=backend, overrides=overrides
            )
        _check(result, "installing its packages")

    def start(comfyui: Path, environment: Path) -> None:
        use_cpu = options.use_cpu or request.torch == CPU
        start_once(comfyui, environment.absolute() / "bin" / "python", use_cpu=use_cpu)

    return HomeTools(
        clone_code=clone_code,
        make_environment=make_environment,
        list_downloads=list_downloads,
        confirm=confirm,
        install=install,
        start=start if options.with_start else None,
        progress=progress,
    )


def choose_home_link_mode(root: Path, *, is_on_volume: bool) -> LinkMode:
    """Return how packages come from uv's cache.

    Never as hard links: a node pack that patches an installed package would change the cache with it. Network
    filesystems are not asked for reflinks, which some accept and carry out as a slow copy.
    """
    return "clone" if not is_on_volume and can_reflink(root) else "copy"


def _find_existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


@contextmanager
def _write_options(request: HomeRequest) -> Iterator[tuple[tuple[Path, ...], Path | None]]:
    """Yield requirements files beside ComfyUI's own, and a file of overrides that leaves packages out, or None."""
    excluded = list_excluded_packages(request.torch)
    with tempfile.TemporaryDirectory(prefix="comfywatchman-requirements-") as name:
        further, overrides = Path(name) / "further.txt", Path(name) / "overrides.txt"
        further.write_text("".join(f"{line}\n" for line in request.further), "utf-8")
        # A marker that is never true removes the requirement; uv's own option for it came later than uv 0.9.
        overrides.write_text("".join(f'{package} ; python_version < "0"\n' for package in excluded), "utf-8")
        yield ((further,) if request.further else ()), (overrides if excluded else None)


def _check(result: UvResult, step: str) -> None:
    if not result.is_success:
        raise Failure(
            "version-environment-failed",
            f"The Python environment failed at {step}: {result.error_summary}",
            hint="--torch index takes torch from the package index; other packages need --index or --find-links.",
        )
