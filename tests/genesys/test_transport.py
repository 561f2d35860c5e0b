"""One HTTP call: what is tried again and when, what every kind of broken answer becomes, what stays secret."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import ssl
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiohttp
import orjson
import pytest
from aioresponses import aioresponses as AioResponses  # noqa: N812

from exporter.errors import AuthError, GenesysError, PayloadError, QueryError, RateLimited, ScopeError, Unavailable
from exporter.genesys import transport
from exporter.genesys.aggregates import Answer
from exporter.genesys.decode import decode
from exporter.models import ApiCalled, ApiRetried, ApiThrottled, RateLimitSeen
from tests.genesys.conftest import AGGREGATES, QUEUES, Client, MakeClient, Reply, raw_service

BODY = {"message": "words of the service", "code": "some.code", "contextId": "ctx-1", "status": 400}


# What is tried again


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_transient_status_is_tried_four_times_in_all(client: Client, status: int) -> None:
    client.service.script(AGGREGATES, Reply(BODY, status))
    with pytest.raises(RateLimited if status == 429 else Unavailable):
        await client.send()
    assert len(client.service.seen) == 4
    assert [called.code for called in client.events_of(ApiCalled)] == [str(status)] * 4
    waits = [retried.wait_seconds for retried in client.events_of(ApiRetried)]
    assert all(0 <= wait <= most for wait, most in zip(waits, (1, 2, 4), strict=True))


async def test_the_waits_between_tries_are_full_jitter_by_the_injected_clock(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(status=503))
    for _ in range(25):
        with pytest.raises(Unavailable):
            await client.send()
    waits = [retried.wait_seconds for retried in client.events_of(ApiRetried)]
    for place, most in enumerate((1, 2, 4)):
        of_this_try = waits[place::3]
        assert min(of_this_try) < 0.3 * most
        assert max(of_this_try) > 0.7 * most
    assert client.clock.sleeps == pytest.approx(waits)


async def test_the_answer_of_a_later_try_is_the_answer(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(status=503), Reply(status=502), Reply({"good": 1}))
    assert await client.send() == b'{"good": 1}'
    assert [retried.reason for retried in client.events_of(ApiRetried)] == ["unavailable", "unavailable"]
    assert client.events_of(ApiThrottled) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, QueryError),
        (401, AuthError),
        (403, ScopeError),
        (404, QueryError),
        (405, QueryError),
        (409, QueryError),
        (413, QueryError),
        (415, QueryError),
        (302, QueryError),
    ],
)
async def test_a_refusal_is_not_tried_again(client: Client, status: int, kind: type[GenesysError]) -> None:
    client.service.script(AGGREGATES, Reply(BODY, status))
    with pytest.raises(kind) as caught:
        await client.send()
    assert type(caught.value) is kind
    assert not caught.value.transient
    assert len(client.service.seen) == 1
    assert client.clock.sleeps == []


# Retry-After and the deadline


async def test_retry_after_in_seconds_comes_before_jitter(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(status=429, headers={"Retry-After": "42"}), Reply())
    await client.send()
    assert [seen.at for seen in client.service.seen] == pytest.approx([0, 42])
    assert client.events_of(ApiRetried) == [ApiRetried("aggregates", "rate_limited", 42)]
    assert client.events_of(ApiThrottled) == [ApiThrottled(42)]
    assert client.events_of(ApiThrottled) == [ApiThrottled(42)]


async def test_retry_after_as_a_date_is_measured_from_the_wall_clock(client: Client) -> None:
    date = format_datetime(client.clock.now() + timedelta(seconds=20), usegmt=True)
    client.service.script(AGGREGATES, Reply(status=503, headers={"Retry-After": date}), Reply())
    await client.send()
    assert [seen.at for seen in client.service.seen] == pytest.approx([0, 20])


@pytest.mark.parametrize("header", ["0", "soon", "", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", "²"])
async def test_a_retry_after_that_asks_for_nothing_leaves_the_jitter(client: Client, header: str) -> None:
    client.service.script(AGGREGATES, Reply(status=429, headers={"Retry-After": header}), Reply())
    await client.send()
    (retried,) = client.events_of(ApiRetried)
    assert 0 < retried.wait_seconds <= 1


@pytest.mark.parametrize(("asked", "tries"), [(180, 2), (181, 1), (86_400, 1), (10**400, 1)])
async def test_a_retry_after_over_three_minutes_means_a_daily_limit_and_is_not_waited_for(
    client: Client, asked: int, tries: int
) -> None:
    client.service.script(AGGREGATES, Reply(status=429, headers={"Retry-After": str(asked)}), Reply())
    if tries == 1:
        with pytest.raises(RateLimited):
            await client.send(seconds=1000)
    else:
        await client.send(seconds=1000)
    assert len(client.service.seen) == tries


async def test_a_retry_after_beyond_the_deadline_is_given_up_at_once(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(status=429, headers={"Retry-After": "30"}))
    with pytest.raises(RateLimited) as caught:
        await client.send(seconds=20)
    assert caught.value.retry_after_seconds == 30
    assert client.clock.monotonic() == 0
    assert len(client.service.seen) == 1


async def test_tries_never_go_past_the_deadline(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(status=503))
    for _ in range(20):
        deadline, before = client.deadline(1.5), len(client.service.seen)
        with pytest.raises(Unavailable):
            await client.transport.send(client.call(), deadline)
        assert client.clock.monotonic() <= deadline
        assert all(seen.at < deadline for seen in client.service.seen[before:])


async def test_no_call_leaves_after_the_deadline(client: Client) -> None:
    with pytest.raises(Unavailable, match="no time is left"):
        await client.send(seconds=0)
    assert client.service.seen == []


async def test_a_retry_after_holds_back_every_other_call_too(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(status=429, headers={"Retry-After": "42"}))
    client.service.script(QUEUES, Reply())
    with pytest.raises(RateLimited):
        await client.send(seconds=10)
    with pytest.raises(RateLimited, match="asked for a pause that lasts another 42 s"):
        await client.send(path=QUEUES, method="GET", body=None, seconds=10)
    await client.send(path=QUEUES, method="GET", body=None, seconds=60)
    assert [seen.at for seen in client.service.calls(QUEUES)] == pytest.approx([42])
    assert client.events_of(ApiThrottled) == [ApiThrottled(42)]


async def test_an_endless_retry_after_closes_the_gate_for_three_minutes_at_most(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(status=429, headers={"Retry-After": "86400"}), Reply())
    with pytest.raises(RateLimited):
        await client.send()
    await client.send(seconds=200)
    assert client.service.seen[-1].at == pytest.approx(180)


# Words


async def test_the_message_holds_what_support_will_ask_for(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(BODY, 400))
    with pytest.raises(QueryError) as caught:
        await client.send()
    assert str(caught.value) == "aggregates: HTTP 400 some.code: words of the service (contextId ctx-1)"


async def test_without_a_context_id_the_correlation_id_stands_in_its_place(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(b"<html>", 502, {"ININ-Correlation-Id": "corr-9"}))
    with pytest.raises(Unavailable, match=r"^aggregates: HTTP 502 \(contextId corr-9\)$"):
        await client.send()


async def test_the_correlation_id_of_every_answer_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.service.script(AGGREGATES, Reply(headers={"ININ-Correlation-Id": "corr-1"}))
    with caplog.at_level(logging.DEBUG, "exporter.genesys"):
        await client.send()
    assert "POST aggregates 200, correlation id corr-1" in caplog.text


@pytest.mark.parametrize(
    "echo",
    [
        {"message": "you sent s3/cr+t=", "code": "bad"},
        {"message": "m", "code": "s3/cr+t="},
        {"message": "m", "contextId": "s3/cr+t="},
        {"error": "e", "error_description": "s3/cr+t="},
        b'{"message": "you sent s3\\/cr\\u002bt="}',
        {"message": "x" * 296 + "s3/cr+t="},
    ],
)
async def test_a_secret_that_the_service_echoes_is_in_no_message(
    client: Client, echo: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client.service.script(AGGREGATES, Reply(echo, 400, {"ININ-Correlation-Id": "id-s3/cr+t="}))
    call = client.call().authorised("Bearer s3/cr+t=", "s3/cr+t=")
    with caplog.at_level(logging.DEBUG), pytest.raises(QueryError) as caught:
        await client.transport.send(call, client.deadline())
    for text in (str(caught.value), repr(caught.value), caplog.text, repr(call)):
        assert "s3/" not in text
    assert "***" in str(caught.value)


# Answers that are none


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b'{"results": [',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"res',
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\nnot gzip!!!!",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 12\r\n\r\nnot deflate!",
    ],
    ids=["length", "chunked", "gzip garbage", "deflate garbage"],
)
async def test_a_body_that_is_cut_or_garbled_is_a_payload_error_tried_again(client: Client, answer: bytes) -> None:
    async with raw_service(answer) as raw:
        with pytest.raises(PayloadError, match=r"^aggregates: the answer was cut off or cannot be decompressed$"):
            await client.send(url=raw.url)
    assert raw.requests == 4
    assert {called.code for called in client.events_of(ApiCalled)} == {"error"}


@pytest.mark.parametrize(
    ("answer", "reset"),
    [
        (b"", False),
        (b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"\x16\x03\x01\x00\xa5\x01", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnonsense\r\n", False),
        (b"HTTP/1.1 99999 OK\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
    ],
    ids=["closed", "reset", "cut head", "ssh", "tls", "huge header", "chunk size", "status", "length", "smuggled"],
)
async def test_a_connection_without_an_http_answer_is_unavailable_and_tried_again(
    client: Client, answer: bytes, reset: bool
) -> None:
    async with raw_service(answer, reset=reset) as raw:
        with pytest.raises(Unavailable) as caught:
            await client.send(url=raw.url)
    assert raw.requests == 4
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


async def test_compressed_bytes_that_end_early_do_not_pass_for_a_whole_answer(client: Client) -> None:
    """aiohttp does not notice the missing end of a gzip stream; the parser does, since no prefix of JSON is JSON."""
    whole = gzip.compress(orjson.dumps({"results": [{"group": {"queueId": str(n)}, "data": []} for n in range(99)]}))
    client.service.script(AGGREGATES, Reply(whole[:-40], headers={"Content-Encoding": "gzip"}))
    with pytest.raises(PayloadError):
        decode(await client.send(), Answer, "aggregates")


async def test_an_answer_without_end_is_cut_at_the_limit(client: Client) -> None:
    client.service.script(
        AGGREGATES, Reply(gzip.compress(bytes(transport.MAX_BODY_BYTES + 1), 1), headers={"Content-Encoding": "gzip"})
    )
    with pytest.raises(PayloadError, match=r"larger than 128 MiB$"):
        await client.send()
    assert len(client.service.seen) == 1


async def test_a_refusal_without_end_is_not_read_to_it(client: Client) -> None:
    head = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 900000000\r\n\r\n"
    async with raw_service(head + b" " * (transport.MAX_REFUSAL_BYTES + 1)) as raw:
        with pytest.raises(Unavailable, match=r"^aggregates: HTTP 502$"):
            await client.send(url=raw.url)
    assert {called.code for called in client.events_of(ApiCalled)} == {"502"}


async def test_a_slow_answer_costs_no_more_than_the_deadline(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(slow_seconds=5))
    with pytest.raises(Unavailable, match="no answer within"):
        async with asyncio.timeout(2):
            await client.send(seconds=0.1)


async def test_a_refused_connection_is_unavailable(client: Client) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening
        with pytest.raises(Unavailable, match="ClientConnectorError"):
            await client.send(url=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert len(client.events_of(ApiRetried)) == 3


async def test_a_port_that_speaks_no_tls_is_named_so(client: Client) -> None:
    with pytest.raises(Unavailable, match="no trusted TLS connection"):
        await client.send(url=client.service.url.replace("http:", "https:"))


async def test_an_untrusted_certificate_is_named_so(client: Client, mocked_http: AioResponses) -> None:
    refused = ssl.SSLCertVerificationError("certificate verify failed: self-signed certificate")
    error = aiohttp.ClientConnectorCertificateError(Mock(host="api.example.test", port=443), refused)
    mocked_http.post(f"https://api.example.test{AGGREGATES}", exception=error, repeat=True)
    with pytest.raises(Unavailable, match=r"no trusted TLS connection: .*self-signed"):
        await client.send(url="https://api.example.test")


async def test_a_host_without_an_address_is_named_so(client: Client, mocked_http: AioResponses) -> None:
    error = aiohttp.ClientConnectorDNSError(Mock(), OSError(-2, "Name or service not known"))
    mocked_http.post(f"https://api.example.test{AGGREGATES}", exception=error, repeat=True)
    with pytest.raises(Unavailable, match="cannot be resolved; check GENESYS_ENVIRONMENT"):
        await client.send(url="https://api.example.test")


async def test_a_url_that_is_none_is_named_so(client: Client) -> None:
    with pytest.raises(Unavailable, match="not a usable address"):
        await client.send(url="http://[")


async def test_a_redirect_is_not_followed(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(status=307, headers={"Location": client.service.url + QUEUES}))
    with pytest.raises(QueryError, match="a redirect is not followed"):
        await client.send()
    assert client.service.calls(QUEUES) == []


# What aiohttp would do by itself


async def test_a_get_on_a_broken_kept_connection_is_not_sent_again_past_the_gate(client: Client) -> None:
    """aiohttp repeats idempotent requests by itself; every call must be counted."""
    kept = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    heads: list[bytes] = []

    async def answer_once_and_then_hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(kept)
            heads.append(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer_once_and_then_hang_up, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for _ in range(2):
            await client.send(path=QUEUES, method="GET", body=None, url=url)
        await client.session.close()
    assert len(heads) == 3
    assert len(client.events_of(ApiCalled)) == 3
    assert len(client.events_of(ApiRetried)) == 1


async def test_a_netrc_login_takes_nothing_from_the_bearer_token(
    make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client = await make_client(trust_env=True)
    client.service.script(AGGREGATES, Reply())
    await client.transport.send(client.call().authorised("Bearer token-1", "token-1"), client.deadline())
    assert client.service.seen[0].headers["Authorization"] == "Bearer token-1"


# Rate-limit headers


def limits(allowed: str, count: str, reset: str = "30") -> dict[str, str]:
    return {"inin-ratelimit-allowed": allowed, "inin-ratelimit-count": count, "inin-ratelimit-reset": reset}


async def test_the_rate_limit_headers_are_told(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(headers=limits("180", "1")))
    await client.send()
    assert client.events_of(RateLimitSeen) == [RateLimitSeen(180, 179)]


async def test_a_used_up_minute_holds_the_next_call_back_until_it_is_over(client: Client) -> None:
    client.service.script(AGGREGATES, Reply(headers=limits("180", "180", "30")))
    await client.send()
    await client.send()
    assert [seen.at for seen in client.service.seen] == pytest.approx([0, 30])


@pytest.mark.parametrize(
    "headers",
    [
        limits("many", "1"),
        limits("nan", "1"),
        limits("180", "nan"),
        limits("180", "-7"),
        limits("inf", "1"),
        limits("0", "0"),
        limits("-5", "-9"),
        limits("180", "1e400"),
        limits("180", "180", "nan"),
        limits("180", "180", "1e9"),
        limits("180", "180", "-3"),
        {"inin-ratelimit-allowed": "180"},
    ],
)
async def test_rate_limit_headers_that_make_no_sense_hold_nothing_up(client: Client, headers: dict[str, str]) -> None:
    client.service.script(AGGREGATES, Reply(headers=headers))
    await client.send()
    await client.send(seconds=1)
    for seen in client.events_of(RateLimitSeen):
        assert seen in (RateLimitSeen(180, 0), RateLimitSeen(180, 179))
