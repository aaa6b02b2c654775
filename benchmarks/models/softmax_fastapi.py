"""A hand-written softmax service with FastAPI and NumPy, on the same HTTP server as portalis's service.

``python softmax_fastapi.py PORT``
"""

import sys

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


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


@app.post("/v1/models/softmax/infer")
async def infer(request: InferRequest) -> InferResponse:
    """Softmax over the last axis."""
    given = request.inputs[0]
    x = np.array(given.data, np.float32).reshape(given.shape)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    output = Tensor(name="y", datatype="FP32", shape=list(y.shape), data=y.ravel().tolist())
    return InferResponse(model_name="softmax", outputs=[output])


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
