"""How result classes look to pydantic, and so in FastAPI's routes and its OpenAPI document.

Here so that a route may return a `Payment`; pydantic is imported by nobody but itself.
"""

import enum
import types
import typing
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs

_SIMPLE: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    Decimal: {"type": "string", "format": "decimal"},
    datetime: {"type": "string", "format": "date-time"},
    types.NoneType: {"type": "null"},
}


def core_schema(cls: type[Any], to_dict: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return pydantic's core schema of a class: an instance in, what `to_dict` gives out."""

    def serialize(result: Any, info: Any) -> Any:
        # pydantic leaves these to who serializes; unheeded, what should be hidden would get out.
        from pydantic_core import to_jsonable_python  # noqa: PLC0415 - its caller has loaded it

        plain = to_dict(result)
        if info.exclude_none:
            plain = _without_none(plain)
        return to_jsonable_python(plain, include=info.include, exclude=info.exclude)

    return {
        "type": "is-instance",
        "cls": cls,
        "serialization": {"type": "function-plain", "function": serialize, "info_arg": True},
    }


def json_schema(cls: type[Any], left_out: frozenset[str]) -> dict[str, Any]:
    """Return the JSON schema of what `to_dict` gives."""
    hints = typing.get_type_hints(cls)
    names = [field.name for field in attrs.fields(cls) if field.name not in left_out]
    return {
        "type": "object",
        "title": cls.__name__,
        "properties": {name: _of(hints[name], left_out) for name in names},
        "required": names,
    }


def _of(hint: Any, left_out: frozenset[str]) -> dict[str, Any]:
    """Return the schema of a field; an empty one, which allows all, where there is more to say."""
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        return {"anyOf": [_of(one, left_out) for one in arguments]}
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _of(arguments[0], left_out)}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        # No "enum": a value that nobody knows today is kept.
        return {"type": "string", "examples": [member.value for member in hint]}
    if isinstance(hint, type) and attrs.has(hint):
        return json_schema(hint, left_out)
    return {}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
