"""Visitors without browsers: websocket sessions that speak the server's own messages. Loads no torch."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

TRIGGER = "$$STREAMLIT_INTERNAL_KEY_{}__events"
"""The widget through which Streamlit's browser part sends what a component triggers."""
PATIENCE = 30.0
DONE = {ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY}
SUPERSEDED = ForwardMsg.FINISHED_EARLY_FOR_RERUN
"""The script begins again at once, as where a run has changed its state since the page was drawn."""


@dataclass(frozen=True)
class Part:
    """A component or widget of the page: its id, the fragment it is in, and for a component what it was given."""

    id: str
    fragment: str
    data: dict[str, Any]


class Visitor:
    """One session, and what it has been told: the page, the address, the parts of the page by name, how often fragments
    are to run by themselves, and what went wrong."""

    def __init__(self, socket: ClientConnection, query: str) -> None:
        self._socket, self._turn = socket, asyncio.Lock()
        self.page, self.query = "", query
        self.parts: dict[str, Part] = {}
        self.repeated: dict[str, float] = {}
        self.errors: list[str] = []

    async def open(self, page: str) -> float:
        """Milliseconds until the page's script has ended."""
        return await self._ask(ClientState(query_string=self.query, page_name=page))

    async def trigger(self, name: str, event: str, value: Any) -> float:
        """What a component triggers; milliseconds until its fragment has run."""
        part = self.parts[name]
        state = self._state(part.fragment)
        trigger = state.widget_states.widgets.add(id=TRIGGER.format(part.id))
        trigger.json_trigger_value = json.dumps([{"event": event, "value": value}])
        return await self._ask(state)

    async def choose(self, name: str, value: str) -> float:
        """An option of a segmented control; milliseconds until its fragment has run."""
        part = self.parts[name]
        state = self._state(part.fragment)
        state.widget_states.widgets.add(id=part.id).string_array_value.data.append(value)
        return await self._ask(state)

    async def repeat(self, fragment: str) -> float:
        """A fragment's own run."""
        state = self._state(fragment)
        state.is_auto_rerun = True
        return await self._ask(state)

    def _state(self, fragment: str) -> ClientState:
        return ClientState(query_string=self.query, page_script_hash=self.page, fragment_id=fragment)

    async def _ask(self, state: ClientState) -> float:
        """One after the other: milliseconds, waiting for one's turn included."""
        begin = time.perf_counter()
        async with self._turn, asyncio.timeout(PATIENCE):
            await self._socket.send(BackMsg(rerun_script=state).SerializeToString())
            while True:
                received = await self._socket.recv()
                assert isinstance(received, bytes)
                message = ForwardMsg.FromString(received)
                self._learn(message)
                finished = message.WhichOneof("type") == "script_finished"
                if finished and message.script_finished != SUPERSEDED:
                    return 1e3 * (time.perf_counter() - begin)

    def _learn(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "navigation":
            self.page = message.navigation.page_script_hash
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "auto_rerun":
            self.repeated[message.auto_rerun.fragment_id] = message.auto_rerun.interval
        elif kind == "delta":
            self._see(message.delta)
        elif kind == "script_finished" and message.script_finished not in {*DONE, SUPERSEDED}:
            self.errors.append(f"the script ended with status {message.script_finished}")

    def _see(self, delta: Delta) -> None:
        element, fragment = delta.new_element, delta.fragment_id
        component, group = element.bidi_component, element.button_group
        if element.HasField("exception"):
            self.errors.append(f"{element.exception.type}: {element.exception.message}")
        elif element.HasField("alert"):
            self.errors.append(element.alert.body)
        elif component.component_name:
            data = json.loads(component.json or component.mixed.json)
            self.parts[component.component_name] = Part(component.id, fragment, data)
        elif group.id:
            self.parts[group.label] = Part(group.id, fragment, {})


@asynccontextmanager
async def visiting(url: str, query: str) -> AsyncIterator[Visitor]:
    address = url.replace("http", "ws", 1) + "/_stcore/stream"
    async with connect(address, subprotocols=["streamlit"], max_size=None) as socket:  # type: ignore[list-item]
        yield Visitor(socket, query)
