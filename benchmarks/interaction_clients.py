"""How long do many users wait? Websocket clients that open the Explore page and click on its plane, without browsers.

They speak the server's own messages. One process of its own that loads no torch: `benchmarks.interaction` starts it.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.latency import spread, within

PLANE = "elbo_room.latent_plane"
TRIGGER = "$$STREAMLIT_INTERNAL_KEY_{}__events"
"""The widget through which Streamlit's browser part sends what a component triggers."""
MODEL, PAGE = "mnist-2d", "explore"
REACH = 2.5
"""Clicks fall on [-REACH, REACH]²."""
NEAR = 1e-3
PATIENCE = 30.0
TARGET = 100.0
"""Milliseconds from a click to the end of its fragment, 95th percentile."""
DONE = {ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY}

Place = tuple[float, float]


@dataclass(frozen=True)
class Load:
    """How many clients click for how many seconds, each every so many."""

    url: str
    clients: int
    seconds: float
    every: float
    seed: int


class Session:
    """What a client has been told: the page, the address, the plane and its fragment, and what went wrong."""

    def __init__(self) -> None:
        self.page, self.query, self.component, self.fragment = "", f"model={MODEL}", "", ""
        self.at: Place | None = None
        self.errors: list[str] = []

    def learn(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "navigation":
            self.page = message.navigation.page_script_hash
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "delta":
            self._see(message.delta)
        elif kind == "script_finished" and message.script_finished not in DONE:
            self.errors.append(f"the script ended with status {message.script_finished}")

    def _see(self, delta: Delta) -> None:
        element = delta.new_element
        if element.HasField("exception"):
            self.errors.append(f"{element.exception.type}: {element.exception.message}")
        elif element.HasField("alert"):
            self.errors.append(element.alert.body)
        elif element.bidi_component.component_name == PLANE:
            self.component, self.fragment = element.bidi_component.id, delta.fragment_id
            selection = json.loads(element.bidi_component.json or element.bidi_component.mixed.json)["selection"]
            self.at = selection and tuple(selection["at"])


async def _ask(socket: ClientConnection, session: Session, state: ClientState) -> float:
    """Has the server run the page or a fragment; milliseconds until it has finished."""
    begin = time.perf_counter()
    await socket.send(BackMsg(rerun_script=state).SerializeToString())
    async with asyncio.timeout(PATIENCE):
        while True:
            received = await socket.recv()
            assert isinstance(received, bytes)
            message = ForwardMsg.FromString(received)
            session.learn(message)
            if message.WhichOneof("type") == "script_finished":
                return 1e3 * (time.perf_counter() - begin)


def _click(session: Session, place: Place) -> ClientState:
    """What a browser sends for a click on the plane."""
    act = {"kind": "pin", "at": place, "index": None, "view": None, "hidden": [], "time": time.time_ns() // 10**6}
    state = ClientState(query_string=session.query, page_script_hash=session.page, fragment_id=session.fragment)
    trigger = state.widget_states.widgets.add(id=TRIGGER.format(session.component))
    trigger.json_trigger_value = json.dumps([{"event": "act", "value": act}])
    return state


def _places(seed: int) -> Iterator[Place]:
    source = random.Random(seed)
    while True:
        yield round(source.uniform(-REACH, REACH), 4), round(source.uniform(-REACH, REACH), 4)


async def _clicks(socket: ClientConnection, session: Session, load: Load, number: int) -> list[float]:
    """Milliseconds of each click; a client whose last click is not answered yet waits with the next."""
    loop, took = asyncio.get_running_loop(), []
    begin = loop.time() + load.every * number / load.clients
    due = (begin + load.every * k for k in range(int(load.seconds / load.every)))
    for moment, place in zip(due, _places(load.seed + number), strict=False):
        await asyncio.sleep(max(0.0, moment - loop.time()))
        took.append(await _ask(socket, session, _click(session, place)))
        if session.at is None or max(abs(a - b) for a, b in zip(session.at, place, strict=True)) > NEAR:
            session.errors.append(f"a click on {place} was answered with {session.at}")
    return took


@dataclass(frozen=True)
class Visit:
    """What one client saw: milliseconds until the page stood, those of its clicks, and errors."""

    opened: float
    clicks: list[float]
    errors: list[str]


async def _visit(load: Load, number: int, everybody: asyncio.Barrier) -> Visit:
    address = load.url.replace("http", "ws", 1) + "/_stcore/stream"
    async with connect(address, subprotocols=["streamlit"], max_size=None) as socket:  # type: ignore[list-item]
        session = Session()
        opened = await _ask(socket, session, ClientState(query_string=session.query, page_name=PAGE))
        await everybody.wait()
        return Visit(opened, await _clicks(socket, session, load, number), session.errors)


async def measure(load: Load) -> dict[str, Any]:
    """All clients open the page at once; when it stands for everybody they click, one after another in turn."""
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
    print(json.dumps(asyncio.run(measure(Load(**vars(parser.parse_args()))))))


if __name__ == "__main__":
    main()
