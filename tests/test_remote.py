"""The clients against servers that answer in every way: in pieces, wrongly, late, or not at all."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsearch
from tests.awaited import Awaited
from tests.peer import Peer, Play, peer, read_body, sends
from vsearch import errors, wire
from vsearch.remote import async_transport, http1, transport
from vsearch.remote.asynchronous import AsyncDatabase
from vsearch.remote.blocking import RemoteDatabase
from vsearch.remote.http1 import MAX_HEAD_BYTES, Answer, AnswerReader
from vsearch.remote.pool import MAX_KEPT, Pool
from vsearch.remote.protocol import ERRORS, Server

KEY = "a-very-secret-key"


@pytest.fixture(params=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """`vsearch.connect`, or the same over the client for asyncio."""
    opened: list[Any] = []
    with asyncio.Runner() as runner:

        def connect(url: str, **options: Any) -> Any:
            if request.param == "blocking":
                opened.append(vsearch.connect(url, **options))
            else:
                opened.append(Awaited(runner, vsearch.connect_async(url, **options)))
            return opened[-1]

        yield connect
        for db in opened:
            db.close()


def answer(body: Any, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    packed = wire.pack(body)
    head = b"HTTP/1.1 %b\r\ncontent-type: application/msgpack\r\n%bcontent-length: %d\r\n\r\n"
    return head % (status, headers, len(packed)) + packed


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


NAMES = {"collections": ["a", "b"]}
BODY = wire.pack(NAMES)
START = b"HTTP/1.1 200 OK\r\nContent-Type: Application/MsgPack; charset=x\r\n"
CHUNKED = (
    START
    + b"Transfer-Encoding: Chunked\r\n\r\n"
    + b"".join(b"%X ;x=y\r\n%b\r\n" % (len(part), part) for part in (BODY[:1], BODY[1:12], BODY[12:]))
    + b"0\r\nTrailer: 1\r\n\r\n"
)
GOOD: dict[str, list[bytes]] = {
    "at once": [answer(NAMES)],
    "byte by byte": bytewise(answer(NAMES)),
    "head and body": [START + b"Content-Length: %d\r\n\r\n" % len(BODY), BODY],
    "the same length twice": [START + b"Content-Length: %d\r\n" % len(BODY) * 2 + b"\r\n" + BODY],
    "chunked": [CHUNKED],
    "chunked, byte by byte": bytewise(CHUNKED),
    "after interim answers": [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + answer(NAMES)],
    "no reason": [START.replace(b" OK", b"") + b"Content-Length:%d\r\n\r\n" % len(BODY) + BODY],
    "a large head": [START + b"x: %b\r\nContent-Length: %d\r\n\r\n" % (b"y" * 60_000, len(BODY)) + BODY],
}
UNTIL_CLOSED = {
    "no length": [START + b"\r\n", BODY],
    "HTTP/1.0": [START.replace(b"/1.1", b"/1.0") + b"content-length: %d\r\n\r\n" % len(BODY) + BODY],
    "told to close": [answer(NAMES, headers=b"Connection: x, Close\r\n")],
}


@pytest.mark.parametrize("case", GOOD)
def test_answers_in_any_form_on_one_connection(connect: Any, case: str) -> None:
    with peer(sends(*GOOD[case])) as server:
        db = connect(server.url)
        assert [db.collections() for _ in range(3)] == [["a", "b"]] * 3
        assert server.connections == 1


@pytest.mark.parametrize("case", UNTIL_CLOSED)
def test_answers_that_end_their_connection(connect: Any, case: str) -> None:
    with peer(sends(*UNTIL_CLOSED[case], keep=False)) as server:
        db = connect(server.url)
        assert [db.collections() for _ in range(3)] == [["a", "b"]] * 3
        assert server.connections == 3


WRONG: dict[str, bytes] = {
    "nothing": b"",
    "garbage": b"\x00\xff" * 50 + b"\r\n\r\n",
    "another version": b"HTTP/2 200 OK\r\n\r\n",
    "no number": b"HTTP/1.1 abc OK\r\n\r\n",
    "status 999": b"HTTP/1.1 999 OK\r\n\r\n",
    "half a head": START,
    "half a body": START + b"Content-Length: 100\r\n\r\n" + BODY,
    "header without a colon": START + b"nonsense\r\n\r\n",
    "header with a space": START + b"Content-Length : 3\r\n\r\nabc",
    "folded header": START + b"a: b\r\n c\r\n\r\n",
    "header with a zero": START + b"a: \x00\r\n\r\n",
    "negative length": START + b"Content-Length: -1\r\n\r\n",
    "length of a text": START + b"Content-Length: 0x10\r\n\r\n",
    "two lengths": START + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "huge length": START + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
    "unknown coding": START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunk without a size": START + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "chunk too long": START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
    "endless chunk line": START + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 10_000,
    "endless trailers": START + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 20_000,
    "endless head": START + b"a: b\r\n" * 20_000,
    "endless line": START + b"a" * 100_000,
    "interim answers only": b"HTTP/1.1 102 Processing\r\n\r\n" * 100,
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_answer_is_unavailable_and_ends_the_connection(connect: Any, case: str) -> None:
    with peer(sends(WRONG[case], keep=False)) as server:
        db = connect(server.url)
        with pytest.raises(vsearch.Unavailable, match=r"the connection to http://localhost.* broke") as caught:
            db.collections()
        assert type(caught.value) is vsearch.Unavailable
        assert caught.value.retryable
        assert server.connections == 2  # a read is made once more
        with pytest.raises(vsearch.Unavailable) as caught:
            db.delete_collection("a")
        assert "may have been made" in caught.value.hint
        assert server.connections == 3  # a write is not
        server.play = sends(answer(NAMES))
        assert db.collections() == ["a", "b"]


def fed(data: bytes, cuts: list[int]) -> tuple[str, Answer | str]:
    """What a reader makes of bytes that come in pieces, and then end."""
    reader, edges = AnswerReader(), sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    try:
        for start, end in pairwise(edges):
            if (found := reader.feed(data[start:end])) is not None:
                return ("whole", found)
        return ("ended", reader.feed(b"") or "")
    except httpx.RemoteProtocolError as error:
        return ("wrong", str(error))


PARTS = st.sampled_from(
    [
        START,
        b"\r\n",
        b"\r\n\r\n",
        b"content-length: 5\r\n",
        b"transfer-encoding: chunked\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n",
    ]
)


@given(st.lists(PARTS | st.binary(max_size=8), max_size=8).map(b"".join), st.lists(st.integers(0, 200), max_size=8))
def test_an_answer_is_the_same_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    whole, cut = fed(data, []), fed(data, cuts)
    if whole[0] == "whole" and isinstance(whole[1], Answer) and isinstance(cut[1], Answer):
        assert (whole[1].status, whole[1].headers, whole[1].body) == (cut[1].status, cut[1].headers, cut[1].body)
    else:
        assert whole == cut


@given(st.sampled_from(sorted(GOOD)), st.lists(st.integers(0, 10**6), max_size=20))
def test_a_good_answer_is_read_however_it_is_cut(case: str, cuts: list[int]) -> None:
    kind, found = fed(b"".join(GOOD[case]), cuts)
    assert kind == "whole"
    assert isinstance(found, Answer)
    assert (found.status, found.body, found.reusable) == (200, BODY, True)


@pytest.mark.parametrize("case", [case for case in WRONG if case.startswith(("endless", "interim"))])
def test_what_has_no_end_is_not_waited_for(case: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        AnswerReader().feed(WRONG[case])


def test_the_limit_of_a_head_is_exact() -> None:
    head = START + b"content-length: 0\r\nx: "
    for more, kind in ((0, "whole"), (1, "wrong")):
        filled = head + b"y" * (MAX_HEAD_BYTES - len(head) - 4 + more) + b"\r\n\r\n"
        assert fed(filled, [])[0] == fed(filled, list(range(0, len(filled), 999)))[0] == kind


# Connections


def test_a_connection_that_the_server_closed_is_not_used(connect: Any) -> None:
    with peer(sends(answer(NAMES))) as server:
        db = connect(server.url)
        for call in (db.collections, lambda: db.update_aliases({})):
            call()
            server.hang_up()
            time.sleep(0.02)
            if isinstance(db, Awaited):
                db._runner.run(asyncio.sleep(0))  # the loop hears of it
            call()
        assert len(server.heads) == 4  # each was sent once
        assert server.connections == 3


def test_bytes_that_nobody_asked_for_end_the_connection(connect: Any) -> None:
    with peer(sends(answer(NAMES) + answer({"collections": ["wrong"]}))) as server:
        db = connect(server.url)
        assert [db.collections() for _ in range(3)] == [["a", "b"]] * 3
        assert server.connections == 3


def test_bytes_that_come_late_end_the_connection(connect: Any) -> None:
    def play(peer: Peer, connection: socket.socket, head: bytes) -> None:
        connection.sendall(answer(NAMES))
        time.sleep(0.02)
        connection.sendall(b"HTTP/1.1 408 Timeout\r\n\r\n")  # as some proxies do before they close an idle connection

    with peer(play) as server:
        db = connect(server.url)
        for _ in range(3):
            assert db.collections() == ["a", "b"]
            time.sleep(0.05)
            if isinstance(db, Awaited):
                db._runner.run(asyncio.sleep(0))
        assert server.connections == 3


def test_a_read_is_made_again_when_its_kept_connection_breaks(connect: Any) -> None:
    def play(peer: Peer, connection: socket.socket, head: bytes) -> bool | None:
        read_body(peer, connection, head)
        if len(peer.heads) % 2 == 0:
            return False  # it had the request, and goes away
        connection.sendall(answer(NAMES))
        return None

    with peer(play) as server:
        db = connect(server.url)
        assert [db.collections() for _ in range(2)] == [["a", "b"]] * 2
        assert len(server.heads) == 3
        with pytest.raises(vsearch.Unavailable, match="broke"):
            db.delete_collection("a")
        assert [head.split(b" ")[0] for head in server.heads] == [b"GET"] * 3 + [b"DELETE"]


def test_what_was_never_sent_is_sent_once_more() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, content=wire.pack({}), headers={"content-type": wire.MSGPACK})

    mocked(handler).delete_collection("a")
    assert [request.method for request in seen] == ["DELETE"] * 2


def test_the_pool_keeps_so_many_and_none_after_its_end() -> None:
    class Fake:
        closed = False

        def usable(self) -> bool:
            return True

        def close(self) -> None:
            self.closed = True

    kept = Pool[Fake]()
    several = [Fake() for _ in range(MAX_KEPT + 2)]
    for one in several:
        kept.put(one)
    assert [one.closed for one in several] == [False] * MAX_KEPT + [True] * 2
    assert kept.take() is several[MAX_KEPT - 1]
    kept.close()
    kept.put(several[MAX_KEPT - 1])  # was in use
    assert all(one.closed for one in several)
    assert kept.take() is None


def test_nobody_listens(connect: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for call in (connect(f"http://localhost:{port}").collections, connect(f"http://127.0.0.1:{port}").check):
        with pytest.raises(vsearch.Unavailable, match="cannot connect") as caught:
            call()
        assert f":{port}" in caught.value.hint
    with pytest.raises(vsearch.Unavailable, match="cannot connect"):
        connect("http://no-such-host.invalid").collections()


def test_a_silent_server_is_a_timeout(connect: Any, tmp_path: Path) -> None:
    with peer(lambda peer, connection, head: time.sleep(0.3)) as server:
        db = connect(server.url, timeout_s=0.05)
        calls = [db.collections, lambda: db.delete_collection("a"), lambda: db.download_snapshot("a", tmp_path / "a")]
        for number, call in enumerate(calls):
            began_s = time.monotonic()
            with pytest.raises(vsearch.Timeout, match=r"within 0.05 s") as caught:
                call()
            assert time.monotonic() - began_s < 0.25
            assert isinstance(caught.value, TimeoutError)
            assert ("may have been made" in caught.value.hint) == (number == 1)
        assert len(server.heads) == 3  # none was made again


def test_no_connection_in_time_is_a_timeout(monkeypatch: pytest.MonkeyPatch, connect: Any) -> None:
    def never(*args: Any, **kwargs: Any) -> Any:
        raise TimeoutError

    async def never_ends(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(10)

    monkeypatch.setattr(socket, "create_connection", never)
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", never_ends)
    with pytest.raises(vsearch.Timeout, match="no connection") as caught:
        connect("http://localhost:1", timeout_s=0.02).collections()
    assert "running" in caught.value.hint


def test_a_slow_answer_is_none(connect: Any) -> None:
    """The limit is for silence."""
    pieces = [answer(NAMES)[i : i + 12] for i in range(0, len(answer(NAMES)), 12)]
    with peer(sends(*pieces, pause_s=0.03)) as server:
        assert connect(server.url, timeout_s=0.1).collections() == ["a", "b"]
    assert len(pieces) * 0.03 > 0.2


def test_calls_that_take_long_may(connect: Any) -> None:
    def play(peer: Peer, connection: socket.socket, head: bytes) -> None:
        read_body(peer, connection, head)
        time.sleep(0.1)
        connection.sendall(answer({"problems": []}))

    with peer(play) as server:
        assert connect(server.url, timeout_s=0.05).check() == []


# Large bodies


LARGE = [{"a": "x" * (1 << 20)}] * 6


def collection(connect: Any, server: Peer, **options: Any) -> Any:
    play, server.play = server.play, sends(answer({"name": "docs", "fields": {}, "payload_indexes": []}))
    docs = connect(server.url, **options).collection("docs")
    server.play = play
    return docs


def test_a_large_body_waits_for_leave_and_is_not_sent_when_refused(connect: Any) -> None:
    refusal = json.dumps({"code": "limit_exceeded", "status": {"error": "too large"}}).encode()
    refused = threading.Event()
    head = b"HTTP/1.1 413 Too Large\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(refusal)

    def play(peer: Peer, connection: socket.socket, asked: bytes) -> bool:
        assert b"\r\nexpect: 100-continue\r\n" in asked
        if len(peer.heads) == 2:
            connection.sendall(head + refusal)
            assert connection.recv(1) == b""  # the client does not send it, so the connection is of no more use
            refused.set()
            return False
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        read_body(peer, connection, asked)
        connection.sendall(answer({"ids": [1]}))
        return True

    with peer(play) as server:
        docs = collection(connect, server)
        began_s = time.monotonic()
        with pytest.raises(vsearch.LimitExceeded, match="too large"):
            docs.upsert(range(6), payloads=LARGE)
        assert docs.upsert(range(6), payloads=LARGE) == [1]
        assert wire.unpack(server.bodies[-1])["payloads"] == LARGE
        assert time.monotonic() - began_s < http1.LEAVE_S * 0.9
        assert refused.wait(5)


def test_a_large_body_is_sent_in_the_end_without_leave(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (transport, async_transport):
        monkeypatch.setattr(module, "LEAVE_S", 0.05)
    with peer(sends(answer({"ids": [1]}))) as server:
        docs = collection(connect, server)
        assert docs.upsert(range(6), payloads=LARGE) == [1]
        assert len(server.bodies[-1]) > 6 << 20


def test_an_answer_in_the_middle_of_a_body_is_heard(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (transport, async_transport):
        monkeypatch.setattr(module, "LEAVE_S", 0.05)

    def play(peer: Peer, connection: socket.socket, asked: bytes) -> bool:
        connection.recv(1 << 16)
        connection.sendall(answer({"ids": [7]}))
        time.sleep(0.05)
        connection.close()  # with a reset, since there is more to read
        return False

    with peer(play) as server:
        assert collection(connect, server).upsert(range(6), payloads=LARGE) == [7]


def test_a_server_that_takes_nothing_is_a_timeout(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (transport, async_transport):
        monkeypatch.setattr(module, "LEAVE_S", 0.01)
    with peer(lambda peer, connection, head: time.sleep(0.5)) as server:
        docs = collection(connect, server, timeout_s=0.1)
        with pytest.raises(vsearch.Timeout):
            docs.upsert(range(6), payloads=LARGE)


# Threads, tasks, forks


def echo(peer: Peer, connection: socket.socket, head: bytes) -> None:
    """The collection of the name that was asked for."""
    name = head.split(b" ")[1].rpartition(b"/")[2].decode()
    connection.sendall(answer({"name": name, "fields": {}, "payload_indexes": []}))


def test_threads_get_their_own_answers() -> None:
    with peer(echo) as server, vsearch.connect(server.url) as db, ThreadPoolExecutor(16) as pool:
        names = [f"c{i}" for i in range(400)]
        assert list(pool.map(lambda name: db.collection(name).name, names)) == names
        assert server.connections <= 16


def test_tasks_get_their_own_answers_and_one_that_is_cancelled_costs_its_connection() -> None:
    async def main(url: str) -> None:
        async with vsearch.connect_async(url) as db:
            names = [f"c{i}" for i in range(100)]
            assert [docs.name for docs in await asyncio.gather(*map(db.collection, names))] == names
            task = asyncio.create_task(db.collection("slow"))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await db.collection("next")).name == "next"

    def play(peer: Peer, connection: socket.socket, head: bytes) -> None:
        time.sleep(0.1 if b"slow" in head else 0)
        echo(peer, connection, head)

    with peer(play) as server:
        asyncio.run(main(server.url))


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # what was open in a loop that is gone
def test_an_async_client_may_be_used_in_a_later_loop() -> None:
    with peer(echo) as server:
        db = vsearch.connect_async(server.url)
        for name in ("a", "b"):
            assert asyncio.run(db.collection(name)).name == name
        asyncio.run(db.close())
    gc.collect()


FORK = """
import os, sys, vsearch
db = vsearch.connect(sys.argv[1])
assert db.collection("before").name == "before"
child = os.fork()
for i in range(50):
    name = f"{'parent' if child else 'child'}{i}"
    assert db.collection(name).name == name
