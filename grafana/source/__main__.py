"""`python -m grafana.source` writes the generated files; `--check` only says which of them are not fresh (exit 1)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from grafana.source import exporter, exporter_alerts, overview, queue, queue_alerts, recordings
from grafana.source.managed import managed_rules
from grafana.source.rules import alert_rules, recording_rules

ROOT = Path(__file__).parent.parent
NOTE = "# Written by `python -m grafana.source` from grafana/source; change it there.\n"
ALERTS = (queue_alerts.GROUP, exporter_alerts.GROUP)


class _Dumper(yaml.SafeDumper):
    """Keeps keys in order, writes text of several lines as a block, and repeats instead of pointing."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(contents: Any) -> str:
    return NOTE + yaml.dump(contents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def _json(contents: Any) -> str:
    return json.dumps(contents, indent=2, ensure_ascii=False) + "\n"


def files() -> dict[Path, str]:
    """Every generated file and its contents."""
    dashboards = {"overview": overview.build(), "queue": queue.build(), "exporter": exporter.build()}
    by_uid = {made["uid"]: made for made in dashboards.values()}
    made = {ROOT / "dashboards" / f"{name}.json": _json(contents) for name, contents in dashboards.items()}
    made |= {ROOT / "rules" / f"{group.name}.yml": _yaml(alert_rules(group)) for group in ALERTS}
    made[ROOT / "rules" / "genesys-recordings.yml"] = _yaml(recording_rules(recordings.GROUPS))
    made[ROOT / "provisioning" / "alerting" / "rules.yml"] = _yaml(managed_rules(ALERTS, by_uid))
    return made


def stale() -> list[str]:
    """Generated files that are missing or not what `files` gives, relative to grafana/."""
    return [str(path.relative_to(ROOT)) for path, text in files().items() if not _holds(path, text)]


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        for name in (names := stale()):
            print(f"grafana/{name} is not fresh: run python -m grafana.source")
        return 1 if names else 0
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
