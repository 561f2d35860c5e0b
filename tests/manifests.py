"""What `kubectl apply -k deploy/kubernetes` would send, and the example of the Secrets, as plain objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "deploy/kubernetes"
KUSTOMIZATION: Mapping[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))

Manifest = Mapping[str, Any]

EXPORTER, REDIS = "genesys-cloud-exporter", "genesys-cloud-exporter-redis"
NAME = "app.kubernetes.io/name"


def read(name: str) -> list[Manifest]:
    return list(yaml.safe_load_all((FOLDER / name).read_text("utf-8")))


RESOURCES = [manifest for name in KUSTOMIZATION["resources"] for manifest in read(name)]
SECRETS = read("secret.example.yaml")
ALL = [*RESOURCES, *SECRETS]


def the(kind: str, name: str = EXPORTER) -> Manifest:
    (found,) = [each for each in ALL if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod(name: str = EXPORTER) -> Manifest:
    """The pods' specification."""
    spec: Manifest = the("Deployment", name)["spec"]["template"]["spec"]
    return spec


def container(name: str = EXPORTER) -> Manifest:
    (only,) = pod(name)["containers"]
    found: Manifest = only
    return found


def mounted(name: str = EXPORTER) -> Iterator[tuple[str, Manifest]]:
    """Where each volume appears in the container, and what it is."""
    volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
    for mount in container(name)["volumeMounts"]:
        yield mount["mountPath"], volumes[mount["name"]]


def environment() -> dict[str, str]:
    """What the exporter's container is given as variables."""
    variables: dict[str, str] = {}
    for source in container().get("envFrom", ()):
        variables |= the("ConfigMap", source["configMapRef"]["name"])["data"]
    return variables | {each["name"]: each["value"] for each in container().get("env", ())}


def secret_files() -> dict[str, str]:
    """File → text of the exporter's Secret, as it is mounted."""
    files: dict[str, str] = the("Secret")["stringData"]
    return files