if child:
    assert os.waitpid(child, 0)[1] == 0
db.close()
os._exit(0)
"""


def test_a_forked_process_has_connections_of_its_own() -> None:
    with peer(echo) as server:
        done = subprocess.run([sys.executable, "-c", FORK, server.url], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert server.connections == 2


def test_closing_closes_connections(connect: Any) -> None:
    ended = threading.Event()

    def play(peer: Peer, connection: socket.socket, head: bytes) -> bool:
        connection.sendall(answer(NAMES))
        if connection.recv(1) == b"":
            ended.set()
        return False

    with peer(play) as server:
        db = connect(server.url)
        db.collections()
        db.close()
        assert ended.wait(5)


# Answers and errors


def mocked(handler: Callable[[httpx.Request], httpx.Response], url: str = "http://host", **options: Any) -> Any:
    server = Server(url, **options)
    return RemoteDatabase(server, httpx.MockTransport(handler))


def told(code: str, status: int = 400, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "status": {"error": "what it was"}, **more})


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_comes_back_as_its_own_class(name: str) -> None:
    kind = getattr(errors, name)
    with pytest.raises(errors.VSearchError) as caught:
        mocked(lambda request: told(kind.code, 507, message="m", hint="h", retryable=True)).collections()
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.hint) == ("m", "h")
    assert ERRORS[kind.code] is kind


def test_an_error_of_a_newer_server_is_an_error_of_ours() -> None:
    with pytest.raises(errors.VSearchError, match="what it was") as caught:
        mocked(lambda request: told("brand_new")).collections()
    assert type(caught.value) is errors.VSearchError


FOREIGN: dict[str, httpx.Response] = {
    "200 OK": httpx.Response(200, json={"collections": ["a"]}),
    "204 No Content": httpx.Response(204),
    "307 Temporary Redirect": httpx.Response(307, headers={"location": "http://elsewhere"}),
    "404 Not Found": httpx.Response(404, json={"status": {"error": "Qdrant has no code"}, "time": 0}),
    "400 Bad Request": httpx.Response(400, json=["code"]),
    "409 Conflict": httpx.Response(409, json={"code": "already_exists", "status": "error"}),
    "500 Internal Server Error": httpx.Response(
        500, content=b"[" * 10**5, headers={"content-type": "application/json"}
    ),
    "502 Bad Gateway": httpx.Response(502, html="<h1>code</h1>"),
    "503 Service Unavailable": httpx.Response(503),
    "403 Forbidden": httpx.Response(403, content=wire.pack({"code": "x"}), headers={"content-type": wire.MSGPACK}),
}
UNREADABLE = [b"", b"\xc1", BODY[:-3], wire.pack([1]), wire.pack({}), wire.pack({"collections": ["a"]}) + b"x"]


@pytest.mark.parametrize("status", FOREIGN)
def test_an_answer_of_something_else_is_unavailable(status: str) -> None:
    with pytest.raises(vsearch.Unavailable, match=status) as caught:
        mocked(lambda request: FOREIGN[status]).collections()
    assert type(caught.value) is vsearch.Unavailable
    assert "proxy" in caught.value.hint


@pytest.mark.parametrize("content", UNREADABLE, ids=repr)
def test_an_answer_that_cannot_be_read_is_unavailable(content: bytes) -> None:
    answered = httpx.Response(200, content=content, headers={"content-type": wire.MSGPACK})
    with pytest.raises(vsearch.Unavailable, match="200 OK"):
        mocked(lambda request: answered).collections()


def test_arguments_that_cannot_be_sent_are_refused_here() -> None:
    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError("it was sent")

    db = mocked(never)
    docs = vsearch.RemoteCollection(db, mocked_description())
    calls: list[Callable[[], Any]] = [
        lambda: docs.search([1.0], using=object()),  # type: ignore[arg-type]
        lambda: docs.search([1.0], using="\ud800"),
        lambda: docs.search([1.0], score_threshold=2**70),
        lambda: docs.search([1.0], limit=True),
        lambda: docs.search([1.0], params={"ef": 3}),  # type: ignore[arg-type]
        lambda: docs.search([object()]),  # type: ignore[list-item]
        lambda: docs.delete_payload({"a"}, ids=[1]),  # type: ignore[arg-type]
        lambda: docs.import_file(__file__, skip="abc"),
        lambda: db.create_collection("a", fields={}),
    ]
    for call in calls:
        with pytest.raises(vsearch.InvalidArgument) as caught:
            call()
        assert caught.value.hint


def mocked_description() -> Any:
    from vsearch.remote.upkeep import Description

    return Description("docs", {}, [])


# Addresses and secrets


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "localhost:6333", "ftp://host", "http://", "http:///x", "http://host:x", "http://a b", None, 7],
)
def test_a_bad_url_is_refused(url: Any) -> None:
    for connect in (vsearch.connect, vsearch.connect_async):
        with pytest.raises(vsearch.InvalidArgument, match="URL") as caught:
            connect(url)
        assert "http://localhost:6333" in caught.value.hint


@pytest.mark.parametrize("options", [{"timeout_s": 0}, {"timeout_s": True}, {"timeout_s": "1"}, {"verify": "/none"}])
def test_bad_options_are_refused(options: Any) -> None:
    with pytest.raises(vsearch.InvalidArgument):
        vsearch.connect("https://host", **options)


def test_the_key_is_sent_and_never_shown(connect: Any) -> None:
    with peer(sends(answer(NAMES))) as server:
        db = connect(server.url, api_key=KEY)
        db.collections()
        assert f"api-key: {KEY}\r\n".encode() in server.heads[0]
        assert b"\r\naccept-encoding: identity\r\n" in server.heads[0]  # answers are read as they are
        server.play = sends(b"nonsense\r\n\r\n", keep=False)
        with pytest.raises(vsearch.Unavailable) as caught:
            db.collections()
    shown = [repr(db), str(caught.value), "".join(traceback.format_exception(caught.value)), db.url]
    assert not [text for text in shown if KEY in text]
    bad = [{"api_key": KEY + "\r\nx: y"}, {"api_key": KEY + "é"}, {"api_key": KEY.encode()}]
    for options, url in [
        *((one, "http://host") for one in bad),
        ({}, f"http://me:{KEY}@host"),
        ({}, f"http://a?k={KEY}"),
    ]:
        with pytest.raises(vsearch.InvalidArgument) as refused:
            connect(url, **options)
        assert KEY not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("url", "target"), [("", b"/v1"), ("/", b"/v1"), ("/vec/db", b"/vec/db/v1"), ("/a%20b/", b"/a%20b/v1")]
)
def test_a_server_behind_a_path(connect: Any, url: str, target: bytes) -> None:
    with peer(sends(answer(NAMES))) as server:
        db = connect(server.url + url)
        db.collections()
        assert server.heads[0].startswith(b"GET " + target + b"/collections HTTP/1.1\r\n")
        assert f"\r\nhost: localhost:{server.port}\r\n".encode() in server.heads[0]
        assert db.url == (server.url + url).rstrip("/")


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with peer(sends(answer(NAMES))) as proxy, peer(sends(answer({"collections": []}))) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "inside.example")
        assert connect("http://db.example:99").collections() == ["a", "b"]
        assert proxy.heads[0].startswith(b"GET http://db.example:99/v1/collections HTTP/1.1\r\n")
        assert connect(server.url).collections() == []
        assert len(proxy.heads) == 1
        for url in ("http://inside.example", "http://[::1]:7"):
            assert Server(url)._plain
        assert not Server("http://outside.example")._plain


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    name = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run([*make, *name], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return cert, key


def test_https(connect: Any, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    with peer(sends(answer(NAMES)), context) as server:
        for verify in (str(cert), False):
            db = connect(server.url, verify=verify, api_key=KEY)
            assert [db.collections() for _ in range(2)] == [["a", "b"]] * 2
        assert server.connections == 2
        with pytest.raises(vsearch.Unavailable, match=r"(?i)certificate"):
            connect(server.url).collections()


# Files


INFO = {"name": "s", "nbytes": 3, "created_at": "2026-01-02T03:04:05+00:00", "checksum": sha256(b"abc").hexdigest()}


def listing(then: Play) -> Play:
    def play(peer: Peer, connection: socket.socket, head: bytes) -> Any:
        if b"/list" in head:
            return sends(answer({"snapshots": [INFO]}))(peer, connection, head)
        return then(peer, connection, head)

    return play


def test_a_download_that_goes_wrong_leaves_nothing(connect: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("as it was")
    error = json.dumps({"code": "corruption", "status": {"error": "damaged"}}).encode()
    bad: list[tuple[type[Exception], bytes]] = [
        (vsearch.Corruption, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabd"),
        (vsearch.Unavailable, b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\nabc"),
        (vsearch.Unavailable, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        (vsearch.Unavailable, b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nabc"),
        (
            vsearch.Corruption,
            b"HTTP/1.1 500 Oh\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(error), error),
        ),
    ]
    for kind, sent in bad:
        with peer(listing(sends(sent, keep=False))) as server:
            db = connect(server.url)
            with pytest.raises(kind):
                db.download_snapshot("s", file)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "as it was")]
    with peer(listing(sends(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"))) as server:
        db = connect(server.url)
        assert db.download_snapshot("s", file).nbytes == 3
        assert file.read_text() == "abc"
        assert server.heads[-1].startswith(b"GET /snapshots/s HTTP/1.1")
        with pytest.raises(vsearch.NotFound, match=r"'t'.*There are: s"):
            db.download_snapshot("t", file)
        with pytest.raises(vsearch.InvalidArgument, match="folder"):
            db.download_snapshot("s", tmp_path)


def test_files_go_both_ways_in_constant_memory(connect: Any, tmp_path: Path) -> None:
    nbytes, piece = 24 << 20, bytes(1 << 20)
    file = tmp_path / "large"
    with file.open("wb") as out:
        for _ in range(nbytes >> 20):
            out.write(piece)

    def play(peer: Peer, connection: socket.socket, head: bytes) -> None:
        left = nbytes
        if head.startswith(b"GET"):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % nbytes)
            while left:
                left -= connection.send(piece)
        else:
            assert b"content-length: %d\r\n" % nbytes in head.lower()
            while left:
                left -= len(connection.recv(1 << 20))
            connection.sendall(answer({"points": 3}))

    with peer(play) as server:
        docs = collection(connect, server)
        tracemalloc.start()
        try:
            assert docs.import_file(file, "id", vectors={"v": "a b"}, skip=["x&y"]) == 3
            assert docs.export_file(tmp_path / "copy", "arrow") == nbytes
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 12 << 20
        query = b"id=id&batch_rows=2000&vector=v%3Da+b&skip=x%26y"
        assert server.heads[-2].startswith(b"POST /v1/collections/docs/import?" + query + b" HTTP/1.1")
        assert (tmp_path / "copy").stat().st_size == nbytes


def test_an_async_database_shows_where_it_is() -> None:
    db = vsearch.connect_async("http://host:1/x/", api_key=KEY)
    assert type(db) is AsyncDatabase
    assert repr(db) == "AsyncDatabase('http://host:1/x')"
