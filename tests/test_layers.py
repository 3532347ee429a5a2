"""The layers: each imports only from those to its left.

errors, message  <-  pure rules  <-  storage  <-  actors  <-  web  <-  cli
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
LAYERS: Final = [
    {"errors", "message"},
    {
        *("ids", "offsets", "routing", "assignments", "records", "retention"),
        *("settings", "config", "config_file", "content", "batch", "limits"),
        *("extra", "dedupe", "refusal"),
    },
    {"storage"},
    {"actors"},
    {"web"},
    {"cli", "benchmark", "__main__"},
]

FILE_MODULES: Final = {"io", "shutil", "tempfile", "glob", "mmap", "fcntl", "filelock", "fileinput"}
FILE_METHODS: Final = {
    *("read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "rmdir", "unlink", "rename"),
    *("touch", "stat", "lstat", "is_file", "is_dir", "iterdir", "glob", "rglob", "walk", "chmod"),
    *("symlink_to", "hardlink_to", "resolve", "samefile", "expanduser"),
}
"""Of `pathlib.Path`, save for the names that others have too: `open`, `exists`, `replace`."""
OS_WITHOUT_FILES: Final = {"os.environ", "os.fsencode", "os.getpid", "os._exit"}


class Module(NamedTuple):
    """A source file, named as it is imported."""

    name: str
    tree: ast.Module

    @property
    def layer(self) -> int | None:
        return layer_of(self.name)


def modules(folder: str, name: str) -> list[Module]:
    root = ROOT / folder
    return [
        Module(
            ".".join((name, *path.relative_to(root).with_suffix("").parts)).removesuffix(
                ".__init__"
            ),
            ast.parse(path.read_text(encoding="utf-8"), str(path)),
        )
        for path in sorted(root.rglob("*.py"))
    ]


def module(text: str, name: str = "pandaq.storage.log") -> Module:
    return Module(name, ast.parse(text))


PANDAQ: Final = modules("pandaq", "pandaq")
SDK: Final = modules("sdk/pandaq_sdk", "pandaq_sdk")


def layer_of(name: str) -> int | None:
    """Return the number of a module's layer; None for the package itself, which shows the rest."""
    parts = name.split(".")
    if len(parts) == 1:
        return None
    return next(number for number, layer in enumerate(LAYERS) if parts[1] in layer)


def imported(module: Module) -> Iterator[str]:
    """Yield all that a module imports, also where it does so inside a function."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name} imports relatively"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(package: str) -> set[str]:
    return {
        module.name
        for module in PANDAQ
        if any(name.split(".")[0] == package for name in imported(module))
    }


def file_calls(module: Module) -> list[str]:
    """Return what a module does that touches files, as far as its text tells."""
    found = [name for name in imported(module) if name.split(".")[0] in FILE_MODULES]
    found += [
        name for name in imported(module) if name.startswith("os.") and name not in OS_WITHOUT_FILES
    ]
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name(id="open")):
                found.append("open")
            case ast.Attribute(value=ast.Name(id="os"), attr=name):
                if f"os.{name}" not in OS_WITHOUT_FILES:
                    found.append(f"os.{name}")
            case ast.Attribute(attr=name) if name in FILE_METHODS:
                found.append(name)
            case ast.Call(func=ast.Attribute(attr="open", value=opened), args=arguments):
                # A disk opens a path; a path opens itself, with a mode or with nothing.
                if not arguments or isinstance(arguments[0], ast.Constant):
                    found.append(f"{ast.unparse(opened)}.open")
    return found


@pytest.mark.parametrize("module", PANDAQ, ids=lambda module: module.name)
def test_a_module_imports_only_from_layers_to_its_left(module: Module) -> None:
    for name in imported(module):
        if name.split(".")[0] == "pandaq" and module.layer is not None:
            layer = layer_of(name)
            assert layer is not None, f"{module.name} imports {name}, which imports all layers"
            assert layer <= module.layer, f"{module.name} imports {name}"


def test_every_layer_is_a_folder_or_file_that_is_there() -> None:
    there = {module.name.split(".")[1] for module in PANDAQ if module.layer is not None}
    assert there >= {*LAYERS[0], *LAYERS[1], "storage", "actors"}


def test_the_errors_and_the_messages_import_no_other_layer() -> None:
    for module in PANDAQ:
        if module.layer == 0:
            assert not any(name.startswith("pandaq.") for name in imported(module))


@pytest.mark.parametrize(("package", "layer"), [("pykka", "actors"), ("filelock", "storage.disk")])
def test_a_package_is_used_in_its_layer_alone(package: str, layer: str) -> None:
    used = importers(package)
    assert used
    assert all(f"{name}.".startswith(f"pandaq.{layer}.") for name in used)


@pytest.mark.parametrize("package", ["bottle", "waitress"])
def test_http_is_in_web_alone(package: str) -> None:
    assert all(f"{name}.".startswith("pandaq.web.") for name in importers(package))


def test_files_are_touched_in_the_disk_and_where_settings_are_read_alone() -> None:
    touching = {module.name for module in PANDAQ if file_calls(module)}
    # The benchmark has files of its own, in a folder of its own.
    touching = {name for name in touching if not name.startswith("pandaq.benchmark.")}
    assert touching == {"pandaq.storage.disk", "pandaq.config_file"}


def test_the_sdk_imports_nothing_of_the_broker() -> None:
    assert SDK
    for module in SDK:
        assert not any(name.split(".")[0] == "pandaq" for name in imported(module))


class TestTheTestItself:
    def test_an_import_to_the_right_would_be_seen(self) -> None:
        for text in (
            "import pandaq.actors.broker",
            "from pandaq.actors import broker",
            "from pandaq import web",
            "def late():\n    from pandaq.web.app import app",
        ):
            with pytest.raises(AssertionError):
                test_a_module_imports_only_from_layers_to_its_left(module(text))

    def test_an_import_of_the_whole_package_would_be_seen(self) -> None:
        with pytest.raises((AssertionError, StopIteration)):
            test_a_module_imports_only_from_layers_to_its_left(module("from pandaq import Broker"))

    @pytest.mark.parametrize(
        "text",
        [
            *("open('a')", "with open(path, 'rb') as file: pass", "path.open()", "path.open('rb')"),
            *("import os\nos.remove(path)", "from os import remove", "import shutil", "import io"),
            *("path.read_text()", "Path('a').unlink()", "path.parent.mkdir(parents=True)"),
        ],
    )
    def test_a_file_call_would_be_seen(self, text: str) -> None:
        assert file_calls(module(text))

    @pytest.mark.parametrize(
        "text",
        [
            *("disk.open(path)", "self._disk.open(path, create=True)", "os.environ['A']"),
            *("text.replace('a', 'b')", "disk.exists(path)", "datadir.root / 'a'"),
        ],
    )
    def test_what_touches_no_file_is_not_blamed(self, text: str) -> None:
        assert file_calls(module(text)) == []
