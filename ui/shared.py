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
    """`read`, beside the server's own thread and never twice in a moment for the same path and query."""
    kept: dict[str, tuple[float, asyncio.Future[Answer]]] = {}

    async def respond(request: Request) -> Response:
        asked, now = f"{request.url.path}?{request.url.query}", monotonic()
        for old in [old for old, (begun, answer) in kept.items() if now - begun > MOMENT and answer.done()]:
            del kept[old]
        if asked not in kept:
            kept[asked] = (now, asyncio.ensure_future(run_in_threadpool(read, request)))
        answer = await asyncio.shield(kept[asked][1])  # who goes away does not take it from the others
        return Response(answer.body, media_type=answer.media_type, headers=answer.headers)

    return respond
