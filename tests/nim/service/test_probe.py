"""The health probe of images, against a ready service, an unknown path and a port without a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from portalis.nim.service import probe
from tests.running.ports import free_port

from .process import write_modules
from .serving import serving

SAME = '(module (func (export "same") (param $x f32) (result f32) (local.get $x)))'


@pytest.mark.service
def test_the_probe_distinguishes_a_ready_service_from_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path, write_modules(tmp_path, same=SAME)) as client:
        client.wait_ready()
        monkeypatch.setenv("SERVICE_PORT", str(client.port))
        assert probe.main(["/health", "/v1/health/ready"]) == 0
        assert probe.main(["/nothing"]) == 1
        assert "/nothing: 404" in capsys.readouterr().out
        monkeypatch.setenv("NIM_SERVER_PORT", str(free_port()))
        assert probe.main([]) == 1
        assert "no response on port" in capsys.readouterr().out
        monkeypatch.setenv("NIM_HTTP_API_PORT", "0x50")
        assert probe.main([]) == 1
        assert "NIM_HTTP_API_PORT must be a port" in capsys.readouterr().out
