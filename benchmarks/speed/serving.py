"""How fast a server answers: micro-batches against one by one, bare prediction, overload, memory.

``python -m benchmarks.speed.serving`` starts two servers of the same network on loopback, one that
scores in micro-batches and one that scores image by image, and asks them in turn, in closed loop:
each client sends its next image when its last one is answered. The servers share one core and the
clients another. Weights are random; the time does not depend on them. ``--requests 20000`` then
asks the first server so many times and prints its memory on the way.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import psutil
from PIL import Image

from benchmarks.conditions import conditions
from benchmarks.speed.heat_maps import random_bundle

SERVERS = {"micro-batches": True, "one by one": False}
SIDE_PX = 130  # of the pictures, about that of a cell
SECONDS = 5.0  # of one look at one server
N_PICTURES = 64

Network = tuple[str, int, int]  # name, side of the input, views


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--size-px", type=int, default=64)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)  # a port
    parser.add_argument("--one-by-one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    network = (options.model, options.size_px, options.views)
    if options.serve:
        serve(options.serve, network, batched=not options.one_by_one)
        return
    pictures = [picture(seed) for seed in range(N_PICTURES)]
    alone = bare(network)
    print(f"bare prediction: median {ms(statistics.median(alone))}, p99 {ms(p99(alone))}")
    with ExitStack() as stack:
        ports = {
            name: stack.enter_context(server(network, batched=batched))
            for name, batched in SERVERS.items()
        }
        pin(os.getpid(), -1)
        for n_clients in (1, 16, 64):
            compare(ports, pictures, n_clients, options.rounds)
        overload(ports["micro-batches"][0], pictures)
        if options.requests:
            remember(*ports["micro-batches"], pictures, options.requests)
    print(conditions())


def compare(
    ports: dict[str, tuple[int, int]], pictures: list[bytes], n_clients: int, n_rounds: int
) -> None:
    """Ask both servers in turn, and print requests a second, their ratio and the latency."""
    rates: dict[str, list[float]] = {name: [] for name in ports}
    seconds: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(n_rounds):
        for name, (port, _) in ports.items():
            found = asyncio.run(ask(port, [form([one]) for one in pictures], n_clients))
            rates[name].append(len(found) / SECONDS)
            seconds[name] += [spent for _, spent in found]
            if {status for status, _ in found} != {200}:
                sys.exit("A request was refused.")
    for name in ports:
        print(
            f"{n_clients} clients, {name}: {statistics.median(rates[name]):.0f} requests/s "
            f"({min(rates[name]):.0f} to {max(rates[name]):.0f}), "
            f"median {ms(statistics.median(seconds[name]))}, p99 {ms(p99(seconds[name]))}"
        )
    ratios = [one / other for one, other in zip(*rates.values(), strict=True)]
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"{n_clients} clients, ratio: {middle:.2f} ({low:.2f} to {high:.2f})", flush=True)


def overload(port: int, pictures: list[bytes]) -> None:
    """Ask for far more than can be done, and print what is refused and how long the rest takes."""
    found = asyncio.run(ask(port, [form(pictures[:16])], 100))
    taken = [spent for status, spent in found if status == 200]
    refused = [spent for status, spent in found if status == 503]
    if len(taken) + len(refused) < len(found):
        sys.exit("There was another answer than 200 and 503.")
    print(
        f"100 clients with 16 images each: {len(taken)} answered, p99 {ms(p99(taken))}; "
        f"{len(refused)} refused (503), p99 {ms(p99(refused))}"
    )


def remember(port: int, pid: int, pictures: list[bytes], n_requests: int) -> None:
    """Ask so many times and print the memory of the server on the way."""
    forms, done = [form([one]) for one in pictures], 0
    while done < n_requests:
        done += len(asyncio.run(ask(port, forms, 16)))
        print(f"memory after {done} requests: {memory_mb(pid):.0f} MB", flush=True)


async def ask(port: int, requests: list[bytes], n_clients: int) -> list[tuple[int, float]]:
    """Let clients ask in closed loop; return status and seconds of each answer."""
    until, found = time.perf_counter() + SECONDS, []

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (started := time.perf_counter()) < until:
            writer.write(requests[number % len(requests)])
            found.append((await status_of(reader), time.perf_counter() - started))
            number += n_clients
        writer.close()

    await asyncio.gather(*(client(number) for number in range(n_clients)))
    return found


async def status_of(reader: asyncio.StreamReader) -> int:
    """Read one answer to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


def form(pictures: list[bytes]) -> bytes:
    """Return a request with images, as browsers and curl send them."""
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n'
        b"Content-Type: image/png\r\n\r\n" + one + b"\r\n"
        for one in pictures
    ]
    body = b"".join([*parts, b"--b--\r\n"])
    head = "POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def bare(network: Network) -> list[float]:
    """Return the seconds that reading and predicting take without a server, on the same core."""
    script = (
        "import sys, time, torch; torch.set_num_threads(1)\n"
        "from benchmarks.speed.serving import *\n"
        "from diascope.bundle.prediction import predict_each\n"
        f"pin(os.getpid(), 0); found = random_bundle(*{network!r}); spent = []\n"
        f"pictures = [picture(seed) for seed in range({N_PICTURES})]\n"
        "for number in range(1000):\n"
        "    started = time.perf_counter()\n"
        "    image = found.card.pixels.read(pictures[number % len(pictures)])\n"
        "    predict_each(found, image[None])\n"
        "    spent.append(time.perf_counter() - started)\n"
        "print(*spent[100:])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    return [float(one) for one in done.stdout.split()]


@contextmanager
def server(network: Network, *, batched: bool) -> Iterator[tuple[int, int]]:
    """Run a server; yield its port and the number of its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    model, size_px, views = map(str, network)
    words = ["--model", model, "--size-px", size_px, "--views", views, "--serve", str(port)]
    words += [] if batched else ["--one-by-one"]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.speed.serving", *words])
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
                break
            except OSError:
                time.sleep(0.2)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def serve(port: int, network: Network, *, batched: bool) -> None:
    """Serve in this process, on the first core."""
    import torch
    import uvicorn

    from diascope.serving.asgi import app
    from diascope.serving.limits import Limits
    from diascope.serving.protocol import uvicorn_settings

    pin(os.getpid(), 0)
    torch.set_num_threads(1)
    found = app(random_bundle(*network), batched=batched)
    uvicorn.run(found, port=port, log_config=None, backlog=2048, **uvicorn_settings(Limits()))


def pin(pid: int, core: int) -> None:
    """Let a process run on one core, counted from the first or, negative, from the last."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(pid, {cores[core]})


def picture(seed: int) -> bytes:
    """Return a PNG file of soft noise."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((SIDE_PX, SIDE_PX)).save(buffer, "png")
    return buffer.getvalue()


def memory_mb(pid: int) -> float:
    """Return what a process and its children hold."""
    parent = psutil.Process(pid)
    return sum(one.memory_info().rss for one in [parent, *parent.children()]) / 1e6


def p99(values: list[float]) -> float:
    """Return the 99th percentile."""
    return float(np.percentile(values, 99)) if values else float("nan")


def ms(seconds: float) -> str:
    """Return seconds as milliseconds."""
    return f"{1000 * seconds:.1f} ms"


if __name__ == "__main__":
    main()
