"""What clients ask for, and what they get."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.publish.negotiate import wants_gzip, wants_openmetrics

OM = "application/openmetrics-text"
PROMETHEUS_3_5 = (
    f"{OM};version=1.0.0;escaping=allow-utf-8;q=0.6,{OM};version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        # Prometheus 2.42 and 3.5
        (f"{OM};version=1.0.0,{OM};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        (PROMETHEUS_3_5, True),
        # PrometheusProto first, then OpenMetrics, then text
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7," + OM,
            True,
        ),
        # curl, browsers, nothing at all
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        # q decides
        (f"{OM};q=0.5,text/plain;q=0.6", False),
        (f"{OM};q=0.6,text/plain;q=0.5", True),
        (f"{OM};q=0", False),
        (f"{OM};q=0,text/plain;q=0", False),
        (f"text/plain;q=0,{OM};q=0.001", True),
        (f"{OM};q=0,*/*", False),
        ("text/plain;q=0,*/*;q=0.5", True),
        # then how exactly the type is named, then the order
        (f"*/*,{OM}", True),
        ("application/*,text/plain", False),
        ("application/*", True),
        (f"text/*,{OM};version=1.0.0", True),
        (f"text/plain,{OM}", False),
        (f"{OM},text/plain", True),
        # the most exact element speaks for a type: the exact one refuses, whatever */* says
        (f"{OM};version=1.0.0;q=0,{OM};q=1,text/plain;q=0.1", False),
        # versions that do not exist here are not OpenMetrics to us
        (f"{OM};version=2.0.0", False),
        (f"{OM};version=2.0.0,*/*;q=0.1", False),
        (f"{OM};version=0.0.1", True),
        (f'{OM.upper()};VERSION="1.0.0"; charset=utf-8; Q=1.0', True),
        # what cannot be read is not there
        (f"{OM};q=high,text/plain;q=0.1", False),
        (f"{OM};q=nan", False),
        (f"{OM};q=-1", False),
        (";;,,;q=1,=", False),
        ("application/json", False),
    ],
)
def test_accept(accept: str, openmetrics: bool) -> None:
    assert wants_openmetrics(accept) is openmetrics


@pytest.mark.parametrize(
    ("accept_encoding", "gzip"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("x-gzip", True),
        ("GZIP;Q=0.5", True),
        ("", False),
        ("identity", False),
        ("deflate", False),
        ("br, zstd", False),
        ("gzip;q=0", False),
        ("gzip;q=0.0, *", False),
        ("gzip;q=0.000, identity", False),
        ("*", True),
        ("*;q=0", False),
        ("*;q=0.5, identity;q=0", True),
        ("gzip;q=0.5, identity;q=1", False),
        ("gzip;q=1, identity;q=0.5", True),
        ("gzip, identity", True),
        ("deflate, gzip;q=0.1", True),
        ("gzip;q=x", False),
        ("identity;q=0", False),
    ],
)
def test_accept_encoding(accept_encoding: str, gzip: bool) -> None:
    assert wants_gzip(accept_encoding) is gzip


@settings(deadline=None)  # the machine may be busy
@given(st.text(st.sampled_from('abz*/;,=q.01"\\ \t-+e')))
def test_no_header_is_too_odd(header: str) -> None:
    assert wants_openmetrics(header) in (True, False)
    assert wants_gzip(header) in (True, False)
