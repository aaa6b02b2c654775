"""Programs that pass tensors in shared memory, as Triton's ``simple_*_shm*`` examples and ``reuse_infer_objects_client``
do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import serialize_byte_tensor, serialized_byte_size, triton_to_np_dtype

from .target import SHAPE, Target, operands, texts


@dataclass(frozen=True)
class Region:
    """A region that this process has created and the server knows."""

    name: str
    handle: Any
    size: int

    def read(self, output: Any, offset: int = 0) -> np.ndarray:
        """The tensor that the response describes as `output`."""
        kind = output["datatype"] if isinstance(output, dict) else output.datatype
        shape = output["shape"] if isinstance(output, dict) else output.shape
        array: np.ndarray = shm.get_contents_as_numpy(self.handle, triton_to_np_dtype(kind), shape, offset=offset)
        return array


class Memory:
    """The regions of one client. Keys are unique, so that tests do not share them."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.regions: list[Region] = []

    def create(self, name: str, size: int, *arrays: np.ndarray) -> Region:
        """A registered region of `size` bytes that begins with `arrays`."""
        key = f"/portalis_{os.getpid()}_{name}"
        handle = shm.create_shared_memory_region(name, key, size)
        self.regions.append(Region(name, handle, size))
        if arrays:
            shm.set_shared_memory_region(handle, list(arrays))
        self.client.register_system_shared_memory(name, key, size)
        return self.regions[-1]

    def status(self) -> set[str]:
        """The names of the regions that the server knows."""
        status = self.client.get_system_shared_memory_status()
        return {each["name"] for each in status} if isinstance(status, list) else set(status.regions)


@contextlib.contextmanager
def _memory(client: Any) -> Iterator[Memory]:
    with client:
        client.unregister_system_shared_memory()
        client.unregister_cuda_shared_memory()
        memory = Memory(client)
        try:
            yield memory
            assert memory.status() == {region.name for region in memory.regions}
        finally:
            client.unregister_system_shared_memory()
            for region in memory.regions:
                shm.destroy_shared_memory_region(region.handle)
        assert memory.status() == set()


def _client(target: Target, protocol: str) -> tuple[Any, Any]:
    return (triton_http, target.http_client()) if protocol == "http" else (triton_grpc, target.grpc_client())


def shared_numbers(target: Target, *, protocol: str) -> None:
    """Both inputs in one region, both outputs in another, at offsets."""
    library, client = _client(target, protocol)
    first, second = operands()
    size = first.nbytes
    with _memory(client) as memory:
        given = memory.create("input_data", 2 * size, first, second)
        results = memory.create("output_data", 2 * size)
        inputs = [library.InferInput(f"INPUT{number}", SHAPE, "INT32") for number in (0, 1)]
        outputs = [library.InferRequestedOutput(f"OUTPUT{number}") for number in (0, 1)]
        for number in (0, 1):
            inputs[number].set_shared_memory(given.name, size, offset=number * size)
            outputs[number].set_shared_memory(results.name, size, offset=number * size)
        result = client.infer("simple", inputs, outputs=outputs)
        for number, expected in enumerate((first + second, first - second)):
            returned = results.read(result.get_output(f"OUTPUT{number}"), number * size)
            np.testing.assert_array_equal(returned, expected)


def shared_strings(target: Target, *, protocol: str) -> None:
    """BYTES tensors, each in a region of its size."""
    library, client = _client(target, protocol)
    numbers = operands()
    arrays = {f"input{number}_data": texts(array) for number, array in enumerate(numbers)}
    expected = {
        "output0_data": texts(numbers[0] + numbers[1]),
        "output1_data": texts(numbers[0] - numbers[1]),
    }
    with _memory(client) as memory:
        inputs = [library.InferInput(f"INPUT{number}", SHAPE, "BYTES") for number in (0, 1)]
        outputs = [library.InferRequestedOutput(f"OUTPUT{number}") for number in (0, 1)]
        for tensor, (name, array) in zip(outputs, expected.items(), strict=True):
            region = memory.create(name, serialized_byte_size(serialize_byte_tensor(array)))
            tensor.set_shared_memory(region.name, region.size)
        for tensor, (name, array) in zip(inputs, arrays.items(), strict=True):
            serialized = serialize_byte_tensor(array)
            region = memory.create(name, serialized_byte_size(serialized), serialized)
            tensor.set_shared_memory(region.name, region.size)
        result = client.infer("simple_string", inputs, outputs=outputs)
        for number, region in enumerate(memory.regions[:2]):
            returned = region.read(result.get_output(f"OUTPUT{number}"))
            np.testing.assert_array_equal(returned, expected[region.name])


def reused_objects(target: Target, *, protocol: str) -> None:
    """The same tensor objects with shared memory, without it, and with it again."""
    library, client = _client(target, protocol)
    first, second = operands()
    with _memory(client) as memory:
        inputs = [library.InferInput(f"INPUT{number}", SHAPE, "INT32") for number in (0, 1)]
        outputs = [library.InferRequestedOutput(f"OUTPUT{number}") for number in (0, 1)]
        results = [memory.create(f"output{number}_data", first.nbytes) for number in (0, 1)]
        given = [
            memory.create(f"input{number}_data", first.nbytes, array) for number, array in enumerate((first, second))
        ]
        for shared in (True, False, True):
            arrays = (first, second) if shared else (first, second * 2)
            for number in (0, 1):
                if shared:
                    inputs[number].set_shared_memory(given[number].name, first.nbytes)
                    outputs[number].set_shared_memory(results[number].name, first.nbytes)
                else:
                    inputs[number].set_data_from_numpy(arrays[number])
                    outputs[number].unset_shared_memory()
            result = client.infer("simple", inputs, outputs=outputs)
            for number, expected in enumerate((arrays[0] + arrays[1], arrays[0] - arrays[1])):
                name = f"OUTPUT{number}"
                returned = results[number].read(result.get_output(name)) if shared else result.as_numpy(name)
                np.testing.assert_array_equal(returned, expected)
