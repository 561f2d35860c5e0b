"""Authorities, servers' and clients' certificates for a test, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class Authority:
    """A CA of its own, `ca_file`; `certificate` makes files in `folder` and gives (certificate, key)."""

    def __init__(self, openssl: str, folder: Path, name: str = "ca") -> None:
        self._openssl, self._folder, self.name = openssl, folder, name
        self.ca_file, self._key_file = folder / f"{name}.pem", folder / f"{name}-key.pem"
        self._run("-keyout", self._key_file, "-out", self.ca_file, "-subj", f"/CN={name}")

    def certificate(self, name: str, sans: str = "DNS:localhost,IP:127.0.0.1") -> tuple[Path, Path]:
        cert_file, key_file = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        own = ("-keyout", key_file, "-out", cert_file, "-subj", f"/CN={name}", "-addext", f"subjectAltName={sans}")
        signed = ("-CA", self.ca_file, "-CAkey", self._key_file, "-addext", "basicConstraints=critical,CA:FALSE")
        self._run(*own, *signed)
        return cert_file, key_file

    def _run(self, *arguments: str | Path) -> None:
        command = [self._openssl, "req", "-x509", *_KEY, *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, timeout=30)  # noqa: S603
