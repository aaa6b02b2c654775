from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portalis.deploy.object_names import label_value, trouble, workload_name
from portalis.quantities import cpu_millis, memory_bytes


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
def test_an_objects_name_is_the_images_without_its_host(image: str, name: str) -> None:
    assert workload_name(image) == name
    assert trouble(name) is None


@pytest.mark.parametrize(
    ("name", "why"), [("ä", "lower-case letters"), ("a" * 64, "63"), ("1a", "begins with a digit"), ("", "beginning")]
)
def test_a_name_that_no_service_can_have_is_told_with_the_rule(name: str, why: str) -> None:
    assert why in (trouble(name) or "")


def test_a_version_with_a_build_is_written_so_that_a_label_can_hold_it() -> None:
    assert label_value("1.0.0-rc.1+5") == "1.0.0-rc.1_5"
    assert label_value("1" * 64) is None
    assert label_value("-") is None


def test_amounts_are_read_as_kubernetes_reads_them() -> None:
    assert [memory_bytes(each) for each in ("512", "1k", "2G", "2Gi", "1Mi")] == [512, 1000, 2 * 10**9, 2**31, 2**20]
    assert [cpu_millis(each) for each in ("500m", "2", "0.5", "1.0001", "0.0")] == [500, 2000, 500, 1001, 1]


@given(st.decimals(min_value="0.001", max_value=512, places=3))
def test_a_cpu_limit_keeps_its_thousandths(amount: object) -> None:
    assert cpu_millis(f"{amount}" if "." in f"{amount}" else f"{amount}.0") == int(float(f"{amount}") * 1000 + 0.5)
