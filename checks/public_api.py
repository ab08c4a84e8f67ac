"""The public API as text: what is promised to users, one line each, so that a change is seen.

`nox -s api` compares it with tests/public_api.txt; `nox -s api -- --write` writes that anew.
The package is read, not imported, so that no extra need be installed.
"""

import argparse
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe
from griffe import Alias, Attribute, Class, Expr, ExprName, Function, Module, Object, ParameterKind

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "tests" / "public_api.txt"
HEAD = "# What is promised to users. `nox -s api -- --write` writes this file; nobody else does.\n"
NAMES = ("little_pay_async", "_little_pay_async_pytest")
WIDTH = 100
UNSAID = {"__version__"}  # its value stands in one place, which is not here
# How Python and pydantic ask; what they are told is tested elsewhere.
PLUMBING = {
    "__get_pydantic_core_schema__",
    "__get_pydantic_json_schema__",
    "__reduce__",
    "__reduce_ex__",
    "__repr__",
}


def load(folder: Path) -> list[Module]:
    """Read the package and the plugin in a folder."""
    loader = griffe.GriffeLoader(
        search_paths=[folder], extensions=griffe.load_extensions("unpack_typeddict")
    )
    loaded = [loader.load(name, try_relative_path=False) for name in NAMES]
    loader.resolve_aliases(implicit=True, external=False)
    return [module for module in loaded if isinstance(module, Module)]


def render(package: Module, plugin: Module) -> str:
    """Return the public API of the package and the pytest plugin."""
    aliases: dict[str, str] = {}
    lines: list[str] = []
    for module in sorted(public_modules(package), key=lambda module: module.path):
        lines += ["", module.path]
        for name in sorted(map(str, module.exports or ())):
            lines += [f"    {line}" for line in lines_of(module[name], aliases)]
    lines += ["", "fixtures of the pytest plugin"]
    for name, member in sorted(plugin.members.items()):
        if isinstance(member, Function) and not name.startswith("_") and member.decorators:
            lines += [f"    {line}" for line in lines_of(member, aliases)]
    lines += ["", "names that signatures use"]
    lines += [f"    {path} = {value}" for path, value in sorted(aliases.items())]
    return HEAD + "".join(f"{line.rstrip()}\n" for line in lines)


def public_modules(module: Module) -> Iterator[Module]:
    """Yield the modules with an `__all__` into which no underscore leads."""
    if module.exports is not None:
        yield module
    for name, member in module.members.items():
        if isinstance(member, Module) and not name.startswith("_"):
            yield from public_modules(member)


def lines_of(found: Object | Alias, aliases: dict[str, str]) -> Iterator[str]:
    """Yield the lines that describe a name, those of its members indented."""
    target = found.final_target if isinstance(found, Alias) else found
    if isinstance(target, Class):
        yield from lines_of_class(target, aliases)
    elif isinstance(target, Function):
        for decorator in target.decorators:
            yield f"@{decorator.value}"
        yield from lines_of_function(target, aliases)
    elif isinstance(target, Attribute):
        note(target.annotation, aliases)
        yield line_of_attribute(target)


def lines_of_class(found: Class, aliases: dict[str, str]) -> Iterator[str]:
    """Yield a class's lines, with what it has from bases that are not public themselves."""
    yield ""
    for decorator in found.decorators:
        yield f"@{decorator.value}"
    bases = ", ".join(map(str, found.bases))
    yield f"class {found.name}({bases})" if bases else f"class {found.name}"
    members = dict(found.members)
    for base in found.mro():
        if not is_public(base):
            members = base.members | members
    for name, member in members.items():
        dunder = member.is_function and name.endswith("__") and name not in PLUMBING
        if dunder or not name.startswith("_"):
            yield from (f"    {line}" for line in lines_of(member, aliases))


def is_public(found: Object) -> bool:
    """Whether the package or its own module exports it, and it is so described elsewhere."""
    return any(found.name in (module.exports or ()) for module in (found.package, found.module))


def lines_of_function(found: Function, aliases: dict[str, str]) -> Iterator[str]:
    """Yield a function's signature: on one line, or a line for each parameter."""
    parameters: list[str] = []
    before: ParameterKind | None = None
    for parameter in found.parameters:
        if parameter.name in ("self", "cls"):
            continue
        if before is ParameterKind.positional_only is not parameter.kind:
            parameters.append("/")
        if parameter.kind is ParameterKind.keyword_only and before not in (
            ParameterKind.keyword_only,
            ParameterKind.var_positional,
        ):
            parameters.append("*")
        before = parameter.kind
        note(parameter.annotation, aliases)
        note(parameter.default, aliases)
        stars = {ParameterKind.var_positional: "*", ParameterKind.var_keyword: "**"}
        text = stars.get(parameter.kind, "") + parameter.name
        if parameter.annotation is not None:
            text += f": {parameter.annotation}"
        if parameter.default is not None and text[0] != "*":
            text += f" = {parameter.default}"
        parameters.append(text)
    if before is ParameterKind.positional_only:
        parameters.append("/")
    note(found.returns, aliases)
    begin = ("async " if "async" in found.labels else "") + f"def {found.name}("
    end = ")" if found.returns is None else f") -> {found.returns}"
    line = begin + ", ".join(parameters) + end
    if len(line) <= WIDTH - 8:
        yield line
    else:
        yield begin
        yield from (f"    {parameter}," for parameter in parameters)
        yield end


def line_of_attribute(found: Attribute) -> str:
    """Return an attribute's line: a property, a field with its default, or a constant."""
    if "property" in found.labels:
        settable = "" if found.setter is None else ", may be set"
        return f"property {found.name}: {found.annotation}{settable}"
    annotated = "" if found.annotation is None else f": {found.annotation}"
    of_instance = found.labels >= {"instance-attribute"} and "class-attribute" not in found.labels
    of_module = isinstance(found.parent, Module)
    if found.value is None or of_instance or found.name in UNSAID or (of_module and annotated):
        return found.name + annotated
    return f"{found.name}{annotated} = {found.value}"


def note(expression: str | Expr | None, aliases: dict[str, str]) -> None:
    """Keep what the package's own names stand for that annotations and defaults use."""
    if not isinstance(expression, Expr):
        return
    for part in expression.iterate(flat=True):
        if not isinstance(part, ExprName) or not part.canonical_path.startswith(NAMES[0]):
            continue
        try:
            target = part.resolved
        except griffe.NameResolutionError:
            continue
        if isinstance(target, Alias):
            target = target.final_target
        if isinstance(target, Attribute) and not is_public(target) and target.path not in aliases:
            aliases[target.path] = str(target.value)
            note(target.value, aliases)


def main() -> int:
    """Compare with the record, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="record the API as it is now")
    now = render(*load(ROOT))
    if parser.parse_args().write:
        RECORD.write_text(now, encoding="utf-8")
        return 0
    recorded = RECORD.read_text(encoding="utf-8")
    sys.stdout.writelines(
        difflib.unified_diff(
            recorded.splitlines(keepends=True),
            now.splitlines(keepends=True),
            "recorded",
            "now",
        )
    )
    return int(now != recorded)


if __name__ == "__main__":
    sys.exit(main())
