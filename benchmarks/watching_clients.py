"""How long do many wait who watch runs? Clients that do what the browser does on a run's page, without browsers.

Each asks for the pulse and the reports, fetches new snapshots, has the words about them renewed, and from time to time
turns the curves from epochs to seconds and back. One process of its own: `benchmarks.training_pages` starts it.
"""

import argparse
import asyncio
import gzip
import json
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import WebSocketException

from benchmarks.latency import spread, within
from benchmarks.visitors import Visitor, visiting

PAGE, PULSE, CURVES, AXIS = "train", "elbo_room.pulse", "elbo_room.live_curves", "Horizontal axis"
AXES = ("by seconds of training", "by epoch")
EVERY = 1.0
"""Seconds between two looks at the pulse, and two at the reports."""
WORDS, TURN = 2.0, 0.05
"""The words are renewed at most so often, and each who watches has a turn of so many seconds, as the scripts of the
page have it."""
ARRIVALS = 5.0
"""Clients that open the page a second."""
TARGET = 200.0
"""Milliseconds from a click to the end of its fragment, 95th percentile."""


@dataclass(frozen=True)
class Load:
    """How many clients watch which runs, for how many seconds each clicks when all are there, and how often."""

    url: str
    runs: tuple[str, ...]
    clients: int
    seconds: float
    every: float


class Line:
    """One connection that is kept open, as a browser does."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._reader, self._writer = asyncio.StreamReader(), None

    async def get(self, path: str) -> tuple[dict[str, str], bytes]:
        try:
            return await self._ask(path)
        except (ConnectionError, asyncio.IncompleteReadError):  # the server closes what has been idle for a while
            await self._connect()
            return await self._ask(path)

    async def _connect(self) -> None:
        host, port = self._host.split(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))

    async def _ask(self, path: str) -> tuple[dict[str, str], bytes]:
        if self._writer is None:
            raise ConnectionError("not yet open")
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept-Encoding: gzip\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await self._reader.readexactly(int(headers["content-length"]))
        if " 200 " not in head[0]:
            raise RuntimeError(f"{path}: {head[0]}")
        return headers, gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body


@dataclass
class Watch:
    """What one client does and sees: milliseconds of clicks and of requests, in all."""

    load: Load
    run: str
    visitor: Visitor
    clicks: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    renewed: int = 0
    offset: int = 0
    newest: int = 0
    told: float = 0.0
    telling: bool = False
    doing: set[asyncio.Task[None]] = field(default_factory=set)

    async def pulse(self, line: Line) -> None:
        signs = json.loads((await self._get(line, "pulse"))[1])
        seen = self.visitor.parts[PULSE].data["seen"]
        if any(signs[name] != seen[name] for name in ("state", "stopping", "pace", "traced")):
            await self.visitor.trigger(PULSE, "news", time.time_ns() // 10**6)

    async def reports(self, line: Line) -> None:
        headers, body = await self._get(line, f"metrics?from={self.offset}")
        self.offset = int(headers["x-next"])
        looks = [row for row in map(json.loads, body.splitlines()) if "held_out_elbo" in row]
        if not looks or looks[-1]["step"] == self.visitor.parts[CURVES].data["look"]:
            return
        self.newest, turns = looks[-1]["step"], TURN * int(headers["x-askers"])
        await self._get(line, f"snapshots/{self.newest}")
        if not self.telling:
            self.telling = True
            again = self.told + max(WORDS, turns) - time.monotonic()
            self.begin(self.renew(max(again, turns * random.random())))

    async def renew(self, wait: float) -> None:
        await asyncio.sleep(wait)
        self.telling = False
        if self.newest != self.visitor.parts[CURVES].data["look"]:
            self.told = time.monotonic()
            await self.visitor.trigger(CURVES, "look", self.newest)
            self.renewed += 1

    async def click(self, line: Line) -> None:
        self.clicks.append(await self.visitor.choose(AXIS, AXES[len(self.clicks) % 2]))

    async def own(self, line: Line) -> None:
        for fragment in list(self.visitor.repeated):
            await self.visitor.repeat(fragment)

    async def _get(self, line: Line, what: str) -> tuple[dict[str, str], bytes]:
        begin = time.perf_counter()
        found = await line.get(f"/api/runs/{self.run}/{what}")
        self.asked.append(1e3 * (time.perf_counter() - begin))
        return found

    async def again(
        self, act: Callable[[Line], Awaitable[None]], every: float, first: float, seconds: float = math.inf
    ) -> None:
        """For so many seconds, each after the last has been answered; the first after `first`."""
        loop, line = asyncio.get_running_loop(), Line(self.load.url)
        end, due = loop.time() + seconds, loop.time() + first
        while due < end:
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._counted(act(line))
            due = max(due + every, loop.time())

    def begin(self, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Something that goes on beside the rest."""
        task = asyncio.create_task(self._counted(what))
        self.doing.add(task)
        task.add_done_callback(self.doing.discard)
        return task

    async def end(self) -> None:
        """Nothing goes on any more."""
        left = list(self.doing)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _counted(self, what: Awaitable[None]) -> None:
        """What goes wrong is an error of this client, who goes on."""
        try:
            await what
        except (OSError, RuntimeError, WebSocketException, asyncio.IncompleteReadError) as error:
            self.visitor.errors.append(repr(error))


async def _watch(load: Load, number: int, everybody: asyncio.Barrier) -> tuple[float, Watch]:
    run, share = load.runs[number % len(load.runs)], number / load.clients
    async with visiting(load.url, f"run={run}") as visitor:
        await asyncio.sleep(number / ARRIVALS)
        opened = await visitor.open(PAGE)
        watch = Watch(load, run, visitor)
        own = min(visitor.repeated.values(), default=load.seconds)
        looks = ((watch.pulse, EVERY), (watch.reports, EVERY), (watch.own, own))
        for act, every in looks:
            watch.begin(watch.again(act, every, share * every))
        await everybody.wait()
        await watch.again(watch.click, load.every, share * load.every, load.seconds)
        await watch.end()
        return opened, watch


async def measure(load: Load) -> dict[str, Any]:
    everybody, before = asyncio.Barrier(load.clients), time.process_time()
    seen = await asyncio.gather(*(_watch(load, number, everybody) for number in range(load.clients)))
    watches = [watch for _, watch in seen]
    errors = [error for watch in watches for error in watch.visitor.errors]
    return {
        "clients": load.clients,
        "runs": len(load.runs),
        "opened_ms": spread([opened for opened, _ in seen]),
        "click_ms": within([took for watch in watches for took in watch.clicks], TARGET),
        "request_ms": spread([took for watch in watches for took in watch.asked]),
        "renewed": sum(watch.renewed for watch in watches),
        "errors": len(errors),
        "first_errors": sorted(set(errors))[:5],
        "own_processor_seconds": time.process_time() - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of a running server")
    parser.add_argument("runs", nargs="+", help="that are watched")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two clicks of a client")
    given = vars(parser.parse_args())
    print(json.dumps(asyncio.run(measure(Load(**{**given, "runs": tuple(given["runs"])})))))


if __name__ == "__main__":
    main()
