"""Fuzzes one target with atheris: `python one.py TARGET SECONDS FOLDER`.

Inputs that reach something new are kept in the folder's `TARGET/`, and one that fails beside it.
"""

import importlib
import sys
from pathlib import Path

import atheris
from limits import Limited

CORPUS = Path(__file__).parent / "corpus"
INSTRUMENTED = ["little_pay_async", "phonenumbers.phonenumberutil", "email._parseaddr"]


def main(name: str, seconds: str, folder: str) -> None:
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = importlib.import_module(name)
        importlib.import_module("phonenumbers.phonenumberutil")
    found = Path(folder) / name
    found.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        "-max_len=2048",
        "-timeout=300",  # looking for growth takes a while
        "-report_slow_units=300",
        "-rss_limit_mb=1024",
        f"-artifact_prefix={folder}/{name}-",
        "-verbosity=1",
        str(found),  # the first is where new ones go
        str(CORPUS / name),
    ]
    atheris.Setup([sys.argv[0], *options], Limited(target.check))
    atheris.Fuzz()  # which ends the process


if __name__ == "__main__":
    main(*sys.argv[1:])
