"""A program for KServe's Python client, which runs in its environment: calls a server, and prints the results as JSON.

Its arguments are the server's URL for HTTP, and ``host:port`` for gRPC.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def request(model: str, kind: str, *, binary: bool, **options: Any) -> InferRequest:
    """A request with sixteen numbers and sixteen ones, as INT32 or as BYTES."""
    arrays = np.arange(16, dtype=np.int32).reshape(1, 16), np.ones((1, 16), np.int32)
    inputs = []
    for number, array in enumerate(arrays):
        values = np.array([str(each).encode() for each in array.ravel()], object).reshape(1, 16)
        tensor = InferInput(f"INPUT{number}", [1, 16], kind)
        tensor.set_data_from_numpy(values if kind == "BYTES" else array, binary_data=binary)
        inputs.append(tensor)
    return InferRequest(model, inputs, **options)


def outputs(response: Any) -> dict[str, list[int]]:
    """The outputs of a response as numbers, by name."""
    return {each.name: [int(value) for value in each.as_numpy().ravel()] for each in response.outputs}


async def outcome(call: Any) -> Any:
    """What a call returns, or the kind and text of its error."""
    try:
        return await call
    except Exception as error:  # noqa: BLE001  # a test compares it
        return {"error": type(error).__name__, "text": str(error)}


async def over_http(url: str) -> dict[str, Any]:
    """The results of the calls over HTTP, with the second version of the protocol."""
    found: dict[str, Any] = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=2)) as client:
        found["live"] = await outcome(client.is_server_live(url))
        found["ready"] = await outcome(client.is_server_ready(url))
        found["model ready"] = await outcome(client.is_model_ready(url, "simple"))
        found["unknown model ready"] = await outcome(client.is_model_ready(url, "unknown"))
        for model, kind in (("simple", "INT32"), ("simple_string", "BYTES")):
            for binary in (False, True):
                headers: dict[str, str] = {}
                response = await client.infer(
                    url, request(model, kind, binary=binary, request_id="a"), model, {"x-request-id": "7"}, headers
                )
                found[f"{kind} {binary}"] = outputs(response)
                assert response.id == "a" and headers["x-request-id"] == "7", (response.id, headers)
        wanted = [RequestedOutput("OUTPUT1", {"binary_data": True})]
        chosen = request("simple", "INT32", binary=True, request_outputs=wanted)
        found["one output"] = outputs(await client.infer(url, chosen, "simple"))
        plain = json.loads(json.dumps(request("simple", "INT32", binary=False).to_rest()[0]))
        found["dict"] = outputs(await client.infer(url, plain, "simple"))
        found["unknown model"] = await outcome(client.infer(url, request("unknown", "INT32", binary=False), "unknown"))
        wrong = InferRequest("simple", [InferInput("INPUT0", [1, 2], "INT32", data=[1, 2])])
        found["wrong inputs"] = await outcome(client.infer(url, wrong, "simple"))
    async with InferenceRESTClient(RESTConfig(protocol="v1", retries=2)) as client:
        found["v1"] = await outcome(client.infer(url, {"instances": [[1, 2]]}, "simple"))
    return found


async def over_grpc(address: str) -> dict[str, Any]:
    """The results of the calls over gRPC."""
    found: dict[str, Any] = {}
    async with InferenceGRPCClient(address, retries=2) as client:
        found["live"] = await client.is_server_live()
        found["ready"] = await client.is_server_ready()
        found["model ready"] = await client.is_model_ready("simple")
        for model, kind in (("simple", "INT32"), ("simple_string", "BYTES")):
            for binary in (False, True):
                message = request(model, kind, binary=binary, request_id="a", parameters={"custom": "1"})
                response = await client.infer(message, headers=(("x-request-id", "7"),), timeout=60)
                found[f"{kind} {binary}"] = outputs(response)
                assert response.id == "a", response.id
        found["unknown model"] = await outcome(client.infer(request("unknown", "INT32", binary=False)))
    return found


async def main(url: str, address: str) -> None:
    """Print the results of both protocols as one line."""
    print(json.dumps({"http": await over_http(url), "grpc": await over_grpc(address)}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
