"""The Kubernetes manifests: valid, hardened, of one piece, in keeping with the image, the settings and the routes."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import pytest

from exporter.settings import VARIABLES, load_settings
from tests.manifests import (
    ALL,
    EXPORTER,
    FOLDER,
    KUSTOMIZATION,
    NAME,
    REDIS,
    RESOURCES,
    Manifest,
    container,
    environment,
    mounted,
    pod,
    secret_files,
    the,
)
from tests.test_docs import ROUTES
from tests.test_packaging import DOCKERFILE, instructions

ROOT = Path(__file__).parents[1]
BUILT_IN = [manifest for manifest in ALL if manifest["kind"] != "ServiceMonitor"]
#: The oldest whose schemas know every field that is used, and the newest that is known here.
VERSIONS = ("1.29", kubernetes_validate.latest_version())


def label_of(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


# Valid


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", BUILT_IN, ids=label_of)
def test_kubernetes_takes_the_manifest(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_every_manifest_is_a_resource_and_none_holds_a_secret() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "secret.yaml"}
    assert files == {*KUSTOMIZATION["resources"], "secret.example.yaml"}
    assert "Secret" not in {manifest["kind"] for manifest in RESOURCES}
    assert "deploy/kubernetes/secret.yaml" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_no_manifest_names_a_namespace() -> None:
    assert not [label_of(manifest) for manifest in ALL if "namespace" in manifest["metadata"]]


# Hardened


@pytest.mark.parametrize("name", [EXPORTER, REDIS])
def test_pods_fit_the_restricted_pod_security_standard_and_write_to_no_root_file_system(name: str) -> None:
    context, own = pod(name)["securityContext"], container(name)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    kinds = {kind for _, volume in mounted(name) for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "secret", "emptyDir"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod(name).keys()


@pytest.mark.parametrize("name", [EXPORTER, REDIS])
def test_pods_hold_no_token_and_get_no_variables_of_services(name: str) -> None:
    assert pod(name)["automountServiceAccountToken"] is False
    assert pod(name)["enableServiceLinks"] is False


def test_the_exporters_service_account_can_do_nothing() -> None:
    assert the("ServiceAccount", pod()["serviceAccountName"])["automountServiceAccountToken"] is False
    assert not {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"} & {each["kind"] for each in ALL}


@pytest.mark.parametrize("name", [EXPORTER, REDIS])
def test_secrets_come_as_files_that_only_the_group_may_read(name: str) -> None:
    assert "secretKeyRef" not in str(container(name))
    assert "secretRef" not in str(container(name))
    (volume,) = [volume["secret"] for _, volume in mounted(name) if "secret" in volume]
    assert volume["defaultMode"] == 0o440
    assert the("Secret", volume["secretName"])


# Of one piece


@pytest.mark.parametrize("name", [EXPORTER, REDIS])
def test_whatever_selects_the_pods_finds_these(name: str) -> None:
    wanted = {NAME: name}
    assert the("Deployment", name)["spec"]["template"]["metadata"]["labels"] == wanted
    assert the("Deployment", name)["spec"]["selector"]["matchLabels"] == wanted
    assert the("Service", name)["spec"]["selector"] == wanted
    assert the("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"] == wanted


def test_the_budget_and_the_spreading_are_about_the_replicas() -> None:
    budget, replicas = the("PodDisruptionBudget")["spec"], the("Deployment")["spec"]["replicas"]
    (spreading,) = pod()["topologySpreadConstraints"]
    assert budget["selector"] == spreading["labelSelector"] == the("Deployment")["spec"]["selector"]
    assert budget["minAvailable"] < replicas
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize("name", [EXPORTER, REDIS])
def test_the_service_leads_to_the_port_that_the_container_opens(name: str) -> None:
    (port,) = container(name)["ports"]
    (served,) = the("Service", name)["spec"]["ports"]
    assert served == {"name": port["name"], "port": port["containerPort"], "targetPort": port["name"]}


def test_prometheus_finds_the_replicas_by_the_service() -> None:
    monitor = the("ServiceMonitor")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"].keys() == {"selector", "endpoints"}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= the("Service")["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint.keys() == {"port", "path", "interval", "scrapeTimeout"}
    assert endpoint["port"] == the("Service")["spec"]["ports"][0]["name"]
    assert endpoint["path"] in ROUTES


def test_replicas_that_are_not_ready_are_still_reached() -> None:
    """Else nobody could read why, once Genesys Cloud is out of reach of both."""
    assert the("Service")["spec"]["publishNotReadyAddresses"] is True


def test_the_network_lets_prometheus_and_the_replicas_in_and_nobody_else() -> None:
    (rule,) = the("NetworkPolicy")["spec"]["ingress"]
    among = {"podSelector": {"matchLabels": {NAME: EXPORTER}}}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert rule == {"from": [monitoring, among], "ports": [{"port": "http"}]}


def test_the_network_lets_the_exporter_out_to_names_redis_replicas_and_genesys_cloud() -> None:
    policy = the("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    out = [
        (port["port"], rule["to"][0]["podSelector"]["matchLabels"][NAME] if "to" in rule else "anywhere")
        for rule in policy["egress"]
        for port in rule["ports"]
    ]
    assert out == [(53, "anywhere"), (53, "anywhere"), ("redis", REDIS), ("http", EXPORTER), (443, "anywhere")]


def test_the_network_lets_only_exporters_to_redis_and_redis_nowhere() -> None:
    policy = the("NetworkPolicy", REDIS)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy
    (rule,) = policy["ingress"]
    assert rule == {"from": [{"podSelector": {"matchLabels": {NAME: EXPORTER}}}], "ports": [{"port": "redis"}]}


# In keeping with the exporter


def test_the_settings_exist_and_are_taken(tmp_path: Path) -> None:
    variables = environment()
    assert variables.keys() | secret_files().keys() <= VARIABLES.keys()
    assert variables["EXPORTER_SECRETS_DIR"] in dict(mounted())
    for name, text in secret_files().items():
        (tmp_path / name).write_text(text)
    made = load_settings(variables | {"EXPORTER_SECRETS_DIR": str(tmp_path), "EXPORTER_HISTORY": ":memory:"})
    assert made.warnings == ()
    assert all(made.read_credentials())
    assert made.port == container()["ports"][0]["containerPort"]


def test_redis_is_where_its_url_says_and_knows_that_user_and_password(tmp_path: Path) -> None:
    url = urlsplit(secret_files()["EXPORTER_REDIS_URL"])
    assert (url.hostname, url.port) == (REDIS, the("Service", REDIS)["spec"]["ports"][0]["port"])
    (acl,) = the("Secret", REDIS)["stringData"].values()
    assert f"user {url.username} on >{url.password} " in acl


def test_redis_reads_the_files_that_are_mounted() -> None:
    places = dict(mounted(REDIS))
    _, configuration = container(REDIS)["command"]
    folder, name = configuration.rsplit("/", 1)
    text = the("ConfigMap", places[folder]["configMap"]["name"])["data"][name]
    directives = dict(line.split(None, 1) for line in text.splitlines() if not line.startswith("#"))
    folder, name = directives["aclfile"].rsplit("/", 1)
    assert name in the("Secret", places[folder]["secret"]["secretName"])["stringData"]
    assert directives["maxmemory-policy"] == "noeviction"
    assert int(directives["port"]) == container(REDIS)["ports"][0]["containerPort"]


def test_the_image_is_run_as_it_was_made() -> None:
    context = pod()["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == instructions("USER")[-1]
    assert str(container()["ports"][0]["containerPort"]) == instructions("EXPOSE")[0]
    (place,) = re.findall(r'^VOLUME \["(.+)"\]$', DOCKERFILE, re.MULTILINE)
    assert "emptyDir" in dict(mounted())[place]


def test_the_image_is_named_in_one_place() -> None:
    (image,) = KUSTOMIZATION["images"]
    assert container()["image"] == image["name"]


def test_probes_ask_routes_that_exist_and_are_open_to_all() -> None:
    asked = {kind: container()[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {probe["path"] for probe in asked.values()} <= {*ROUTES}
    assert [probe["path"] for probe in asked.values()] == ["/-/healthy", "/-/healthy", "/-/ready"]
    assert {probe["port"] for probe in asked.values()} == {container()["ports"][0]["name"]}


def test_a_stop_is_given_more_time_than_it_takes() -> None:
    assert pod()["terminationGracePeriodSeconds"] > 5


def test_a_rollout_never_takes_the_last_replica_that_has_data() -> None:
    assert the("Deployment")["spec"]["replicas"] == 2
    assert the("Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert the("Deployment", REDIS)["spec"]["strategy"] == {"type": "Recreate"}
