"""Files that settings name: text to path, and the one secret that such a file may hold.

In: the text of one variable, stripped and not blank. Out: its value, or a ValueError as in `values`, which never
holds what the file holds. Files are read, never changed.
"""

from __future__ import annotations

import re
from pathlib import Path

from exporter.settings.addresses import redis_url

#: Instead of a path: no file.
MEMORY = ":memory:"

_LARGEST_SECRET_BYTES = 4_096  # a secret has some 50: anything larger is another file


def path(text: str) -> Path:
    """A path, with `~` expanded."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("names a user without a home folder") from error


def history(text: str) -> str:
    """A path for a file that is not there yet, or MEMORY; nothing that would quietly become a file of another name."""
    if text.strip(":").lower() == "memory":
        if text.lower() != MEMORY:
            raise ValueError(f"is not {MEMORY}")
        return MEMORY
    if re.match(r"file:|\w+://", text, re.IGNORECASE):
        raise ValueError("is an address, not a path")
    if text.endswith("/"):
        raise ValueError("is a folder")
    return str(path(text))


def readable_file(text: str) -> Path:
    file_path = path(text)
    try:
        with file_path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"cannot be read ({_reason(error)})") from error
    return file_path


def folder(text: str) -> Path:
    folder_path = path(text)
    try:
        next(folder_path.iterdir(), None)
    except OSError as error:
        raise ValueError(f"is not a folder that can be read ({_reason(error)})") from error
    return folder_path


def secret_file(text: str) -> Path:
    """The path of a file that holds one secret now; what it holds is not kept, since it may be rotated."""
    file_path = path(text)
    read_secret(file_path)
    return file_path


def read_secret(file_path: Path) -> str:
    """What a secret's file holds, without the white space around it (an editor's newline)."""
    try:
        with file_path.open("rb") as file:
            content = file.read(_LARGEST_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read ({_reason(error)})") from error
    if len(content) > _LARGEST_SECRET_BYTES:
        raise ValueError("is too large for a file that holds one secret")
    try:
        secret = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError("does not hold text") from None  # the cause would hold what the file holds
    if not secret:
        raise ValueError("is empty")
    return credential(secret)


def credential(text: str) -> str:
    """A client id or secret; neither ever holds white space, control characters or quotation marks."""
    if not text.isprintable() or " " in text:
        raise ValueError("holds white space or control characters")
    if text[:1] in ("'", '"') and text[:1] == text[-1:]:
        raise ValueError("has quotation marks around it")
    return text


def redis_url_file(text: str) -> Path:
    """The path of a file that holds such a URL now."""
    file_path = secret_file(text)
    try:
        redis_url(read_secret(file_path))
    except ValueError as error:
        raise ValueError(f"holds text that {error}") from None  # whose message never repeats it
    return file_path


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
