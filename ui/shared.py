"""Answers for many who ask the same: while they watch a run, its files are read once a moment, for all of them."""

import asyncio
import gzip
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

MOMENT = 0.2
"""Seconds for which what has been read is told again."""


SMALL, PROBED = 500, 1 << 16
"""Bytes: what is not worth packing, and what shows whether more is."""
LEVEL, WORTH = 3, 0.8
"""Of gzip, and the share of its size that something has to shrink to; the weights of a decoder do not."""

ASKERS = "X-Askers"
"""The header that says how many asked the same route for something in the last second."""


class Answer:
    """What becomes a response for each who asked. It is packed once, not for each."""

    def __init__(self, body: bytes, media_type: str, headers: Mapping[str, str]) -> None:
        self.body, self._media_type, self._headers = body, media_type, headers
        probe = body[:PROBED]
        pays = len(body) >= SMALL and len(zlib.compress(probe, LEVEL)) < WORTH * len(probe)
        self._packed = gzip.compress(body, LEVEL) if pays else None

    def response(self, request: Request, **more: str) -> Response:
        """As the browser takes it, with further headers."""
        packed = self._packed if "gzip" in request.headers.get("accept-encoding", "") else None
        # said in any case: what says nothing, Streamlit packs again for each
        said = {"Content-Encoding": "gzip" if packed else "identity", "Vary": "Accept-Encoding"}
        return Response(packed or self.body, media_type=self._media_type, headers={**self._headers, **said, **more})


class Crowd:
    """Counts who asks."""

    def __init__(self) -> None:
        self._asked: deque[float] = deque()

    def one_more(self, now: float) -> int:
        """How many have asked within the last second, this one included."""
        self._asked.append(now)
        while self._asked[0] < now - 1:
            self._asked.popleft()
        return len(self._asked)


def for_all(read: Callable[[Request], Answer]) -> Callable[[Request], Awaitable[Response]]:
    """`read`, beside the server's own thread and never twice in a moment for the same path and query, unless there was
    nothing to read yet: who waits for the first of something asks again at once. Each is told how many ask."""
    kept: dict[str, tuple[float, asyncio.Future[Answer]]] = {}
    crowd = Crowd()

    def over(begun: float, answer: asyncio.Future[Answer]) -> bool:
        if not answer.done():
            return False
        return monotonic() - begun > MOMENT or not (answer.exception() or answer.result().body)

    async def respond(request: Request) -> Response:
        asked = f"{request.url.path}?{request.url.query}"
        for old in [old for old, reading in kept.items() if over(*reading)]:
            del kept[old]
        if asked not in kept:
            kept[asked] = (monotonic(), asyncio.ensure_future(run_in_threadpool(read, request)))
        askers = crowd.one_more(monotonic())
        answer = await asyncio.shield(kept[asked][1])  # who goes away does not take it from the others
        return answer.response(request, **{ASKERS: str(askers)})

    return respond
