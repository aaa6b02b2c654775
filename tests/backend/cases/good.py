"""The rows of requests that go well: each pair of convention, data type, shape, batching and isolation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from portalis.backend.interface.dtypes import DTYPES
from tests.backend.cases import kernels, pairwise, values
from tests.backend.cases.case import Call, Case, Tensors
from tests.backend.cases.pairwise import Row

MAX_BATCH = 8
FACTORS = {
    "convention": ("elementwise", "gufunc", "dlpack", "command"),
    "dtype": tuple(DTYPES),
    "shape": (*(f"rank {rank}" for rank in range(9)), "size 0", "broadcast", "dynamic", "absent", "present"),
    "batching": ("none", "one", "joined", "passes"),
    "isolation": ("request", "batch", "instance"),
}
PASS_BYTES = 2_400_000  # of all tensors together: more than one pass of either loop


def valid(row: Row) -> bool:
    """Whether there can be such a row."""
    convention, shape, batching = row["convention"], row["shape"], row["batching"]
    if convention == "command":
        can = row["dtype"] == "BYTES" and shape in ("rank 1", "size 0", "absent", "present") and batching != "passes"
        return can and (shape != "size 0" or batching != "none")
    if convention != "dlpack" and (row["dtype"] == "BYTES" or shape in ("absent", "present")):
        return False
    if convention == "dlpack" and shape == "broadcast":
        return False
    if batching == "passes":
        return shape not in ("rank 0", "size 0") and row["dtype"] != "BYTES"
    return not (shape == "rank 8" and batching != "none")  # the batch dimension is the ninth


def cases() -> Iterator[Case]:
    """All rows."""
    for row in pairwise.rows(FACTORS, valid):
        name = "-".join(row.values()).replace(" ", "_")
        batch = MAX_BATCH if row["batching"] in ("one", "joined") else 0
        make = _command if row["convention"] == "command" else _numbers
        module, calls = make(row, batch, name)
        yield Case(name, module, calls, row["isolation"], factors=row)


def _rank(row: Row) -> int:
    shape = row["shape"]
    return int(shape[5:]) if shape.startswith("rank") else 3 if shape == "broadcast" else 2


def _dims(row: Row) -> tuple[int, ...]:
    """The dims of the interface: every second one is unknown in advance."""
    sizes = (2, 1, 3, 1, 2, 1, 2, 2)[: _rank(row)]
    if row["shape"].startswith("rank") and row["batching"] != "passes":
        return tuple(size if (i + len(sizes)) % 2 else -1 for i, size in enumerate(sizes)) if _open(row) else sizes
    return (-1,) * len(sizes)


def _open(row: Row) -> bool:
    return row["isolation"] == "request" or row["dtype"] in ("INT8", "FP32", "BYTES")


def _shapes(row: Row) -> list[tuple[int, ...]]:
    """The shapes of x without the batch dimension, one for each call."""
    sizes = (2, 1, 3, 1, 2, 1, 2, 2)[: _rank(row)]
    if row["batching"] == "passes":
        rest = math.prod(sizes[:-1]) * 3 * DTYPES[row["dtype"]].itemsize
        sizes = (PASS_BYTES // rest, *sizes[:-1])
    if row["shape"] == "size 0":
        return [(0, 3)]
    if row["shape"] == "dynamic":
        return [sizes, (1, *sizes[1:]), (*sizes[:-1], 5), sizes]
    return [sizes, sizes]


def _numbers(row: Row, batch: int, name: str) -> tuple[bytes, tuple[Call, ...]]:
    dims, dtype, convention = _dims(row), row["dtype"], row["convention"]
    cores = 0 if row["batching"] == "passes" or row["shape"] == "broadcast" else min(len(dims), 2)
    two = len(dims) % 2 == 1
    if convention == "elementwise":
        module = kernels.adder(dtype, dims, batch, two=two)
    elif convention == "gufunc":
        module = kernels.gufunc(dtype, dims, batch, cores)
    else:
        module = kernels.dlpack(dtype, dims, batch)
    calls = []
    for number, shape in enumerate(_shapes(row)):
        requests, answers = [], []
        for rows in (1, 2, 3) if row["batching"] == "joined" else (2,):
            whole = (rows, *shape) if batch else shape
            request = _request(row, whole, f"{name}{number}{rows}")
            if convention == "elementwise":
                answer = {"y": values.added(dtype, request["x"], request["w"])}
                answer |= {"z": np.broadcast_to(request["w"], answer["y"].shape)} if two else {}
            else:
                answer = {"y": values.mixed(dtype, request["x"], request.get("w"))}
            if convention == "gufunc" and not cores:
                answer["z"] = values.from_f64(dtype, np.ones(answer["y"].shape))
            requests.append(request)
            answers.append(answer)
        calls.append(Call(tuple(requests), tuple(answers)))
    return module, tuple(calls)


def _request(row: Row, shape: tuple[int, ...], seed: str) -> dict[str, np.ndarray]:
    fill = values.numbers if row["convention"] == "elementwise" else values.any_bits
    request = {"x": fill(row["dtype"], shape, seed)}
    if row["shape"] == "broadcast":
        shape = (*shape[:-2], 1, shape[-1])
    if row["shape"] != "absent" and (row["convention"] != "dlpack" or row["shape"] != "rank 3"):
        request["w"] = fill(row["dtype"], shape, seed + "w")
    return request


def _command(row: Row, batch: int, name: str) -> tuple[bytes, tuple[Call, ...]]:
    requests, answers = [], []
    for rows in (0,) if row["shape"] == "size 0" else (1, 2, 3) if row["batching"] == "joined" else (1,):
        shape: tuple[int, ...] = (rows, 1) if batch else (1,)
        request: dict[str, np.ndarray] = {"stdin": values.any_bits("BYTES", shape, f"{name}{rows}")}
        if row["shape"] == "present":
            request["args"] = np.full((*shape[:-1], 2), b"word", object)
        marks = np.full(shape, b"!", object)
        exits = np.full(shape, 2 if "args" in request else 0, np.int32)
        answer: Tensors = {"stdout": request["stdin"], "stderr": marks, "exit_code": exits}
        requests.append(request)
        answers.append(answer)
    return kernels.command(batch), (Call(tuple(requests), tuple(answers)),)
