from __future__ import annotations

import pytest

from portalis.deploy.object_names import label_value, object_name_problem, workload_name


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("demo-add", "demo-add"),
        ("acme/image_ops", "acme-image-ops"),
        ("localhost/acme/a.b__c", "acme-a-b-c"),
        ("127.0.0.1:5000/acme/add", "acme-add"),
        ("acme/add", "acme-add"),
    ],
)
def test_an_objects_name_is_the_images_name_without_its_host(image: str, name: str) -> None:
    assert workload_name(image) == name
    assert object_name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "why"), [("ä", "lower-case letters"), ("a" * 64, "63"), ("1a", "begins with a digit"), ("", "beginning")]
)
def test_the_reason_for_an_invalid_service_name_contains_the_rule(name: str, why: str) -> None:
    assert why in (object_name_problem(name) or "")


def test_a_version_with_build_metadata_is_converted_to_a_valid_label() -> None:
    assert label_value("1.0.0-rc.1+5") == "1.0.0-rc.1_5"
    assert label_value("1" * 64) is None
    assert label_value("-") is None
