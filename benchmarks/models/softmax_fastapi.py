"""A hand-written softmax service with FastAPI and NumPy, on the same HTTP server as portalis's service.

``python softmax_fastapi.py PORT``. The model ``softmax`` accepts JSON tensors, validated by pydantic, and
``softmax_binary`` binary tensors. The other routes return what perf_analyzer reads before it sends requests.
"""

import json
import sys
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

NAMES = ("softmax", "softmax_binary")
HEAD_LENGTH = "inference-header-content-length"


class Tensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class InferRequest(BaseModel):
    inputs: list[Tensor]


class InferResponse(BaseModel):
    model_name: str
    outputs: list[Tensor]


app = FastAPI()


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@app.post("/v1/models/softmax/infer")
@app.post("/v2/models/softmax/infer")
async def infer(request: InferRequest) -> InferResponse:
    given = request.inputs[0]
    y = softmax(np.array(given.data, np.float32).reshape(given.shape))
    output = Tensor(name="y", datatype="FP32", shape=list(y.shape), data=y.ravel().tolist())
    return InferResponse(model_name="softmax", outputs=[output])


@app.post("/v2/models/softmax_binary/infer")
async def infer_binary(request: Request) -> Response:
    body = await request.body()
    length = int(request.headers[HEAD_LENGTH])
    given = json.loads(body[:length])["inputs"][0]
    y = softmax(np.frombuffer(body, np.float32, offset=length).reshape(given["shape"]))
    parameters = {"binary_data_size": y.nbytes}
    output = {"name": "y", "datatype": "FP32", "shape": list(y.shape), "parameters": parameters}
    head = json.dumps({"model_name": "softmax_binary", "outputs": [output]}).encode()
    headers = {HEAD_LENGTH: str(len(head))}
    return Response(head + y.tobytes(), headers=headers, media_type="application/octet-stream")


def tensors(kind: str) -> dict[str, list[dict[str, Any]]]:
    """The input and the output in the metadata, or in the configuration."""
    if kind == "metadata":
        return {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, -1]}],
        }
    return {
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [-1]}],
    }


@app.get("/v2")
async def server() -> dict[str, Any]:
    return {"name": "FastAPI", "version": "1", "extensions": ["binary_tensor_data"]}


@app.get("/v2/models/{name}")
async def metadata(name: str) -> dict[str, Any]:
    return {"name": name, "versions": ["1"], "platform": "numpy", **tensors("metadata")}


@app.get("/v2/models/{name}/config")
async def configuration(name: str) -> dict[str, Any]:
    return {"name": name, "max_batch_size": 64, **tensors("configuration")}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
