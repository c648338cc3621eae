"""What a download costs beside curl: the same bytes from the same server on this machine, in turns.

    python benchmarks/downloads.py [--mib 1024] [--files 200] [--rounds 5] [--cap 10] [--folder FOLDER] [--json FILE]

One large file, many small ones, and one large file from a server that caps the speed of each connection, beside
`aria2c -x8` where that is installed. curl only writes bytes; comfywatchman also hashes them, flushes them to the disk
and looks at the header before the file gets its name. "curl and the rest" is what curl costs with `sha256sum` and
`sync` of the file after it. Each figure is the median of its rounds; every other round begins with the other program.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve()
_BLOCK: Final = 1 << 20


def serve(folder: Path, cap_mib: float) -> None:
    """Serve the files of a folder with sendfile, one process for each connection, until killed.

    Args:
        folder: The files.
        cap_mib: Speed limit of each connection in MiB/s, with ranges; 0 for none, and no ranges.
    """
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listening.getsockname()[1], flush=True)
    while True:
        peer, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _serve_one(peer, folder, cap_mib)
            os._exit(0)
        peer.close()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def _serve_one(peer: socket.socket, folder: Path, cap_mib: float) -> None:
    stream = peer.makefile("rb")
    while first := stream.readline():
        wanted = ""
        while line := stream.readline().strip():
            if line.lower().startswith(b"range: bytes="):
                wanted = line.decode().partition("=")[2]
        if cap_mib:
            _serve_capped(peer, folder / first.split()[1].decode().lstrip("/"), wanted, cap_mib)
            continue
        path = folder / first.split()[1].decode().lstrip("/")
        size = path.stat().st_size
        head = f'HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: "{size}"\r\n\r\n'
        with path.open("rb") as content:
            peer.sendall(head.encode(), socket.MSG_MORE)
            peer.sendfile(content)


def _serve_capped(peer: socket.socket, path: Path, wanted: str, cap_mib: float) -> None:
    size = path.stat().st_size
    start, _, end = wanted.partition("-")
    first, last = int(start or 0), int(end or size - 1)
    status = f"206 Partial Content\r\nContent-Range: bytes {first}-{last}/{size}" if wanted else "200 OK"
    length = last - first + 1
    head = f'HTTP/1.1 {status}\r\nContent-Length: {length}\r\nAccept-Ranges: bytes\r\nETag: "{size}"\r\n\r\n'
    peer.sendall(head.encode())
    began = time.perf_counter()
    sent = 0
    with path.open("rb") as content:
        content.seek(first)
        while sent < length:
            block = content.read(min(_BLOCK // 16, length - sent))
            try:
                peer.sendall(block)
            except OSError:
                os._exit(0)
            sent += len(block)
            time.sleep(max(0.0, sent / (cap_mib * _BLOCK) - (time.perf_counter() - began)))


def write_model(path: Path, size: int) -> None:
    """Write a safetensors file of about that size with random bytes."""
    header = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    block = os.urandom(_BLOCK)
    with path.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        for _ in range(size // _BLOCK):
            stream.write(block)
        stream.write(block[: size % _BLOCK])


def fetch_with_us(
    port: int, source: Path, target: Path, names: list[str], parallel: int, *, connections: int = 8
) -> float:
    """Fetch files with the parts of the program that fetch, in this process; return the seconds."""
    from concurrent.futures import ThreadPoolExecutor
    from datetime import UTC, datetime

    from comfywatchman.base.stream import ConnectionPool
    from comfywatchman.readiness.downloads.pickles import build_file_check
    from comfywatchman.sources.download.attempt import Downloader
    from comfywatchman.sources.download.fetch import download_file
    from comfywatchman.sources.download.limits import Bandwidth, DiskReservation, DownloadLimits
    from comfywatchman.sources.download.redirects import HostPolicy
    from comfywatchman.sources.download.retry import RetryPolicy
    from comfywatchman.sources.download.target import DownloadRequest

    hosts = frozenset({f"127.0.0.1:{port}"})
    hashes = {name: (source / f"{name}.sha256").read_text() for name in names}
    limits = DownloadLimits(
        lambda _: False, Bandwidth(0, time.monotonic), DiskReservation(0), lambda _h, _t: None, time.monotonic
    )
    folder = os.open(target, os.O_RDONLY)
    began = time.perf_counter()
    with (
        ConnectionPool(stall_seconds=30, may_be_private=hosts.__contains__) as pool,
        ThreadPoolExecutor(parallel) as threads,
    ):
        downloader = Downloader(
            pool, HostPolicy(local_hosts=hosts), RetryPolicy(connections=connections), limits, lambda: datetime.now(UTC)
        )
        check = build_file_check(allow_pickle=False)

        def fetch(name: str) -> None:
            size = (source / name).stat().st_size
            request = DownloadRequest(name, f"http://127.0.0.1:{port}/{name}", size, hashes[name])
            download_file(request, folder, downloader, check=check, boot_id="")

        list(threads.map(fetch, names))
    seconds = time.perf_counter() - began
    os.close(folder)
    return seconds


def fetch_with_curl(port: int, target: Path, names: list[str], parallel: int) -> float:
    """Fetch files with curl; return the seconds."""
    urls = [part for name in names for part in ("-o", str(target / name), f"http://127.0.0.1:{port}/{name}")]
    many = ["-Z", "--parallel-max", str(parallel)] if len(names) > 1 else []
    began = time.perf_counter()
    subprocess.run(["curl", "-s", "-f", *many, *urls], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def curl_and_the_rest(port: int, target: Path, names: list[str], parallel: int) -> float:
    """Fetch files with curl, then do with other programs what comfywatchman does at once."""
    seconds = fetch_with_curl(port, target, names, parallel)
    paths = [str(target / name) for name in names]
    began = time.perf_counter()
    subprocess.run(["sha256sum", *paths], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["sync", *paths], check=True)
    return seconds + time.perf_counter() - began


def compare(names: list[str], source: Path, place: Path, port: int, *, rounds: int, parallel: int) -> dict[str, float]:
    """Return the median seconds of each way, and their ratios."""
    ways: dict[str, Callable[[Path], float]] = {
        "comfywatchman": lambda target: fetch_with_us(port, source, target, names, parallel),
        "curl": lambda target: fetch_with_curl(port, target, names, parallel),
        "curl and the rest": lambda target: curl_and_the_rest(port, target, names, parallel),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in list(ways) if number % 2 else list(reversed(ways)):
            target = place / "target"
            target.mkdir()
            seconds[way].append(ways[way](target))
            shutil.rmtree(target)
            os.sync()
    found = {way: statistics.median(taken) for way, taken in seconds.items()}
    ours = found["comfywatchman"]
    return found | {"ratio to curl": ours / found["curl"], "ratio to the rest": ours / found["curl and the rest"]}


def compare_capped(name: str, source: Path, place: Path, cap_mib: float) -> dict[str, float]:
    """Return the seconds for one file from a server that caps each connection, and the ratio to aria2."""
    command = [sys.executable, str(HERE), "--serve", str(source), "--cap", str(cap_mib)]
    target = place / "capped"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        found: dict[str, float] = {}
        for way in ("comfywatchman", "one connection", "aria2c -x8"):
            target.mkdir()
            if way == "aria2c -x8":
                if shutil.which("aria2c") is None:
                    break
                url = f"http://127.0.0.1:{port}/{name}"
                began = time.perf_counter()
                options = ["-q", "-x8", "-s8", "-k1M", "--file-allocation=none", "-d", str(target)]
                subprocess.run(["aria2c", *options, url], check=True)
                found[way] = time.perf_counter() - began
            else:
                connections = 8 if way == "comfywatchman" else 1
                found[way] = fetch_with_us(port, source, target, [name], 1, connections=connections)
            shutil.rmtree(target)
        server.kill()
    if "aria2c -x8" in found:
        found["ratio to aria2"] = found["comfywatchman"] / found["aria2c -x8"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="size of the large file")
    parser.add_argument("--files", type=int, default=200, help="how many small files of 256 KiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--cap", type=float, default=10.0, help="speed of each capped connection, in MiB/s; 0: skip it")
    parser.add_argument("--folder", type=Path, help="where to work, e.g. on a tmpfs")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.cap)
    sys.path.insert(0, str(HERE.parents[1]))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        place = Path(name)
        source = place / "source"
        source.mkdir()
        sizes = {"large.safetensors": options.mib << 20}
        sizes |= {f"small{number}.safetensors": 256 << 10 for number in range(options.files)}
        for file, size in sizes.items():
            write_model(source / file, size)
            with (source / file).open("rb") as content:
                (source / f"{file}.sha256").write_text(hashlib.file_digest(content, "sha256").hexdigest())
        command = [sys.executable, str(HERE), "--serve", str(source), "--cap", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            large, *small = sizes
            figures = {
                f"one file of {options.mib} MiB": compare(
                    [large], source, place, port, rounds=options.rounds, parallel=1
                ),
                f"{options.files} files of 256 KiB, {options.parallel} at once": compare(
                    small, source, place, port, rounds=options.rounds, parallel=options.parallel
                ),
            }
            server.kill()
        if options.cap:
            title = f"one file of {options.mib} MiB at {options.cap:g} MiB/s for each connection"
            figures[title] = compare_capped(large, source, place, options.cap)
    for title, found in figures.items():
        print(title + ": " + ", ".join(f"{way} {value:.3f}" for way, value in found.items()))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
