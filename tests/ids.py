"""Names of tests: the same in every process, or a run in several of them can't be put together."""

import re


def shown(value: object) -> str:
    """The `ascii` of a value, without where it is in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", ascii(value))
