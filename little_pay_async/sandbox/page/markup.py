"""HTML from elements: text is escaped because it is text, so that it can't be forgotten."""

import html
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

_VOID = {"br", "input", "link", "meta"}


class Markup(str):
    """HTML that was made here, and is not escaped again."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"


def element(name: str, /, *children: Child, **attributes: str | bool | None) -> Markup:
    """Return an element.

    Args:
        name: Its name.
        children: Text, elements, or lists of them; None for nothing.
        attributes: Without the underscores at the end of their names; others stand for dashes.
            True for an attribute without a value, False or None for none.
    """
    start = name + "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{start}>")
    return Markup(f"<{start}>{_joined(children)}</{name}>")


def document(*children: Child) -> str:
    """Return a whole HTML document of the children of its root element."""
    return f"<!doctype html>\n{element('html', *children, lang='en')}\n"


def _joined(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, str):
        return _text(child)
    return "".join(_joined(inner) for inner in child)


def _text(value: str) -> str:
    return str(value) if isinstance(value, Markup) else html.escape(value)
