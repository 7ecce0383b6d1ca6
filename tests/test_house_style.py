"""The house style, held: floors, sizes, captions, names, the table of public names."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from scripts.floors import HEIGHT

import poise

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "poise"
FILES = sorted(SOURCE.rglob("*.py"))
ALL_FILES = [
    p for folder in ("src", "tests", "bench", "scripts", "examples") for p in sorted((ROOT / folder).rglob("*.py"))
]

# Libraries that one place alone may import; elsewhere its face is used.
HEAVY = {
    "torch": ("engines/", "steps/torch_law.py"),
    "transformers": ("engines/hf",),
    "llama_cpp": ("engines/llamacpp_library.py",),
    "gguf": ("engines/conversion.py", "engines/gguf_tokenizer.py", "exports/ggufs.py"),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "yaml": ("usecases/", "reports/recipe.py"),
    "altair": ("reports/charts.py",),
    "jinja2": ("reports/", "engines/templates.py"),  # a chat template is a Jinja template
    "sqlite3": ("database.py",),
    "wordllama": ("metrics/vectors.py",),
    "pyarrow": ("tabular.py",),
    "jsonschema": ("jsontexts.py",),
    "referencing": ("jsontexts.py",),
    "openai": ("judges/endpoint.py", "servers/"),
    "httpx2": ("servers/",),
    "starlette": ("fakeserver/",),
    "uvicorn": ("fakeserver/serving.py",),
}
IMPORTED_AS = {"pyyaml": "yaml", "vl_convert_python": "vl_convert", "llama_cpp_python": "llama_cpp"}
BANNED_NAMES = {"utils", "helpers", "common", "base", "manager"}
MAX_LINES, MAX_FUNCTION, MAX_PARAMETERS, MAX_CAPTION = 400, 40, 8, 12


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


every_file = pytest.mark.parametrize("path", FILES, ids=ids)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def caption(path: Path) -> str:
    """First line of a file's docstring, without its full stop."""
    return (ast.get_docstring(tree(path)) or "").partition("\n")[0].rstrip(".")


