"""Checks targets with their corpus alone, atheris or not: `python replay.py TARGET...`."""

import importlib
import sys
from pathlib import Path

from limits import Limited, check_growth

CORPUS = Path(__file__).parent / "corpus"


def main(*targets: str) -> None:
    for name in targets:
        check = importlib.import_module(name).check
        limited = Limited(check)
        inputs = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
        for data in inputs:
            limited(data)
        check_growth(check, inputs)
        print(f"{name}: {len(inputs)} inputs, {limited.slowest:.3f} s at the most")


if __name__ == "__main__":
    main(*sys.argv[1:])
