"""How settings and their faults are told to people; a secret is never shown, nor an address that may hold a password.

In: a setting's value, or pydantic's errors. Out: one line each: the variable, what is wrong, what to write instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

_LONGEST_SHOWN = 80
_SECRET = ("GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET", "EXPORTER_REDIS_URL")

_PROBLEMS = {
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "int_parsing_size": "is too large",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
    "greater_than": "is too small",
    "greater_than_equal": "is too small",
    "less_than_equal": "is too large",
    "bool_parsing": "is neither true nor false",
    "literal_error": "is none of the choices",
}


def for_people(value: Any) -> str:
    """A setting's value as text; secrets only as "set"."""
    match value:
        case None | ():
            return ""
        case SecretStr():
            return "(set)"
        case re.Pattern():
            return str(value.pattern)
        case tuple():
            return ",".join(each if isinstance(each, str) else "=".join(each) for each in value)
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
    return str(value)


def value_faults(
    error: ValidationError, fields: Mapping[str, FieldInfo], variables: Mapping[str, str]
) -> dict[str, list[str]]:
    """Pydantic's errors as lines by variable."""
    faults: dict[str, list[str]] = {}
    for detail in error.errors():
        variable = str(detail["loc"][0])
        if detail["type"] == "default_factory_not_called":  # its default hangs on another, faulty one
            continue
        problem = _PROBLEMS.get(detail["type"]) or str(detail.get("ctx", {}).get("error", "cannot be used"))
        shown = _shown(variable, str(detail["input"]))
        write = fields[variables[variable]].description
        faults[variable] = [f"{variable}: {shown} {problem}; write {write}"]
    return faults


def _shown(variable: str, text: str) -> str:
    misplaced = variable.endswith("_FILE") and "/" not in text  # it may be the secret itself
    if variable in _SECRET or misplaced or "@" in text:
        return "the value"
    return json.dumps(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…", ensure_ascii=False)
