"""The local variables of the library's frames, which error trackers send."""

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import little_pay_async

OURS = str(Path(little_pay_async.__file__).parent)


def frames_of_ours(error: BaseException) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and local variables of each frame of the package that an error, or its cause, passed."""
    link: BaseException | None = error
    while link is not None:
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if frame.f_code.co_filename.startswith((OURS, "<attrs")):
                yield frame.f_code.co_qualname, dict(frame.f_locals)
        link = link.__cause__ or link.__context__


def leaks(error: BaseException, private: str) -> list[str]:
    return [
        f"{function}: {name}"
        for function, variables in frames_of_ours(error)
        for name, value in variables.items()
        if private in shown(value)
    ]


def shown(value: object) -> str:
    try:
        return repr(value)
    except AttributeError:  # half-built: its constructor is what raised
        return ""
