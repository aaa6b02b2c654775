"""Whatever is in a spec, reading it ends in a spec or in problems; and a spec survives every format."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import wasmtime
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from portalis.contracts.input import PackagingAgentInput
from portalis.problems import InputProblems
from portalis.spec import PackageSpec, read_spec
from portalis.spec.explain import _types_at
from portalis.spec.read import make_spec
from tests.portalis.conftest import ADD

from .conftest import SMALLEST

words = st.sampled_from(
    ["", "x", "path", "Custom", "Latest", "All", "Specific", "FP32", "(table)", "(word)", "[key]", "a.b", "\0"]
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), words, st.binary(max_size=1), st.dates()
)


def keys() -> list[str]:
    """Every key that is anywhere in a spec."""
    found, kinds = list[str](), list[Any]([PackageSpec])
    while kinds:
        kind = kinds.pop()
        for name in getattr(kind, "model_fields", {}):
            found.append(name)
            inner = list(_types_at(kind, (name,)) + _types_at(kind, (name, 0)) + _types_at(kind, (name, "x")))
            kinds += [each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)]
    return sorted(set(found))


data = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(keys()) | words | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(PackageSpec.model_fields)) | words | st.integers(), data, max_size=8))
def test_random_data_is_a_spec_or_has_problems(random: dict[Any, Any]) -> None:
    before = copy.deepcopy(random)
    for changes in (random, SMALLEST | random):
        with pytest.raises(InputProblems) as caught:
            make_spec(changes, base=Path("/nowhere"), source="the spec")
        loc = [problem.where for problem in caught.value.problems]
        assert loc
    assert repr(random) == repr(before)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["wasm_binaries", "test_results", "packaging_configuration", "context"]) | words, data
    )
)
def test_random_data_from_the_test_agent_has_problems(random: dict[str, Any]) -> None:
    with pytest.raises(InputProblems):
        PackagingAgentInput.from_test_output(random, base=Path("/nowhere"))


plain = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
size = st.integers(1, 2**31 - 1)
tensors = st.fixed_dictionaries(
    {"name": plain, "data_type": st.sampled_from(["FP32", "BYTES"]), "dims": st.lists(st.just(-1) | size, max_size=3)},
    optional={"format": st.sampled_from(["NHWC", "Linear"]), "optional": st.booleans()},
)
valid = st.fixed_dictionaries(
    {"package_name": plain, "package_version": st.just("1.0.0-a+b")},
    optional={
        "description": st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        "container_config": st.fixed_dictionaries(
            {},
            optional={
                "labels": st.dictionaries(plain, plain, max_size=3),
                "health_check_interval": size | st.sampled_from(["30s", "1h2m3s"]),
                "entrypoint": st.lists(plain, max_size=3),
                "memory_limit": st.sampled_from(["2Gi", "512Mi"]),
            },
        ),
        "triton_config": st.fixed_dictionaries(
            {},
            optional={
                "platform": st.sampled_from(["Python", {"Custom": "x"}]),
                "version_policy": st.sampled_from([{"policy": "All"}, {"policy": {"Latest": 3}}]),
                "inputs": st.lists(tensors, max_size=2),
                "backend_parameters": st.dictionaries(plain, plain, max_size=2),
                "optimization": st.fixed_dictionaries({"gather_kernel_buffer_threshold": st.integers(0, 2**63 - 1)}),
                "metrics": st.lists(
                    st.fixed_dictionaries(
                        {"metric_family": plain, "buckets": st.lists(st.floats(0, 1e9), min_size=1, max_size=3)}
                    ),
                    max_size=1,
                ),
            },
        ),
    },
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(valid)
def test_a_spec_survives_being_written_and_read_in_every_format(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "add.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    spec = make_spec(SMALLEST | changes, base=tmp_path, source="the spec")
    dumped = spec.model_dump(mode="json", exclude_none=True)
    for ending, text in (
        ("json", json.dumps(dumped)),
        ("yaml", yaml.safe_dump(dumped)),
        ("toml", tomlkit.dumps(dumped)),
    ):
        path = tmp_path / f"spec.{ending}"
        path.write_bytes(text.encode())
        assert read_spec(path) == spec
