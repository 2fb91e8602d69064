"""How long do many users wait? Websocket clients that open the Explore page and click on its plane, without browsers.

One process of its own that loads no torch: `benchmarks.interaction` starts it.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.latency import spread, within
from benchmarks.visitors import Visitor, visiting

PLANE = "elbo_room.latent_plane"
MODEL, PAGE = "mnist-2d", "explore"
REACH = 2.5
"""Clicks fall on [-REACH, REACH]²."""
NEAR = 1e-3
TARGET = 100.0
"""Milliseconds from a click to the end of its fragment, 95th percentile."""

Place = tuple[float, float]


@dataclass(frozen=True)
class Load:
    """How many clients click for how many seconds, each every so many; so many come a second, or with 0 all at once."""

    url: str
    clients: int
    seconds: float
    every: float
    seed: int
    arrivals: float


async def _click(visitor: Visitor, place: Place) -> float:
    """What a browser sends for a click on the plane."""
    act = {"kind": "pin", "at": place, "index": None, "view": None, "hidden": [], "time": time.time_ns() // 10**6}
    took = await visitor.trigger(PLANE, "act", act)
    selection = visitor.parts[PLANE].data["selection"]
    if selection is None or max(abs(a - b) for a, b in zip(selection["at"], place, strict=True)) > NEAR:
        visitor.errors.append(f"a click on {place} was answered with {selection and selection['at']}")
    return took


def _places(seed: int) -> Iterator[Place]:
    source = random.Random(seed)
    while True:
        yield round(source.uniform(-REACH, REACH), 4), round(source.uniform(-REACH, REACH), 4)


async def _clicks(visitor: Visitor, load: Load, number: int) -> list[float]:
    """Milliseconds of each click; a client whose last click is not answered yet waits with the next."""
    loop, took = asyncio.get_running_loop(), []
    begin = loop.time() + load.every * number / load.clients
    due = (begin + load.every * k for k in range(int(load.seconds / load.every)))
    for moment, place in zip(due, _places(load.seed + number), strict=False):
        await asyncio.sleep(max(0.0, moment - loop.time()))
        took.append(await _click(visitor, place))
    return took


@dataclass(frozen=True)
class Visit:
    """What one client saw: milliseconds until the page stood, those of its clicks, and errors."""

    opened: float
    clicks: list[float]
    errors: list[str]


async def _visit(load: Load, number: int, everybody: asyncio.Barrier) -> Visit:
    await asyncio.sleep(number / load.arrivals if load.arrivals else 0.0)
    async with visiting(load.url, f"model={MODEL}") as visitor:
        opened = await visitor.open(PAGE)
        await everybody.wait()
        return Visit(opened, await _clicks(visitor, load, number), visitor.errors)


async def measure(load: Load) -> dict[str, Any]:
    """All clients open the page; when it stands for everybody they click, one after another in turn."""
    everybody, before = asyncio.Barrier(load.clients), time.process_time()
    visits = await asyncio.gather(*(_visit(load, number, everybody) for number in range(load.clients)))
    clicks = [took for visit in visits for took in visit.clicks]
    errors = [error for visit in visits for error in visit.errors]
    return {
        "clients": load.clients,
        "opened_ms": spread([visit.opened for visit in visits]),
        "click_ms": within(clicks, TARGET),
        "errors": len(errors),
        "first_errors": sorted(set(errors))[:5],
        "own_processor_seconds": time.process_time() - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of a running server")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two clicks of a client")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--arrivals", type=float, default=0.0, help="clients that open the page a second; 0: all at once"
    )
    print(json.dumps(asyncio.run(measure(Load(**vars(parser.parse_args()))))))


if __name__ == "__main__":
    main()
