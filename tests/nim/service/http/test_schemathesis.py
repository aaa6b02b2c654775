"""The OpenAPI description matches the live service: schemathesis finds no failure."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from portalis.examples.catalog import EXAMPLES
from tests.nim.service.serving import serving
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.service

# An existing model and version: requests with other names are rejected before anything else is checked. 504 is the
# response if the request sets a time limit that is exceeded, 500 that for an unknown shared memory object, 503 that to
# changes of models that are loaded at startup only. Any body is valid as a raw binary request, which a header declares:
# no schema can express that.
CONFIGURATION = """
[parameters]
"path.name" = "softmax"
"path.version" = "1"

[checks.not_a_server_error]
expected-statuses = ["2xx", "4xx", "504"]

[[operations]]
include-path-regex = "/v2/models/.*/infer"
checks.negative_data_rejection.expected-statuses = ["200", "4xx", "501"]

[[operations]]
include-path = "/v2/systemsharedmemory/region/{region}/register"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "500"]

[[operations]]
include-path-regex = "/v2/repository/models/.*/(load|unload)"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "500", "503"]
"""


def test_schemathesis_finds_no_failure(tmp_path: Path) -> None:
    module = EXAMPLES["softmax"].module
    (tmp_path / module.name).write_bytes(module.read_bytes())
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    with serving(tmp_path, [{"name": "softmax", "file": module.name}], body_timeout_s=5) as client:
        client.wait_ready()
        command = [f"{sysconfig.get_path('scripts')}/schemathesis", "--no-color", "--config-file", str(configuration)]
        command += ["run", f"http://127.0.0.1:{client.port}/openapi.json", "--checks", "all"]
        # no schema can express that the number of elements matches the shape, or that the datatype is that of the model
        command += ["--exclude-checks", "positive_data_acceptance", "--phases", "examples,coverage,fuzzing"]
        command += ["--max-examples", "15", "--seed", "4", "--continue-on-failure"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        counts = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
        assert counts and counts[1] == counts[2] and int(counts[1]) > 300, done.stdout
        for api in ("json", "v2"):  # the example of the description succeeds
            assert f'{{code="200",model="softmax",protocol="{api}"}} 0.0' not in client.get("/metrics")[1]
        assert client.get("/v1/health/ready")[0] == 200
