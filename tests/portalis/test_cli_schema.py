"""`portalis schema`."""

from __future__ import annotations

import json

import pytest

from portalis.contracts.json_schemas import SCHEMAS, schema_text

from .conftest import Cli


@pytest.mark.parametrize("name", SCHEMAS)
def test_it_prints_the_schema_and_nothing_else(cli: Cli, name: str) -> None:
    done = cli("schema", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == schema_text(name)


def test_it_prints_the_schema_of_the_spec_when_none_is_named(cli: Cli) -> None:
    assert "wasm_binaries" in json.loads(cli("schema").stdout)["properties"]


def test_another_name_is_bad_usage(cli: Cli) -> None:
    done = cli("schema", "specs")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown schema 'specs'\n  Did you mean 'spec'?" in done.stderr
