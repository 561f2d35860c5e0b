"""The container image, really built and started, by Debian's buildah, podman and runc, without an engine.

In: the checkout. Out: `Images` that builds it, and `Container`s that run it as the Kubernetes manifests do: read-only
root, no capabilities, no new privileges, nowhere to write but the volume. Images and containers live in
build/image-check, apart from the machine's own. Where the base image cannot be pulled, a Debian of the same release
with its own Python stands in for it; what lies in the base is then not what is shipped, the rest is.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build/image-check"
NAME = "localhost/genesys-cloud-exporter:image-check"
TOOLS = ("buildah", "podman", "runc", "mmdebstrap")

#: What the base needs to build and run: a Python with venv and pip, and the CAs.
_PACKAGES = "python3,python3-venv,ca-certificates"
#: This machine's CAs, for networks where a proxy signs in the package index' place.
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if not shutil.which(tool)]


def _run(*command: str | Path, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(  # noqa: S603
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=timeout
    )
    assert not check or done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done


class Images:
    """A storage of its own, with the image of the checkout in it."""

    def __init__(self, place: Path = PLACE) -> None:
        self._place = place
        place.mkdir(parents=True, exist_ok=True)
        self._storage = ("--root", str(place / "storage"), "--runroot", str(place / "run"))

    def podman(self, *words: str, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        options = ("--cgroup-manager", "cgroupfs", "--runtime", "runc")
        return _run("podman", *self._storage, *options, *words, check=check, timeout=timeout)

    def build(self) -> None:
        """Build the image from the Dockerfile, with what .dockerignore lets through."""
        base = f"docker.io/library/{_from_of(ROOT / 'Dockerfile')}"
        if self.podman("image", "exists", base, check=False).returncode:
            self._get(base)
        options = ["--pull-never", "--isolation", "chroot", "--format", "docker", "--layers"]
        if _CERTIFICATES.exists():
            pip = self._place / "pip.conf"
            pip.write_text(f"[global]\ncert = {_CERTIFICATES}\n")
            options += ["--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro", "--volume", f"{pip}:/etc/pip.conf:ro"]
        _run("buildah", *self._storage, "bud", *options, "--tag", NAME, ROOT)

    def _get(self, base: str) -> None:
        try:
            if self.podman("pull", "--quiet", base, check=False, timeout=120).returncode == 0:
                return
        except subprocess.TimeoutExpired:
            pass
        release = base.rpartition("-")[2]
        archive = self._place / "base.tar"
        _run("mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", release, archive)
        self.podman("import", "--quiet", str(archive), base)
        archive.unlink()

    def described(self) -> Mapping[str, Any]:
        """What the image says of itself."""
        told = json.loads(_run("buildah", *self._storage, "inspect", "--type", "image", NAME).stdout)
        config: Mapping[str, Any] = told["Docker"]["config"]
        return config


def _from_of(dockerfile: Path) -> str:
    lines = dockerfile.read_text("utf-8").splitlines()
    return next(line.split()[1] for line in reversed(lines) if line.startswith("FROM "))


class Container:
    """One container of the image on this machine's network; leaving the context removes it, not its volume."""

    def __init__(self, images: Images, *arguments: str, volume: str, **variables: str) -> None:
        self._images = images
        hardened = [
            "--read-only",
            "--read-only-tmpfs=false",
            "--cap-drop",
            "all",
            "--security-opt",
            "no-new-privileges",
        ]
        # podman's health timer and its default limits need an init system and more rights than a test has.
        fitting = [
            "--no-healthcheck",
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=4096:4096",
            "--network",
            "host",
        ]
        given = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        kept = ["--volume", f"{volume}:/var/lib/genesys-cloud-exporter"]
        options = [*hardened, *fitting, *given, *kept]
        self._id = images.podman("run", "--detach", *options, NAME, *arguments).stdout.strip()

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._images.podman("rm", "--force", self._id)

    def output(self) -> str:
        done = self._images.podman("logs", self._id)
        return done.stdout + done.stderr

    def does(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command inside, by the same user."""
        return self._images.podman("exec", self._id, *words, check=False)

    def stop(self) -> int:
        """The exit code after SIGTERM; -9 as a number above 128 where that took longer than 5 s."""
        self._images.podman("stop", "--time", "5", self._id)
        return self.wait()

    def wait(self) -> int:
        """The exit code, once it has ended by itself."""
        return int(self._images.podman("wait", self._id, timeout=60).stdout)

    def status(self) -> dict[str, str]:
        """What the kernel knows of the process: users, capabilities, privileges."""
        number = self._images.podman("inspect", "--format", "{{.State.Pid}}", self._id).stdout.strip()
        lines = Path(f"/proc/{number}/status").read_text("utf-8").splitlines()
        return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}
