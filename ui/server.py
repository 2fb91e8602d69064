"""The server around the pages: routes for heavy data, start-up, security headers, and whose browser it is."""

import gc
import json
import re
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.runtime.pages_manager import PagesManager

import ui
from ui import resources
from ui.address import DATA, Address, read, read_number
from ui.inspection import decoded
from ui.latent_plane import SCRIPT
from ui.layers import LAYER_MAKERS, layer_message
from ui.owner import COOKIE, KEY
from ui.payload import decoder_message, plane_message, shown, snapshot_message
from ui.planes import limits, view_of
from ui.pulse import signs
from ui.resources import Explored
from ui.shared import Answer, for_all
from vae_core import runs
from vae_core.datasets import DataUnavailable

NEW_OBJECTS = 50_000
"""How many more there must be for the garbage collector to look at them: every click makes and frees thousands."""

LATE = ("pandas", "streamlit.emojis")
"""What Streamlit imports when it first needs it."""

FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
FRESH = {"Cache-Control": "no-store"}
YEAR = 31_536_000
AXES = re.compile(r"([0-9]{1,4})_([0-9]{1,4})")

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' blob: 'wasm-unsafe-eval'",  # for the decoder of the latent plane
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "frame-ancestors 'none'",
        "base-uri 'self'",
        "object-src 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Secured:
    """Adds the security headers to every response, and gives a browser without one a random owner key."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        if not KEY.fullmatch(Request(scope).cookies.get(COOKIE, "")):
            # lax: a link from elsewhere must not make the browser a stranger, who gets a new key
            cookie = f"{COOKIE}={secrets.token_hex(16)}; Path=/; Max-Age={YEAR}; HttpOnly; SameSite=Lax"
            added.append((b"set-cookie", cookie.encode()))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Refused(Exception):
    """A request that cannot be served, with the sentence that says why."""

    def __init__(self, text: str, status: int = 404) -> None:
        super().__init__(text)
        self.text, self.status = text, status


def _whole(text: str) -> int | None:
    """A whole number of at most fifteen digits."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None


@lru_cache(maxsize=1)
def _plotly() -> Answer:
    found = files("plotly") / "package_data" / "plotly.min.js"
    return Answer(found.read_bytes(), "text/javascript", FOREVER)


def plotly(request: Request) -> Response:
    """The plotly.js that the plotly package ships."""
    return _plotly().response(request)


def plane_script(request: Request) -> Response:
    """What draws the latent plane; its address changes with it."""
    return Response(SCRIPT, media_type="text/javascript", headers=FOREVER)


def _run(request: Request) -> runs.Run:
    """The run that a request names. Raises Refused."""
    run = runs.find(request.path_params["run"])
    if run is None:
        raise Refused("No such run.")
    return run


def metrics(request: Request) -> Answer:
    """Reports appended since byte `from`, as JSON lines; the header X-Next says where to go on."""
    offset = _whole(request.query_params.get("from", "0"))
    if offset is None:
        raise Refused("`from` must be a whole number of bytes.", 422)
    data, following = _run(request).metrics(offset)
    return Answer(data, "application/x-ndjson", {**FRESH, "X-Next": str(following)})


def pulse(request: Request) -> Answer:
    """How far a run is, as `ui.pulse` tells it."""
    run = _run(request)
    try:
        told = signs(run, run.status())
    except runs.DamagedRun as error:
        raise Refused(str(error), 422) from error
    return Answer(json.dumps(told).encode(), "application/json", FRESH)


def _answer(body: bytes) -> Answer:
    return Answer(body, "application/octet-stream", FOREVER)


def snapshot(request: Request) -> Answer:
    """One moment of a run, as `ui.payload` packs it; along the axes `axes=i_j`, or else its own."""
    run = _run(request)
    step = _whole(request.path_params["step"])
    path = None if step is None else run.snapshot_path(step)
    if path is None or not path.is_file():
        raise Refused("No such snapshot.")
    named = request.query_params.get("axes")
    axes = AXES.fullmatch(named or "")
    if named is not None and axes is None:
        raise Refused("axes must be two whole numbers, i_j.", 422)
    try:
        along = (int(axes[1]), int(axes[2])) if axes else None
        message = snapshot_message(run.config(), runs.load_tensors(path), along)
    except (runs.DamagedRun, KeyError) as error:
        raise Refused(f"The snapshot is damaged: {error}", 422) from error
    except ValueError as error:
        raise Refused(f"{error}.", 422) from error
    return _answer(message)


