"""Selection of the engine for a model in Triton, as far as it depends on the model."""

from __future__ import annotations

import pytest

from portalis.backend import SettingsError
from portalis.backend.interface.interface import Interface
from portalis.backend.triton.config import check_engine, model_interface
from portalis.backend.triton.engine_selection import native_obstacle
from portalis.backend.triton.model_parameters import ModelParameters, parse_parameters
from portalis.backend.wasm.binary import read_module
from tests.backend import guests

COMMAND = guests.wasm('(module (memory (export "memory") 1) (func (export "_start")))')
THREADS = "wasm.threads is 4, and the native executor uses one thread per instance of the instance group"


def model(wasm: bytes, **parameters: str) -> tuple[ModelParameters, Interface]:
    settings = parse_parameters({f"wasm.{key}": value for key, value in parameters.items()})
    return settings, model_interface(read_module(wasm), {}, settings, "model.wasm")


@pytest.mark.parametrize(
    ("wasm", "parameters", "why"),
    [
        (guests.when_asked("unreachable"), {}, None),
        (guests.when_asked("unreachable"), {"threads": "4"}, THREADS),
        (COMMAND, {}, "the native executor does not run commands"),
    ],
)
def test_some_models_are_not_run_natively_wherever_they_are(
    wasm: bytes, parameters: dict[str, str], why: str | None
) -> None:
    for engine in ("auto", "python", "native"):
        settings, interface = model(wasm, engine=engine, **parameters)
        assert native_obstacle(interface, settings.threads) == why
        if engine == "native" and why is not None:
            with pytest.raises(SettingsError) as caught:
                check_engine(settings, interface, {"backend": "wasm"})
            assert str(caught.value) == f"wasm.engine is native, but {why}: set wasm.engine to auto or python"
        else:
            check_engine(settings, interface, {"backend": "wasm"})


def test_a_model_of_the_python_backend_brings_its_own() -> None:
    check_engine(*model(guests.when_asked("unreachable")), {"backend": "python"})
    with pytest.raises(SettingsError, match="wasm.engine is native, but the backend is python"):
        check_engine(*model(guests.when_asked("unreachable"), engine="native"), {"backend": "python"})
