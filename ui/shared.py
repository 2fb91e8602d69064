"""Answers for many who ask the same: while they watch a run, its files are read once a moment, for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

MOMENT = 0.2
"""Seconds for which what has been read is told again."""


@dataclass(frozen=True)
class Answer:
    """What becomes a response for each who asked."""

    body: bytes
    media_type: str
    headers: Mapping[str, str]


def for_all(read: Callable[[Request], Answer]) -> Callable[[Request], Awaitable[Response]]:
    """`read`, beside the server's own thread and never twice in a moment for the same path and query, unless there was
    nothing to read yet: who waits for the first of something asks again at once."""
    kept: dict[str, tuple[float, asyncio.Future[Answer]]] = {}

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
        answer = await asyncio.shield(kept[asked][1])  # who goes away does not take it from the others
        return Response(answer.body, media_type=answer.media_type, headers=answer.headers)

    return respond