def _opened(request: Request) -> tuple[Path, Explored, Address]:
    """The model that a request names, and the plane it asks for. Raises Refused."""
    folder = resources.locate(request.path_params["model"])
    if folder is None:
        raise Refused("No such model.")
    data = request.query_params.get("data", "sample")
    if data not in DATA:
        raise Refused(f"data must be one of {', '.join(DATA)}.", 422)
    try:
        thing = resources.explored(folder, data)
    except (runs.DamagedRun, DataUnavailable) as error:
        raise Refused(str(error), 422) from error
    address, notices = read(request.query_params, folder.name, limits(thing))
    if notices:
        raise Refused(" ".join(notices), 422)
    return folder, thing, address


def plane(request: Request) -> Response:
    """A latent plane of a trained model, in the words of `ui.address`, as `ui.payload` packs it."""
    folder, _, address = _opened(request)
    try:
        return _plane(folder, resources.version(folder), address.plane).response(request)
    except ValueError as error:
        raise Refused(f"{error}.", 422) from error


@lru_cache(maxsize=8)
def _plane(folder: Path, version: str, address: Address) -> Answer:
    return _answer(plane_message(resources.explored(folder, address.data), view_of(folder, address)))


def layer(request: Request) -> Response:
    """What lies under the points of a plane, as `ui.layers` packs it."""
    folder, thing, address = _opened(request)
    name = request.path_params["layer"]
    if name not in LAYER_MAKERS:
        raise Refused("No such layer.")
    try:
        view = view_of(folder, address)
        if view.plane is None:
            raise Refused("This view cannot be decoded, so that nothing can be said between its points.", 422)
        found = layer_message(name, thing, view, view.plane, resources.landscape_of(folder).result())
        return _answer(found).response(request)
    except ValueError as error:
        raise Refused(f"{error}.", 422) from error


def decoder(request: Request) -> Response:
    """The weights of a small decoder."""
    message = decoder_message(_opened(request)[1])
    if message is None:
        raise Refused("This decoder is too large to travel, or no plain MLP.")
    return _answer(message).response(request)


def example(request: Request) -> Response:
    """The bytes of example number `i`."""
    _, thing, _ = _opened(request)
    number = _whole(request.query_params.get("i", ""))
    if number is None or number >= len(thing.data):
        raise Refused(f"i must be a whole number from 0 to {len(thing.data) - 1}.", 422)
    return _answer(shown(thing.data.x[number]).numpy().tobytes()).response(request)


def decode(request: Request) -> Response:
    """What the place `at` of a plane decodes to, exactly: the pin's own latent vector, as bytes."""
    folder, _, address = _opened(request)
    try:
        at = [read_number(text) for text in request.query_params.get("at", "").split("_")]
        drawn = view_of(folder, address)
    except ValueError as error:
        raise Refused(f"{error}.", 422) from error
    if drawn.plane is None or len(at) != 2:
        raise Refused("at must be two coordinates, u_v, of a plane that can be decoded.", 422)
    pixels = decoded(folder, resources.version(folder), address.data, drawn.pin(at))
    return _answer(shown(pixels).numpy().tobytes()).response(request)


def refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse({"error": error.text}, error.status, FRESH)


ROUTES = [
    Route("/api/plotly.js", plotly),
    Route("/api/latent_plane.js", plane_script),
    Route("/api/runs/{run}/metrics", for_all(metrics)),
    Route("/api/runs/{run}/pulse", for_all(pulse)),
    Route("/api/runs/{run}/snapshots/{step}", for_all(snapshot)),
    Route("/api/models/{model}/plane", plane),
    Route("/api/models/{model}/layers/{layer}", layer),
    Route("/api/models/{model}/decoder", decoder),
    Route("/api/models/{model}/example", example),
    Route("/api/models/{model}/decode", decode),
]
MIDDLEWARE = [Middleware(Secured)]
HANDLERS = {Refused: refused}


TCP = {(family, socket.SOCK_STREAM) for family in (socket.AF_INET, socket.AF_INET6)}


def _no_delay() -> None:
    """Sets TCP_NODELAY on the listening sockets, whence accepted ones inherit it: 44 ms less for a small response."""
    for thing in gc.get_objects():
        if type(thing) is socket.socket and thing.fileno() >= 0 and (thing.family, thing.type) in TCP:
            thing.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _import_all() -> None:
    """What else the first visit of a page would import, and Streamlit at the first click: up to 0.3 s each, in which
    everybody waits."""
    for found in walk_packages(ui.__path__, f"{ui.__name__}."):
        import_module(found.name)
    for name in LATE:
        import_module(name)


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
    # with a folder named pages, the first session of a server would look for flat pages and refuse a deep link
    PagesManager.uses_pages_directory = False
    for dispatcher in resources.dispatchers().values():
        dispatcher.open()
    _no_delay()
    _import_all()
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
    resources.landscape_of(resources.PRETRAINED / resources.PREFERRED)  # loaded before the first visitor asks for it
    yield {}
    for dispatcher in resources.dispatchers().values():
        dispatcher.close()
