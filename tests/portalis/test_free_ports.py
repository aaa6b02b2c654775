"""Free ports are different, free, on the address asked for, and none that the kernel hands out by itself."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from portalis import free_ports as module
from portalis.free_ports import FIRST_PORT, free_ports


def test_they_differ_are_free_and_lie_below_the_kernels_range() -> None:
    ports = free_ports(30)
    assert len(set(ports)) == 30
    begin = int(module.PORT_RANGE_FILE.read_text().split()[0])
    assert all(FIRST_PORT <= port < begin for port in ports)


def test_a_port_that_another_listens_on_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        (port,) = free_ports(1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        choices = iter([port, port, port + 1, port + 2, port + 3])
        monkeypatch.setattr(random, "randrange", lambda first, end: next(choices))
        assert free_ports(1)[0] > port


@pytest.mark.parametrize("content", [None, "", "1024 65535", "no numbers"])
def test_where_the_kernels_range_is_unknown_or_everything_it_chooses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "range").write_text(content)
    monkeypatch.setattr(module, "PORT_RANGE_FILE", tmp_path / "range")
    assert len(set(free_ports(3))) == 3


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError, match="assign requested address"):
        free_ports(1, "192.0.2.1")
