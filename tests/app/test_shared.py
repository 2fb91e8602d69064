"""Tests of ui.shared: one reading serves all who ask within a moment, packed once."""

import asyncio
import gzip
import random
import time

import pytest
from starlette.requests import Request
from starlette.responses import Response

from ui.shared import ASKERS, MOMENT, SMALL, Answer, Crowd, for_all


def request(query: str = "", takes: str = "gzip, deflate, br") -> Request:
    scope = {"type": "http", "method": "GET", "path": "/a", "query_string": query.encode()}
    headers = [(b"accept-encoding", takes.encode())]
    return Request({**scope, "server": ("127.0.0.1", 1), "scheme": "http", "headers": headers})


class Reader:
    """Counts how often it reads; a reading takes a while, and fails on demand."""

    def __init__(self, takes: float = 0.05) -> None:
        self.takes, self.read, self.fails = takes, 0, False

    def __call__(self, request: Request) -> Answer:
        self.read += 1
        number = self.read
        time.sleep(self.takes)
        if self.fails:
            raise ValueError("unreadable")
        return Answer(f"{request.url.query}{number}".encode(), "text/plain", {"x-name": "value"})


def bodies(responses: list[Response]) -> list[bytes]:
    return [bytes(response.body) for response in responses]


def test_many_who_ask_at_once_share_one_reading_and_each_gets_a_response_of_its_own() -> None:
    reader = Reader()
    respond = for_all(reader)

    async def ask() -> list[Response]:
        return await asyncio.gather(*(respond(request()) for _ in range(20)))

    responses = asyncio.run(ask())
    assert bodies(responses) == [b"1"] * 20
    assert len({id(response.raw_headers) for response in responses}) == 20
    assert responses[0].headers["x-name"] == "value"
    assert reader.read == 1


def test_another_query_is_another_answer() -> None:
    respond = for_all(Reader())

    async def ask() -> list[Response]:
        return await asyncio.gather(*(respond(request(query)) for query in ("b", "c", "b")))

    first, second, third = bodies(asyncio.run(ask()))
    assert first == third
    assert {first[:1], second[:1]} == {b"b", b"c"}


def test_after_a_moment_it_is_read_again_but_not_twice_at_the_same_time() -> None:
    reader = Reader()
    respond = for_all(reader)

    async def ask() -> list[Response]:
        found = [await respond(request()), await respond(request())]
        await asyncio.sleep(MOMENT)
        found.append(await respond(request()))
        reader.takes = 2 * MOMENT
        await asyncio.sleep(MOMENT)
        slow = asyncio.ensure_future(respond(request()))
        await asyncio.sleep(1.5 * MOMENT)
        return [*found, await respond(request()), await slow]

    assert bodies(asyncio.run(ask())) == [b"1", b"1", b"2", b"3", b"3"]


def test_nothing_is_not_kept() -> None:
    found = iter([b"", b"", b"first", b"second"])
    respond = for_all(lambda request: Answer(next(found), "text/plain", {}))

    async def ask() -> list[Response]:
        return [await respond(request()) for _ in range(4)]

    assert bodies(asyncio.run(ask())) == [b"", b"", b"first", b"first"]


def test_a_failure_is_told_to_all_and_forgotten_after_a_moment() -> None:
    reader = Reader()
    reader.fails = True
    respond = for_all(reader)

    async def ask() -> Response:
        failed = await asyncio.gather(*(respond(request()) for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in failed] == ["unreadable"] * 3
        reader.fails = False
        await asyncio.sleep(MOMENT)
        return await respond(request())

    assert bodies([asyncio.run(ask())]) == [b"2"]


def test_who_goes_away_does_not_take_the_answer_from_the_others() -> None:
    reader = Reader()
    respond = for_all(reader)

    async def ask() -> Response:
        gone = asyncio.ensure_future(respond(request()))
        stays = asyncio.ensure_future(respond(request()))
        await asyncio.sleep(0.01)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await stays

    assert bodies([asyncio.run(ask())]) == [b"1"]
    assert reader.read == 1


def test_each_is_told_how_many_ask() -> None:
    respond = for_all(Reader(0))

    async def ask() -> list[Response]:
        return [await respond(request(query)) for query in ("b", "c", "b")]

    assert [response.headers[ASKERS] for response in asyncio.run(ask())] == ["1", "2", "3"]


def test_a_crowd_is_who_asked_within_a_second() -> None:
    crowd = Crowd()
    assert [crowd.one_more(now) for now in (5.0, 5.5, 5.9, 6.2, 6.6, 9.0)] == [1, 2, 3, 3, 3, 1]


def test_what_packs_well_is_sent_packed_to_who_takes_it() -> None:
    body = b"the same again and again " * 100
    answer = Answer(body, "text/plain", {"x-name": "value"})
    packed, plain = answer.response(request()), answer.response(request(takes="br"))
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) == int(packed.headers["content-length"]) < len(body) / 5
    assert gzip.decompress(packed.body) == body
    assert (plain.headers["content-encoding"], plain.body) == ("identity", body)
    assert {(r.headers["vary"], r.headers["x-name"]) for r in (packed, plain)} == {("Accept-Encoding", "value")}


@pytest.mark.parametrize("body", [b"", b"a" * (SMALL - 1), random.Random(0).randbytes(100_000)])
def test_what_is_small_or_packs_badly_is_sent_as_it_is(body: bytes) -> None:
    response = Answer(body, "text/plain", {}).response(request())
    assert (response.headers["content-encoding"], response.body) == ("identity", body)
