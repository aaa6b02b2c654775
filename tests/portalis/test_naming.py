"""Names that each ecosystem accepts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from portalis import naming
from portalis.nim.service.settings import ModelSettings


@pytest.mark.parametrize("name", ["softmax", "größe", "50%", "a:b@c", "a.b-c_d", "x" * 200])
def test_a_model_may_be_called_as_a_folder_may(name: str) -> None:
    assert naming.triton_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "Soft Max",
        "a;b",
        "$(a)",
        "`a`",
        "a&b",
        "a>b",
        "'a'",
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "a\nb",
        "a\x1b[31m",
        "a\0",
        "\udcff",
        "x" * 201,
        "ü" * 101,
    ],
)
def test_a_model_may_not_be_called_as_no_folder_should(name: str) -> None:
    assert naming.triton_problem(name)


@pytest.mark.parametrize(
    "name",
    [
        "softmax",
        "team/soft-max",
        "a.b_c__d--e",
        "example.com/a",
        "example.com:5000/a/b",
        "localhost/a",
        "[::1]:5000/a",
        "0",
    ],
)
def test_an_image_may_have_a_repositorys_name(name: str) -> None:
    assert naming.oci_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Softmax",
        "a b",
        "a..b",
        "-a",
        "a-",
        "a/",
        "/a",
        "a//b",
        "a:b",
        "exa mple.com/a",
        "example.com:port/a",
        "example.com/A",
        "ü",
        "a" * 256,
    ],
)
def test_an_image_may_have_no_other(name: str) -> None:
    assert naming.oci_problem(name)


def test_tags_are_those_of_the_registries() -> None:
    assert all(naming.oci_tag_problem(tag) is None for tag in ("1.0.0", "latest", "_x", "A-b.c", "x" * 128))
    assert all(naming.oci_tag_problem(tag) for tag in ("", "1.0.0+b", ".x", "-x", "a b", "x" * 129, "x\n"))


def test_python_modules_are_dotted_identifiers() -> None:
    assert all(naming.python_problem(name) is None for name in ("a", "a.b_c.d1", "_x"))
    assert all(naming.python_problem(name) for name in ("", "a.", "a-b", "1a", "class", "a.import", "größe"))


def test_kubernetes_names_are_labels() -> None:
    assert all(naming.kubernetes_problem(name) is None for name in ("a", "a-b", "0", "x" * 63))
    assert all(naming.kubernetes_problem(name) for name in ("", "A", "a_b", "a.b", "-a", "a-", "x" * 64, "a\n"))


@pytest.mark.parametrize(
    "name", ["softmax", "0", "A.b-c_d", "x" * 128, "", "模型", "é", "a b", "-a", ".a", "a/b", "x" * 129, "a\n"]
)
def test_a_model_of_the_service_is_named_as_its_settings_have_it(name: str) -> None:
    try:
        ModelSettings(name=name, file="x.wasm")
    except ValidationError:
        assert "ASCII letters" in (naming.service_problem(name) or "")
    else:
        assert naming.service_problem(name) is None
