"""Two whole extensions, compared file by file with golden files.

`make golden` writes the golden files again (PORTALIS_GOLDEN=write); the difference is then read in the commit.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portalis.omniverse.extension_documents import TEMPLATES
from portalis.wasm_backend import island_files

from .conftest import EXAMPLES, Package

GOLDEN = Path(__file__).parent / "golden"
LIST = "FILES.txt"
ENDING = ".golden"  # so that no tool treats them as sources
ROOT = EXAMPLES.parent


def plain(package: Package) -> None:
    """The default settings, and one scenario."""
    package.config["example_scenarios"] = [{"name": "two arrays", "description": "GELU and softmax of two arrays."}]


def everything(package: Package) -> None:
    """An extension with every option, except wheels."""
    package.binaries[0] |= {"description": "GELU activation | `tanh` form"}
    package.spec |= {
        "description": "Activations for a simulation.",
        "distribution_config": {
            "license_file": package.input("LICENSE", b"Do what is right.\n"),
            "publish_metadata": {
                "author": "A. Author <a@example.org>",
                "maintainer": "M. Maintainer",
                "repository": "https://example.org/acme/activations",
                "keywords": ["activation", "physics"],
            },
        },
    }
    package.config |= {
        "extension_name": "acme.activations",
        "extension_version": "2.0.0-rc.1",
        "extension_title": "Acme's Activations",
        "extension_category": "Simulation",
        "required_kit_version": "107.3",
        "compatible_kit_versions": ["106.5", "110.0"],
        "dependencies": [
            {"extension_name": "omni.usd", "version_requirement": "^1.0"},
            {"extension_name": "acme.base", "version_requirement": "=2.1.0"},
        ],
        "integration_type": "Simulation",
        "omnigraph_nodes": True,
        "extension_icon": package.input("icon.png", (TEMPLATES / "preview.png").read_bytes()),
        "example_scenarios": [
            {"name": "given", "scenario_file": package.input("scene.usda", b"#usda 1.0\n"), "documentation": "See it."},
            {"name": "made", "description": 'With "quotes".'},
        ],
    }


CASES: dict[str, Callable[[Package], None]] = {each.__name__: each for each in (plain, everything)}


@pytest.mark.parametrize("name", list(CASES))
def test_an_extension_equals_the_golden_files(package: Package, name: str) -> None:
    CASES[name](package)
    package.make()
    made = described(package.folder)
    if os.environ.get("PORTALIS_GOLDEN") == "write":
        write(GOLDEN / name, made)
    kept = {
        path.relative_to(GOLDEN / name).as_posix().removesuffix(ENDING): path.read_text(encoding="utf-8")
        for path in (GOLDEN / name).rglob("*")
        if path.is_file()
    }
    assert made[LIST].splitlines() == kept[LIST].splitlines()  # first the list of files
    for path in sorted(made):
        assert made[path] == kept[path], f"{path} is not as it was: `make golden`, and read the difference"
    assert set(kept) == set(made)


def described(folder: Path) -> dict[str, str]:
    """The generated texts by path, and a list of all files with the origin of the others."""
    origins = {digest(path): path.relative_to(ROOT).as_posix() for path in sources()}
    texts, lines = {}, []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = path.relative_to(folder).as_posix()
        if "/portalis_backend/" in name:  # the runtime, which is compared elsewhere and changes often
            assert digest(path) in origins, name
            continue
        if digest(path) in origins:
            lines.append(f"{name} = {origins[digest(path)]}")
        elif path.suffix == ".png":
            lines.append(f"{name} sha256:{digest(path)}")
        else:
            lines.append(name)
            texts[name] = path.read_text(encoding="utf-8")
    return {LIST: "".join(f"{line}\n" for line in lines), **texts}


def sources() -> Iterator[Path]:
    yield from (ROOT / "omniverse" / "inside").rglob("*.py")
    yield from (path for _, path in island_files())
    yield from EXAMPLES.glob("*/*.wasm")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(folder: Path, files: dict[str, str]) -> None:
    for old in [path for path in folder.rglob(f"*{ENDING}") if path.is_file()]:
        old.unlink()
    for name, text in files.items():
        path = folder / (name if name == LIST else f"{name}{ENDING}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