def unit(path: Path) -> str:
    """The file, or the package it belongs to, as `FLOORS` names it."""
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports(node: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    """Every module imported, absolute, with its line; `from x import y` gives x and x.y."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, child.lineno
        elif isinstance(child, ast.ImportFrom):
            above = package.split(".")[: -child.level + 1 or None] if child.level else []
            module = ".".join([*above, *([child.module] if child.module else [])])
            for alias in child.names:
                yield f"{module}.{alias.name}", child.lineno


def own_modules(node: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    """Own modules imported under `node`, as dotted paths below poise; "" is poise itself."""
    for name, line in imports(node, package):
        parts = name.split(".")
        if parts[0] != "poise":
            continue
        below = parts[1:]
        while below and not is_module(below):
            below = below[:-1]
        yield ".".join(below), line


def is_module(parts: list[str]) -> bool:
    path = SOURCE.joinpath(*parts)
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def package_of(path: Path) -> str:
    return ".".join(["poise", *path.relative_to(SOURCE).parts[:-1]])


def module_of(path: Path) -> str:
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_file_has_a_floor() -> None:
    units = {unit(p) for p in FILES} - {"__init__", "__main__"}
    assert units == set(HEIGHT), "scripts/floors.py gives every file its floor, and none that is gone"


@every_file
def test_imports_go_to_lower_floors(path: Path) -> None:
    if path == SOURCE / "__init__.py":
        return  # the table of public names points everywhere, lazily
    mine = HEIGHT[unit(path)]
    for name, line in own_modules(tree(path), package_of(path)):
        target = name.partition(".")[0]
        if target == unit(path):
            continue  # inside a package: see the next test
        if not target:
            assert unit(path) in ("cli", "reports"), f"{ids(path)}:{line} imports poise itself, which hides the floor"
            continue
        assert HEIGHT[target] < mine, f"{ids(path)}:{line} imports {name} of floor {HEIGHT[target]} from floor {mine}"


def test_inside_a_package_imports_go_one_way() -> None:
    edges: dict[str, set[str]] = {}
    for path in FILES:
        inside = {n for n, _ in own_modules(tree(path), package_of(path)) if n.partition(".")[0] == unit(path)}
        edges[module_of(path)] = inside - {module_of(path)}
    seen: dict[str, bool] = {}  # True while on the path from the start

    def walk(module: str, trail: list[str]) -> None:
        assert not seen.get(module), f"an import loop: {' -> '.join([*trail, module])}"
        if module in seen:
            return
        seen[module] = True
        for below in edges.get(module, ()):
            walk(below, [*trail, module])
        seen[module] = False

    for module in edges:
        walk(module, [])


@every_file
def test_own_code_is_imported_at_the_top(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            local = [f"{name} (line {line})" for name, line in own_modules(node, package_of(path))]
            assert not local, f"{ids(path)}: {node.name} imports own code: {', '.join(local)}"


@every_file
def test_one_library_one_place(path: Path) -> None:
    shown = str(path.relative_to(SOURCE))
    for name, line in imports(tree(path), package_of(path)):
        allowed = HEAVY.get(name.partition(".")[0])
        assert allowed is None or shown.startswith(allowed), f"{shown}:{line} imports {name}; only {allowed} may"


@pytest.mark.parametrize("path", ALL_FILES, ids=ids)
def test_files_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{ids(path)} has {lines} lines: split it by idea"


@every_file
def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        assert length <= MAX_FUNCTION, f"{ids(path)}:{node.lineno} {node.name} has {length} lines"
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([a for a in arguments if a.arg not in ("self", "cls")])
        assert count <= MAX_PARAMETERS, f"{ids(path)}:{node.lineno} {node.name} takes {count} parameters"


@every_file
def test_the_caption_is_short(path: Path) -> None:
    words = len(caption(path).split())
    assert 1 <= words <= MAX_CAPTION, f"{ids(path)}: its first docstring line has {words} words"


def test_every_library_imported_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = ("local", "judge", "server", "llamacpp", "fakeserver")
    said = [*declared["dependencies"], *(d for extra in extras for d in declared["optional-dependencies"][extra])]
    names = {re.split(r"[^A-Za-z0-9_-]", d)[0].lower().replace("-", "_") for d in said}
    names = {IMPORTED_AS.get(n, n) for n in names}
    used = {n.partition(".")[0] for p in FILES for n, _ in imports(tree(p), package_of(p))}
    used -= {"poise", "__future__", "pytest", *sys.stdlib_module_names}
    assert used == names, "pyproject.toml declares exactly what is imported"


def test_readme_has_the_file_map() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = {" ".join(line.split()) for line in readme.splitlines()}
    missing = [
        f"{path.relative_to(SOURCE)} {caption(path)}"
        for path in FILES
        if f"{path.relative_to(SOURCE)} {caption(path)}" not in lines
    ]
    assert not missing, f"`make docs` writes the file map; README lacks: {missing}"


@every_file
def test_names_say_what_a_file_is(path: Path) -> None:
    names = {part.removesuffix(".py").lstrip("_") for part in path.relative_to(SOURCE).parts}
    assert not names & BANNED_NAMES
    assert module_of(path) not in poise.__all__, "a file and a public name never share a name"


@every_file
def test_public_things_are_documented(path: Path) -> None:
    for node in tree(path).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{ids(path)}:{node.lineno} {node.name} has no docstring"


def test_the_table_of_public_names() -> None:
    where: dict[str, str] = poise._WHERE
    assert list(where) == sorted(where, key=lambda n: (n.lower(), n)) or list(where) == sorted(where)
    for name, module in where.items():
        assert getattr(importlib.import_module(module), name) is getattr(poise, name)
    [block] = [n for n in tree(SOURCE / "__init__.py").body if isinstance(n, ast.If)]
    typed = {a.asname: f.module for f in ast.walk(block) if isinstance(f, ast.ImportFrom) for a in f.names}
    assert typed == where, "the names for type checkers and the names at run time are the same"
    assert dir(poise) == poise.__all__


def test_an_unknown_public_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"it has .*grid"):
        poise.nonsense  # noqa: B018


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_poise_loads_no_library() -> None:
    assert not loaded_by("import poise") & {"torch", "scipy", "pydantic", "numpy", "rich", "altair", "typer"}


def test_import_poise_takes_under_a_tenth_of_a_second() -> None:
    code = "import time; t = time.perf_counter(); import poise; print(time.perf_counter() - t)"
    best = min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5))
    assert best < 0.1


def test_the_core_runs_without_torch_and_transformers() -> None:
    for name in poise.__all__:
        assert not loaded_by(f"import poise; poise.{name}") & {"torch", "transformers"}, name
