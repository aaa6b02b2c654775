"""Programs that ask for health, metadata and configuration and control models, as Triton's ``simple_*_health_metadata`` and
``simple_*_model_control`` do."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from .target import Target

CONTROLLED = "controlled"
"""The model that is loaded and unloaded: the same as ``simple``."""
WRONG_CONFIG = '"parameters": {"config": {{"max_batch_size": "16"}}}'


def http_management(target: Target) -> None:
    """Health, metadata, and an unknown model."""
    query = {"test_1": 1, "test_2": 2}
    with target.http_client() as client:
        assert client.is_server_live(query_params=query)
        assert client.is_server_ready()
        assert client.is_model_ready("simple")
        assert client.get_server_metadata()["name"] == "triton"
        assert client.get_model_metadata("simple", query_params=query)["name"] == "simple"
        _expect_error(lambda: client.get_model_metadata("wrong_model_name"), "Request for unknown model")


def grpc_management(target: Target) -> None:
    """Health, metadata, configuration, and an unknown model."""
    headers = {"test": "1", "dummy": "2"}
    with target.grpc_client() as client:
        assert client.is_server_live(headers=headers)
        assert client.is_server_ready()
        assert client.is_model_ready("simple")
        assert client.get_server_metadata().name == "triton"
        assert client.get_model_metadata("simple", headers=headers).name == "simple"
        _expect_error(lambda: client.get_model_metadata("wrong_model_name"), "Request for unknown model")
        assert client.get_model_config("simple").config.name == "simple"
        _expect_error(lambda: client.get_model_config("wrong_model_name"), "Request for unknown model")


def model_control(target: Target, *, protocol: str) -> None:
    """Load a model, also with another configuration, and unload it."""
    with target.http_client() if protocol == "http" else target.grpc_client() as client:
        index = client.get_model_repository_index()
        assert len(index if protocol == "http" else index.models) >= 1
        client.load_model(CONTROLLED)
        assert client.is_model_ready(CONTROLLED)
        _expect_error(lambda: client.load_model(CONTROLLED, config=WRONG_CONFIG), "failed to load")
        client.load_model(CONTROLLED, config='{"max_batch_size":"16"}')
        config = client.get_model_config(CONTROLLED)
        assert (config["max_batch_size"] if protocol == "http" else config.config.max_batch_size) == 16
        client.unload_model(CONTROLLED)
        assert not client.is_model_ready(CONTROLLED)
        _expect_error(lambda: client.load_model("wrong_model_name"), "failed to load")


def _expect_error(call: Any, message: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        call()
    assert message in caught.value.message()
