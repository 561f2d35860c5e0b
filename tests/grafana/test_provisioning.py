"""What a stock Grafana, a stock Prometheus and compose.yaml need so that everything is there at first start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from grafana.source.__main__ import files, main, stale
from tests.grafana import reading
from tests.grafana.reading import GRAFANA, ROOT, Json

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]
PROMETHEUS = yaml.safe_load((ROOT / "prometheus.yml").read_text("utf-8"))
(SOURCE,) = reading.provisioning("datasources/prometheus.yml")["datasources"]
(PROVIDER,) = reading.provisioning("dashboards/genesys.yml")["providers"]


def test_generated_files_are_fresh() -> None:
    assert stale() == [], "run python -m grafana.source"
    kept = {*GRAFANA.glob("dashboards/*"), *GRAFANA.glob("rules/*.yml"), *GRAFANA.glob("provisioning/alerting/*")}
    assert kept == files().keys(), "a generated file without a source"


def test_check_says_so_and_fails_when_a_file_is_not_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("grafana.source.__main__.ROOT", tmp_path)
    assert main(["--check"]) == 1
    assert "grafana/dashboards/overview.json is not fresh" in capsys.readouterr().out
    assert main([]) == 0
    assert main(["--check"]) == 0


def test_the_rules_of_grafana_ask_the_provisioned_source() -> None:
    uids = {node["datasourceUid"] for rule in reading.managed().values() for node in rule["data"]}
    assert uids == {SOURCE["uid"], "__expr__"}


def test_every_provisioning_file_is_of_version_1() -> None:
    paths = sorted((GRAFANA / "provisioning").rglob("*.yml"))
    assert [path.parent.name for path in paths] == ["alerting", "dashboards", "datasources"]
    assert all(
        reading.provisioning(str(path.relative_to(GRAFANA / "provisioning")))["apiVersion"] == 1 for path in paths
    )


def mounts(service: Json) -> dict[str, str]:
    """Where a folder or file of the project stands in a container."""
    pairs = (text.split(":") for text in service["volumes"] if text.startswith("./"))
    return {target: source for source, target, _ in pairs}


def test_grafana_finds_what_is_provisioned() -> None:
    mounted = mounts(SERVICES["grafana"])
    assert mounted["/etc/grafana/provisioning"] == "./grafana/provisioning"  # where a stock Grafana looks
    assert mounted[PROVIDER["options"]["path"]] == "./grafana/dashboards"
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (ROOT / mounted[str(home.parent)] / home.name).exists()


def test_grafana_finds_prometheus_and_knows_its_rhythm() -> None:
    assert SOURCE["url"] == "http://prometheus:9090"
    assert "prometheus" in SERVICES
    assert SOURCE["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]


def test_prometheus_in_a_container_scrapes_the_exporter_and_loads_the_rules() -> None:
    service = SERVICES["prometheus"]
    mounted = mounts(service)
    (target,) = PROMETHEUS["scrape_configs"][0]["static_configs"][0]["targets"]
    (command,) = service["command"]
    assert f"s/{target}/exporter:10420/" in command
    written = Path(command.split("--config.file=")[1].split()[0])
    (pattern,) = PROMETHEUS["rule_files"]
    assert mounted[str((written.parent / pattern).parent)] == "./grafana/rules"
    assert list(ROOT.glob(pattern))
    assert SERVICES["exporter"]["environment"]["EXPORTER_PORT"] == "10420"


def test_compose_shows_the_demo_until_a_dot_env_says_otherwise() -> None:
    exporter = SERVICES["exporter"]
    assert exporter["command"] == ["${MODE:-demo}"]
    assert exporter["env_file"] == [{"path": ".env", "required": False}]
    assert "${MODE:-demo}" in exporter["environment"]["EXPORTER_HISTORY"]


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_or_gets_privileges(name: str) -> None:
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


def test_the_exporter_has_a_read_only_root_and_time_to_stop() -> None:
    assert SERVICES["exporter"]["read_only"] is True
    assert int(SERVICES["exporter"]["stop_grace_period"].removesuffix("s")) > 5


def test_volumes_are_declared() -> None:
    def named() -> Iterator[str]:
        for service in SERVICES.values():
            yield from (text.split(":")[0] for text in service["volumes"] if not text.startswith("./"))

    assert set(named()) == COMPOSE["volumes"].keys()
