"""The README of an archive, in every format."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docutils.nodes
import pytest
from markdown_it import MarkdownIt

from portalis.dist.archive.contents import archive_contents
from portalis.dist.archive.readme import render_readme, render_user_template
from portalis.dist.archive.readme_values import readme_values
from portalis.spec.distribution import ReadmeFormat
from portalis.target import StageError
from tests.dist.conftest import Package
from tests.portalis.test_markup import rst_document

HOSTILE = "Hi {{ 7 * 7 }} {% raw %}\n# <script>alert(1)</script> *b* `c` [d](e) |f| :g:`h`\x1b[31m ::\n\n.. raw:: html"
SHOWN = "Hi {{ 7 * 7 }} {% raw %} # <script>alert(1)</script> *b* `c` [d](e) |f| :g:`h`\\x1b[31m ::"


def rendered(package: Package) -> tuple[str, str]:
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
def test_it_contains_everything_that_the_requirements_list(full: Package, how: str, name: str) -> None:
    full.configure(readme_format=how)
    found, text = rendered(full)
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
def test_it_has_no_sections_for_missing_parts_of_the_package(package: Package, how: str) -> None:
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
    assert "docker build --tag demo-gelu:1.2.3 containers/demo-gelu\n" in rendered(full)[1]


@pytest.mark.parametrize("how", [how.value for how in ReadmeFormat])
def test_the_commands_are_those_of_the_engine_with_all_volumes_and_ports(full: Package, how: str) -> None:
    del full.files[next(path for path in full.files if path.name == "demo.tar")]
    volumes = [{"host_path": "/srv/my data", "container_path": "/data"}]
    full.spec["container_config"] = {"runtime": "Podman", "volumes": volumes}
    full.configure(readme_format=how)
    text = rendered(full)[1]
    assert "With Podman" in text and "With Docker" not in text and "docker " not in text.replace("--format docker ", "")
    assert "podman build --format docker --tag demo-gelu:1.2.3 containers/demo-gelu\n" in text
    (line,) = [line for line in text.splitlines() if line.strip().startswith("podman run")]
    words = shlex.split(line)
    assert [words[i + 1] for i, word in enumerate(words) if word == "--volume"] == ["/srv/my data:/data:ro"]
    assert {words[i + 1] for i, word in enumerate(words) if word == "--publish"} == {
        "8000:8000", "8001:8001", "9090:9090",
    }  # fmt: skip


def test_it_has_a_command_that_links_the_model_repository(full: Package) -> None:
    assert 'ln -s "$PWD/triton" model_repository\n' in rendered(full)[1]
    full.spec["triton_config"] = {"model_repository_path": "triton"}
    assert "ln -s" not in rendered(full)[1]


def test_a_markdown_parser_finds_the_headings(full: Package) -> None:
    tokens = MarkdownIt("commonmark").parse(rendered(full)[1])
    titles = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    assert titles == [
        "demo", "Contents", "Quick start", "With Docker", "With Triton", "WebAssembly modules", "gelu", "Figures", "License",
        "Contact",
    ]  # fmt: skip


def test_the_restructuredtext_has_no_errors(full: Package) -> None:
    full.configure(readme_format="RestructuredText")
    document = rst_document(rendered(full)[1])
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


def test_text_from_users_is_data_in_markdown(package: Package) -> None:
    tokens = MarkdownIt("commonmark").parse(rendered(hostile(package))[1])
    assert not [token for token in tokens if token.type == "html_block"]
    children = [child for token in tokens for child in token.children or []]
    assert {child.type for child in children} <= {"text", "text_special", "code_inline", "strong_open", "strong_close"}
    texts = ["".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"]
    assert SHOWN in texts and f"Author: {SHOWN} .. raw:: html" in texts
    assert ".. raw:: html" in texts and "a`b *c* <d>_" in texts


def test_text_from_users_is_data_in_restructuredtext(package: Package) -> None:
    package.configure(readme_format="RestructuredText")
    document = rst_document(rendered(hostile(package))[1])
    assert not list(document.findall(docutils.nodes.system_message)), document.pformat()
    for kind in (docutils.nodes.raw, docutils.nodes.emphasis, docutils.nodes.reference, docutils.nodes.problematic):
        assert not list(document.findall(kind))
    texts = [node.astext() for node in document.findall(docutils.nodes.paragraph)]
    assert SHOWN in texts and ".. raw:: html" in texts
    assert "a`b *c* <d>_" in [node.astext() for node in document.findall(docutils.nodes.title)]


def test_no_control_character_reaches_plain_text(package: Package) -> None:
    package.configure(readme_format="PlainText")
    _, text = rendered(hostile(package))
    assert "\x1b" not in text and "\\x1b[31m" in text and "{{ 7 * 7 }}" in text


def test_a_template_of_the_user_replaces_the_default(full: Package) -> None:
    template = full.input(
        "readme.j2", b"{{ package }} {{ version }}: {{ modules[0].exports | join(' ') }}\n\n\n\nend\n\n"
    )
    full.configure(readme_template=template, readme_format="PlainText")
    assert rendered(full) == ("README.txt", "demo 1.2.3: memory gelu\n\n\n\nend\n")


def test_the_same_package_has_the_same_readme_anywhere(new_package: Callable[[str], Package]) -> None:
    def text(name: str) -> str:
        package = new_package(name)
        package.with_everything()
        return rendered(package)[1]

    assert text("one") == text("other")
    assert str(Path.cwd()) not in text("third")


VALUES: dict[str, Any] = {"package": "a *b* {{ 7 * 7 }}", "size": 5 << 30, "modules": [{"name": "x"}]}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return tmp_path / "readme.j2"


def render(template: Path, text: str) -> str:
    template.write_text(text, encoding="utf-8")
    return render_user_template(template, VALUES)


def test_a_template_has_values_and_filters_and_values_are_never_rendered(template: Path) -> None:
    text = render(
        template,
        "# {{ package | markdown }}, {{ size | human }}\n{% for m in modules %}\n- {{ m.name }}\n{% endfor %}\n",
    )
    assert text == "# a \\*b\\* \\{\\{ 7 \\* 7 \\}\\}, 5.0 GiB\n- x\n"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("\n{{ nothing }}", 2, "'nothing' is undefined"),
        ("\n\n{{ package.nothing }}", 3, "has no attribute 'nothing'"),
        ("a\n{% if %}", 2, "Expected an expression"),
        ("{{ package | nothing }}", 1, "No filter named 'nothing'"),
        ("\n{{ 1 // 0 }}", 2, "by zero"),
        ("{{ package.__class__.__mro__ }}", 1, "unsafe"),
        ("{{ ''.__class__ }}", 1, "unsafe"),
        ("{{ package.format.__globals__ }}", 1, "unsafe"),
        ("{{ cycler.__init__.__globals__.os.system('id') }}", 1, "unsafe"),
        ("{{ '{0.__class__}'.format(package) }}", 1, "unsafe"),
        ("\n{% include '/etc/passwd' %}", 2, "/etc/passwd"),
        ("{% include 'readme.j2' %}", 1, "recursion"),
        ("{% import 'os' as os %}", 1, "os"),
        ("{{ range(10 ** 9) }}", 1, "Range too big"),
        ("{{ modules.x.y() }}", 1, "has no attribute 'x'"),
    ],
)
def test_an_error_has_the_file_the_line_and_the_reason(template: Path, text: str, line: int, reason: str) -> None:
    with pytest.raises(StageError, match=reason) as caught:
        render(template, text)
    assert f"{template}, line {line}: " in caught.value.message
    assert "modules, package, size" in caught.value.remediation
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_an_unreadable_template_is_an_error_with_its_path(template: Path) -> None:
    template.write_bytes(b"\xff")
    with pytest.raises(StageError, match="readme.j2 cannot be read as UTF-8"):
        render_user_template(template, VALUES)
    template.unlink()
    with pytest.raises(StageError, match="readme.j2 cannot be read"):
        render_user_template(template, VALUES)
