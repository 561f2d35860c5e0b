"""A past for Prometheus: one page of /metrics, told again for every step of the hours before.

In: the page, as text 0.0.4, and the moment when it was read. Out: OpenMetrics for `promtool tsdb
create-blocks-from openmetrics`. Gauges stay as they are, so a flag that is up now was up all the time; counters have
grown evenly; moments in time are as old as they are now.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

#: What Prometheus adds to every sample of a target.
TargetLabels = dict[str, str]


def told_again(page: str, now: float, *, seconds: int, step: int, target: TargetLabels) -> Iterator[str]:
    """Lines of OpenMetrics, each with its line break; `target` are the labels `job` and `instance`."""
    moments = range(int(now) - seconds, int(now), step)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = ",".join(f'{name}="{_escaped(text)}"' for name, text in (sample.labels | target).items())
            for moment in moments:
                value = _value(sample.name, sample.value, now - moment, seconds)
                yield f"{sample.name}{{{labels}}} {value!r} {moment}\n"
    yield "# EOF\n"


def _value(name: str, value: float, ago: float, seconds: int) -> float:
    if name.endswith(("_total", "_count", "_sum", "_bucket")):
        return value * (1 - ago / (2 * seconds))
    return value - ago if name.endswith("_timestamp_seconds") else value


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
