"""How the exporter logs: one line per record on stderr, as text for people or as JSON for collectors.

Messages never hold secrets: who logs hands over text that is fit to be read. Control characters, which could forge
a second line, are escaped here whoever wrote them.
"""

from __future__ import annotations

import logging
import sys
import textwrap
from datetime import UTC, datetime

import orjson

#: Control characters, and what deceives a reader's eye: separators of lines, changes of direction, half pairs.
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {10: "\\n"}
_DECEIVING = (0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))
_ESCAPED |= {code: f"\\u{code:04x}" for code in _DECEIVING}
_ESCAPED_BUT_LINES = {code: text for code, text in _ESCAPED.items() if code != 10}


class TextFormatter(logging.Formatter):
    """`2026-03-01T09:00:00.000Z warning window: …`; a traceback follows on lines of its own, indented."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage().translate(_ESCAPED)
        line = f"{_instant(record)} {record.levelname.lower()} {message}"
        if not record.exc_info:
            return line
        trace = self.formatException(record.exc_info).translate(_ESCAPED_BUT_LINES)
        return f"{line}\n{textwrap.indent(trace, '  ')}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _encodable(record.getMessage()),
        }
        if record.exc_info:
            entry["traceback"] = _encodable(self.formatException(record.exc_info))
        return orjson.dumps(entry).decode()


def configure_logging(level: str, style: str) -> None:
    """Send everything from `level` up to stderr, as "text" or "json"; aiohttp's access log stays silent."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def _instant(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encodable(text: str) -> str:
    """The text with `?` for half surrogate pairs, which UTF-8 cannot write."""
    return text.encode("utf-8", "replace").decode()
