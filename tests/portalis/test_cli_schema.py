"""`portalis schema`."""

from __future__ import annotations

import json

import pytest

from portalis.contracts.json_schemas import SCHEMAS, schema_text

from .conftest import Cli


@pytest.mark.parametrize("name", SCHEMAS)
def test_it_prints_only_the_schema(cli: Cli, name: str) -> None:
    done = cli("schema", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == schema_text(name)


def test_without_a_name_it_prints_the_schema_of_the_spec(cli: Cli) -> None:
    assert "wasm_binaries" in json.loads(cli("schema").stdout)["properties"]


def test_an_unknown_name_is_a_usage_error(cli: Cli) -> None:
    done = cli("schema", "specs")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown schema 'specs'\n  Did you mean 'spec'?" in done.stderr
