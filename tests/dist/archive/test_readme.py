"""The README of an archive, in every format."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable
from pathlib import Path

import docutils.nodes
import pytest
from markdown_it import MarkdownIt

from portalis.dist.archive.contents import archive_contents
from portalis.dist.archive.readme import render_readme
from portalis.dist.archive.readme_values import readme_values
from portalis.spec.distribution import ReadmeFormat
from tests.dist.conftest import Package
from tests.portalis.test_markup import rst_document

HOSTILE = "Hi {{ 7 * 7 }} {% raw %}\n# <script>alert(1)</script> *b* `c` [d](e) |f| :g:`h`\x1b[31m ::\n\n.. raw:: html"
SHOWN = "Hi {{ 7 * 7 }} {% raw %} # <script>alert(1)</script> *b* `c` [d](e) |f| :g:`h`\\x1b[31m ::"


def made(package: Package) -> tuple[str, str]:
    job = package.job()
    values = readme_values(job, archive_contents(job).members, job.manifest(), top="demo-1.2.3")
    return render_readme(job.spec.distribution_config, values)


@pytest.fixture
def full(package: Package) -> Package:
    package.with_everything()
    package.configure(
        publish_metadata={
            "author": "Jane Doe",
            "homepage": "https://example.org/demo",
            "keywords": ["wasm", "triton"],
        }
    )
    return package


@pytest.mark.parametrize(
    ("how", "name"), [("Markdown", "README.md"), ("PlainText", "README.txt"), ("RestructuredText", "README.rst")]
)
def test_it_says_what_the_requirements_want_it_to_say(full: Package, how: str, name: str) -> None:
    full.configure(readme_format=how)
    found, text = made(full)
    assert found == name
    for wanted in (
        "demo", "1.2.3", "2024-05-06T07:08:09Z", "A demo.", "wasm/", "containers/", "triton/", "omniverse/", "src/", "tests/",
        "docs/", "deployment/", "docker load --input containers/demo-gelu/image.tar", "--publish 8000:8000 demo-gelu:1.2.3",
        "tritonserver --model-repository=", "install-backend", "564 bytes", "memory", "gelu", "12.5 s", "9 of 10", "99.5 %",
        "Apache-2.0", "LICENSE", "Jane Doe", "https://example.org/demo", "wasm, triton",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert text.endswith("\n") and "\n\n\n" not in text and not any(line != line.rstrip() for line in text.split("\n"))


@pytest.mark.parametrize("how", [how.value for how in ReadmeFormat])
def test_it_does_not_speak_of_what_the_package_has_not(package: Package, how: str) -> None:
    package.files = {path: each for path, each in package.files.items() if path.parts[0] == "docs"}
    package.configure(readme_format=how)
    job = package.job()
    object.__setattr__(job, "artifacts", type(job.artifacts)())
    _, text = render_readme(
        job.spec.distribution_config,
        readme_values(job, archive_contents(job).members, job.manifest(), top="demo-1.2.3"),
    )
    for unwanted in ("docker", "Triton", "src/", "License", "Contact", "None"):
        assert unwanted not in text
    assert "docs/" in text


def test_an_image_that_was_not_exported_is_built(full: Package) -> None:
    del full.files[next(path for path in full.files if path.name == "demo.tar")]
    assert "docker build --tag demo-gelu:1.2.3 containers/demo-gelu\n" in made(full)[1]


@pytest.mark.parametrize("how", [how.value for how in ReadmeFormat])
def test_the_commands_are_those_of_the_engine_with_all_volumes_and_ports(full: Package, how: str) -> None:
    del full.files[next(path for path in full.files if path.name == "demo.tar")]
    volumes = [{"host_path": "/srv/my data", "container_path": "/data"}]
    full.spec["container_config"] = {"runtime": "Podman", "volumes": volumes}
    full.configure(readme_format=how)
    text = made(full)[1]
    assert "With Podman" in text and "With Docker" not in text and "docker " not in text.replace("--format docker ", "")
    assert "podman build --format docker --tag demo-gelu:1.2.3 containers/demo-gelu\n" in text
    (line,) = [line for line in text.splitlines() if line.strip().startswith("podman run")]
    words = shlex.split(line)
    assert [words[i + 1] for i, word in enumerate(words) if word == "--volume"] == ["/srv/my data:/data:ro"]
    assert {words[i + 1] for i, word in enumerate(words) if word == "--publish"} == {
        "8000:8000", "8001:8001", "9090:9090",
    }  # fmt: skip


def test_it_says_how_guides_and_manifests_find_the_model_repository(full: Package) -> None:
    assert 'ln -s "$PWD/triton" model_repository\n' in made(full)[1]
    full.spec["triton_config"] = {"model_repository_path": "triton"}
    assert "ln -s" not in made(full)[1]


def test_the_markdown_is_what_a_parser_takes_it_for(full: Package) -> None:
    tokens = MarkdownIt("commonmark").parse(made(full)[1])
    titles = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    assert titles == [
        "demo", "Contents", "Quick start", "With Docker", "With Triton", "WebAssembly modules", "gelu", "Figures", "License",
        "Contact",
    ]  # fmt: skip


def test_the_restructuredtext_has_no_errors(full: Package) -> None:
    full.configure(readme_format="RestructuredText")
    document = rst_document(made(full)[1])
    assert not list(document.findall(docutils.nodes.system_message)), document.pformat()
    titles = [node.astext() for node in document.findall(docutils.nodes.title)]
    assert titles == [
        "demo", "Contents", "With Docker", "With Triton", "WebAssembly modules", "gelu", "Figures", "License", "Contact"
    ]  # fmt: skip


def hostile(package: Package) -> Package:
    package.spec["description"] = HOSTILE
    package.spec["wasm_binaries"][0] |= {"description": HOSTILE, "name": "a`b *c* <d>_"}
    package.configure(
        license_type=HOSTILE, publish_metadata={"author": HOSTILE, "homepage": HOSTILE, "keywords": [HOSTILE]}
    )
    return package


def test_what_users_write_is_data_in_markdown(package: Package) -> None:
    tokens = MarkdownIt("commonmark").parse(made(hostile(package))[1])
    assert not [token for token in tokens if token.type == "html_block"]
    children = [child for token in tokens for child in token.children or []]
    assert {child.type for child in children} <= {"text", "text_special", "code_inline", "strong_open", "strong_close"}
    texts = ["".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"]
    assert SHOWN in texts and f"Author: {SHOWN} .. raw:: html" in texts
    assert ".. raw:: html" in texts and "a`b *c* <d>_" in texts


def test_what_users_write_is_data_in_restructuredtext(package: Package) -> None:
    package.configure(readme_format="RestructuredText")
    document = rst_document(made(hostile(package))[1])
    assert not list(document.findall(docutils.nodes.system_message)), document.pformat()
    for kind in (docutils.nodes.raw, docutils.nodes.emphasis, docutils.nodes.reference, docutils.nodes.problematic):
        assert not list(document.findall(kind))
    texts = [node.astext() for node in document.findall(docutils.nodes.paragraph)]
    assert SHOWN in texts and ".. raw:: html" in texts
    assert "a`b *c* <d>_" in [node.astext() for node in document.findall(docutils.nodes.title)]


def test_no_control_character_reaches_plain_text(package: Package) -> None:
    package.configure(readme_format="PlainText")
    _, text = made(hostile(package))
    assert "\x1b" not in text and "\\x1b[31m" in text and "{{ 7 * 7 }}" in text


def test_a_template_of_the_users_own_stands_in_place_of_ours(full: Package) -> None:
    template = full.input(
        "readme.j2", b"{{ package }} {{ version }}: {{ modules[0].exports | join(' ') }}\n\n\n\nend\n\n"
    )
    full.configure(readme_template=template, readme_format="PlainText")
    assert made(full) == ("README.txt", "demo 1.2.3: memory gelu\n\n\n\nend\n")


def test_the_same_package_has_the_same_readme_anywhere(new_package: Callable[[str], Package]) -> None:
    def text(name: str) -> str:
        package = new_package(name)
        package.with_everything()
        return made(package)[1]

    assert text("one") == text("other")
    assert str(Path.cwd()) not in text("third")
