"""Tensors in shared memory, over HTTP and gRPC, with NVIDIA's clients."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
import tritonclient.utils.shared_memory as shm
import wasmtime
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, serialize_byte_tensor

from tests import parts
from tests.nim.service.process import SLOW
from tests.nim.service.serving import Client, serving
from tests.running import waiting
from tests.running.waiting import PATIENCE_S

from .answers import ADD, ECHO, TEXTS, modules
from .shared_objects import SharedObject, open_objects, shared_object

pytestmark = pytest.mark.service

MIB = 1 << 20
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("modules")
    files = {**modules(), "slow": bytes(wasmtime.wat2wasm(SLOW))}
    for name, module in files.items():
        (folder / f"{name}.wasm").write_bytes(module)
    models = [{"name": name, "file": f"{name}.wasm"} for name in files]
    with serving(folder, models, max_request_bytes=4 * MIB, max_shared_memory_regions=6) as client:
        client.wait_ready()
        yield client
        with shared_object(8) as left, http_client.InferenceServerClient(f"127.0.0.1:{client.port}") as connection:
            connection.register_system_shared_memory("left", left.key, 8)
            assert len(open_objects()) == 1
    assert open_objects() == []  # closed at the end of the service


@dataclass
class Triton:
    """NVIDIA's client for one of the protocols, as `module`."""

    module: ModuleType
    client: Any

    def infer(self, model: str, inputs: list[Any], outputs: list[Any]) -> Any:
        return self.client.infer(model, inputs, outputs=outputs)

    def input(self, name: str, like: np.ndarray, region: str, offset: int = 0, size: int | None = None) -> Any:
        """An input with the type and shape of an array, whose data are in a region."""
        tensor = self.module.InferInput(name, list(like.shape), np_to_triton_dtype(like.dtype))
        tensor.set_shared_memory(region, like.nbytes if size is None else size, offset)
        return tensor

    def direct(self, name: str, array: np.ndarray) -> Any:
        return self.module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(
            array
        )

    def output(self, name: str, region: str, size: int, offset: int = 0) -> Any:
        output = self.module.InferRequestedOutput(name)
        output.set_shared_memory(region, size, offset)
        return output

    def output_of(self, result: Any, name: str) -> tuple[str, list[int], Any]:
        """The type and shape of an output, and its data in the response."""
        found = result.get_output(name)
        if self.module is http_client:
            return found["datatype"], found["shape"], found.get("data")
        index = [each.name for each in result.get_response().outputs].index(name)
        return found.datatype, list(found.shape), result.get_response().raw_output_contents[index] or None

    def register(self, target: SharedObject, size: int, offset: int = 0) -> str:
        name = f"region{next(_NUMBERS)}"
        self.client.register_system_shared_memory(name, target.key, size, offset=offset)
        return name


@pytest.fixture(params=["http", "grpc"])
def triton(client: Client, request: pytest.FixtureRequest) -> Iterator[Triton]:
    if request.param == "http":
        connection: Any = http_client.InferenceServerClient(f"127.0.0.1:{client.port}", network_timeout=PATIENCE_S)
        found = Triton(http_client, connection)
    else:
        connection = grpc_client.InferenceServerClient(f"127.0.0.1:{client.grpc_port}")
        found = Triton(grpc_client, connection)
    with contextlib.closing(connection):
        yield found
        connection.unregister_system_shared_memory()


@pytest.fixture
def target() -> Iterator[SharedObject]:
    with shared_object(8 * MIB) as found:
        yield found


def ramp(size: int) -> np.ndarray:
    return np.arange(size, dtype=np.float32)


@pytest.mark.parametrize("size", [1, 1000, MIB // 4])
def test_inputs_and_outputs_are_in_regions_of_nvidias_client(triton: Triton, size: int) -> None:
    x, key = ramp(size), f"/portalis-test-cshm-{next(_NUMBERS)}"
    handle = shm.create_shared_memory_region("r", key, 2 * x.nbytes)
    try:
        shm.set_shared_memory_region(handle, [x])
        triton.client.register_system_shared_memory("r", key, 2 * x.nbytes)
        result = triton.infer(ECHO, [triton.input("x", x, "r")], [triton.output("y", "r", x.nbytes, x.nbytes)])
        assert triton.output_of(result, "y") == ("FP32", [size], None)
        np.testing.assert_array_equal(shm.get_contents_as_numpy(handle, np.float32, [size], x.nbytes), x)
    finally:
        shm.destroy_shared_memory_region(handle)


def test_a_region_is_a_range_of_its_object(triton: Triton, target: SharedObject) -> None:
    x = ramp(4)
    target.write(x.tobytes(), 1003)
    region = triton.register(target, 40, offset=1000)
    triton.infer(ECHO, [triton.input("x", x, region, 3)], [triton.output("y", region, 20, 20)])
    assert target.read()[1000:1050] == bytes(3) + x.tobytes() + b"\0" + x.tobytes() + bytes(14)


def test_a_region_can_be_named_like_anything(triton: Triton, target: SharedObject) -> None:
    for name in ("a b", "ä", "x" * 100, "%41", "a.b:c"):
        triton.client.register_system_shared_memory(name, target.key, 64)
        status = triton.client.get_system_shared_memory_status(name)
        found = [each["name"] for each in status] if isinstance(status, list) else list(status.regions)
        assert found == [name]
        triton.infer(ECHO, [triton.input("x", ramp(2), name)], [])
        triton.client.unregister_system_shared_memory(name)


@pytest.mark.parametrize("size", [3, 100_000])
@pytest.mark.parametrize("in_region", [("a",), ("b",), ("a", "b")])
def test_inputs_in_regions_and_in_the_request_can_be_mixed(
    triton: Triton, target: SharedObject, in_region: tuple[str, ...], size: int
) -> None:
    arrays = {"a": ramp(size), "b": ramp(size)[::-1] * 3}
    region, inputs = triton.register(target, 4 * MIB), []
    for number, (name, array) in enumerate(arrays.items()):
        target.write(array.tobytes(), number * MIB)
        if name in in_region:
            inputs.append(triton.input(name, array, region, number * MIB))
        else:
            inputs.append(triton.direct(name, array))
    result = triton.infer(ADD, inputs, [])
    np.testing.assert_array_equal(result.as_numpy("y"), arrays["a"] + arrays["b"])


def test_a_large_json_request_has_inputs_and_outputs_in_regions(client: Client, target: SharedObject) -> None:
    a, b = ramp(60_000), ramp(60_000) / 7
    target.write(b.tobytes(), 16)
    connection = http_client.InferenceServerClient(f"127.0.0.1:{client.port}")
    connection.register_system_shared_memory("j", target.key, MIB)
    place = '{"shared_memory_region":"j","shared_memory_byte_size":240000,"shared_memory_offset":%d}'
    head = '"datatype":"FP32","shape":[60000]'
    body = f'{{"inputs":[{{"name":"a",{head},"data":{a.tolist()}}},{{"name":"b",{head},"parameters":{place % 16}}}],'
    body += f'"outputs":[{{"name":"y","parameters":{place % (MIB // 2)}}}]}}'
    assert len(body) > 300_000
    status, document = client.send(f"/v2/models/{ADD}/infer", body.encode())
    connection.unregister_system_shared_memory("j")
    connection.close()
    assert status == 200 and document["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [60_000]}]
    np.testing.assert_array_equal(np.frombuffer(target.read()[MIB // 2 :], np.float32, 60_000), a + b)


def test_a_large_message_has_inputs_in_regions(client: Client, target: SharedObject) -> None:
    from tritonclient.grpc import service_pb2 as pb

    a, b = ramp(80_000), ramp(80_000) / 7
    target.write(b.tobytes(), 16)
    with grpc_client.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as connection:
        connection.register_system_shared_memory("m", target.key, MIB)
        request = pb.ModelInferRequest(model_name=ADD)
        x = request.inputs.add(name="a", datatype="FP32", shape=[80_000])
        x.contents.fp32_contents.extend(a.tolist())
        z = request.inputs.add(name="b", datatype="FP32", shape=[80_000])
        z.parameters["shared_memory_region"].string_param = "m"
        z.parameters["shared_memory_offset"].int64_param = 16
        z.parameters["shared_memory_byte_size"].int64_param = b.nbytes
        response = connection._client_stub.ModelInfer(request, timeout=PATIENCE_S)
        connection.unregister_system_shared_memory("m")
    np.testing.assert_array_equal(np.frombuffer(response.raw_output_contents[0], np.float32), a + b)


def test_streams_have_tensors_in_regions(client: Client, target: SharedObject) -> None:
    target.write(ramp(2).tobytes())
    with grpc_client.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as connection:
        stream = Triton(grpc_client, connection)
        region, found, done = stream.register(target, 64), [], threading.Event()

        def receive(result: Any, error: Any) -> None:
            found.append(error or result)
            if len(found) == 2:
                done.set()

        connection.start_stream(receive)
        connection.async_stream_infer(
            ECHO, [stream.input("x", ramp(2), region)], outputs=[stream.output("y", region, 8, 8)]
        )
        connection.async_stream_infer(ECHO, [stream.input("x", ramp(2), "unknown")])
        assert done.wait(PATIENCE_S)
        connection.stop_stream()
        connection.unregister_system_shared_memory(region)
    assert target.read()[8:16] == ramp(2).tobytes()
    assert "Unable to find shared memory region: 'unknown'" in str(found[1])


@pytest.mark.parametrize("count", [3, 30_000])
def test_bytes_tensors_are_in_regions_in_their_serialized_form(
    triton: Triton, target: SharedObject, count: int
) -> None:
    texts = np.array([b"", b"\xff\0", "ä".encode(), *[b"%d" % n for n in range(count - 3)]], object)
    data = serialize_byte_tensor(texts).item()
    target.write(data)
    region = triton.register(target, 4 * MIB)
    inputs = [triton.input("x", texts, region, size=len(data))]
    result = triton.infer(TEXTS, inputs, [triton.output("y", region, MIB, MIB)])
    assert triton.output_of(result, "y") == ("BYTES", [count], None)
    assert target.read()[MIB : MIB + len(data) + 1] == data + b"\0"
    with pytest.raises(InferenceServerException, match=f"should be at least {len(data)} bytes"):
        triton.infer(TEXTS, inputs, [triton.output("y", region, len(data) - 1, MIB)])


@pytest.mark.parametrize(
    ("data", "shape", "message"),
    [
        (b"\x64\0\0\0a", 1, "the element at 0 has 100 bytes, but only 1 are left"),
        (b"\0\0", 1, "2 bytes are left at 0"),
        (b"\1\0\0\0a", 3, "shape [3] has 3 elements, but its data has 1"),
        (b"\0" * 4 * 1_000_000, 1 << 30, "the maximum for a BYTES tensor is 1048576"),
    ],
)
def test_malformed_bytes_tensors_in_regions_are_rejected(
    triton: Triton, target: SharedObject, data: bytes, shape: int, message: str
) -> None:
    target.write(data)
    tensor = triton.module.InferInput("x", [shape], "BYTES")
    tensor.set_shared_memory(triton.register(target, 4 * MIB), len(data))
    with pytest.raises(InferenceServerException) as caught:
        triton.infer(TEXTS, [tensor], [])
    assert message in caught.value.message()


def test_a_region_in_use_cannot_be_unregistered(triton: Triton, client: Client, target: SharedObject) -> None:
    x = ramp(20)
    target.write(x.tobytes())
    region = triton.register(target, MIB)
    results: list[Any] = []

    def infer() -> None:
        with http_client.InferenceServerClient(f"127.0.0.1:{client.port}", network_timeout=PATIENCE_S) as other:
            over_http = Triton(http_client, other)
            tensors = [over_http.input("x", x, region)], [over_http.output("y", region, x.nbytes, MIB // 2)]
            results.append(over_http.infer("slow", *tensors))

    thread = threading.Thread(target=infer)
    thread.start()
    waiting.until(lambda: client.metric("wasm_service_active_requests") >= 1, every_s=0.005)
    for name, message in ((region, f"'{region}', it is currently in use."), ("", f"regions: {region} ,")):
        with pytest.raises(InferenceServerException) as caught:
            triton.client.unregister_system_shared_memory(name)
        assert message in caught.value.message() and caught.value.status() in ("500", "StatusCode.INTERNAL")
    thread.join(PATIENCE_S)
    assert len(results) == 1 and target.read()[MIB // 2 :][: x.nbytes] == (x + 1).tobytes()
    triton.client.unregister_system_shared_memory(region)


def test_objects_that_become_smaller_give_an_error_of_the_request(triton: Triton, target: SharedObject) -> None:
    region, other = triton.register(target, 8 * MIB), ramp(MIB // 2)
    target.resize(MIB)
    for size in (MIB // 4 + 1, MIB // 2):  # 1 MiB and 4 bytes, and 2 MiB
        with pytest.raises(InferenceServerException, match="become smaller"):
            triton.infer(ECHO, [triton.input("x", other[:size], region)], [])
        with pytest.raises(InferenceServerException, match="become smaller"):
            triton.infer(ECHO, [triton.direct("x", other[:size])], [triton.output("y", region, 4 * size)])
    assert target.path.stat().st_size == MIB
    triton.infer(ECHO, [triton.input("x", other[: MIB // 4], region)], [])


def test_objects_that_become_smaller_while_many_requests_run(client: Client, target: SharedObject) -> None:
    size, stop, results = MIB, threading.Event(), []
    x = ramp(size // 4)
    with grpc_client.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as connection:
        regions = [Triton(grpc_client, connection).register(target, 8 * MIB) for _ in range(4)]
    ends = [8 * MIB, 2 * MIB + 4096, 2 * MIB + 100, MIB, 4096, 0]

    def infer(number: int, region: str) -> None:
        with grpc_client.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as connection:
            over_grpc = Triton(grpc_client, connection)
            output = over_grpc.output("y", region, size, (4 + number) * MIB)
            while not stop.is_set():
                try:
                    over_grpc.infer(ECHO, [over_grpc.input("x", x, region, number * 1024)], [output])
                    results.append("")
                except InferenceServerException as error:
                    results.append(error.message())

    threads = [threading.Thread(target=infer, args=each) for each in enumerate(regions)]
    for thread in threads:
        thread.start()
    for number in range(300):
        target.resize(ends[number % len(ends)])
        time.sleep(0.003)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    target.resize(8 * MIB)
    expected = re.compile("become smaller|smaller for a time|^$")
    assert "" in results and any(results) and all(expected.search(each) for each in results)
    target.write(x.tobytes())
    with grpc_client.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as connection:
        over_grpc = Triton(grpc_client, connection)
        for region in regions:
            over_grpc.infer(ECHO, [over_grpc.input("x", x, region)], [over_grpc.output("y", region, size, 4 * MIB)])
            connection.unregister_system_shared_memory(region)
    assert target.read()[4 * MIB :][:size] == x.tobytes()


def test_regions_outlive_the_name_of_their_object(triton: Triton, target: SharedObject) -> None:
    region = triton.register(target, 64)
    target.write(ramp(2).tobytes())
    target.path.unlink()
    result = triton.infer(ECHO, [triton.input("x", ramp(2), region)], [])
    np.testing.assert_array_equal(result.as_numpy("y"), ramp(2))
    with pytest.raises(InferenceServerException, match="Unable to open shared memory region"):
        triton.register(target, 64)


def test_requests_and_registrations_are_limited(triton: Triton, target: SharedObject) -> None:
    regions = [triton.register(target, 8 * MIB) for _ in range(6)]
    with pytest.raises(InferenceServerException, match="6 regions, its limit"):
        triton.register(target, 64)
    with pytest.raises(InferenceServerException, match="exceeds the limit of 4194304 bytes"):
        triton.infer(ECHO, [triton.input("x", ramp(MIB + 1), regions[0])], [])
    triton.infer(ECHO, [triton.input("x", ramp(MIB - 100), regions[0])], [triton.output("y", regions[1], 4 * MIB)])


def test_two_clients_share_the_names_of_regions(client: Client, target: SharedObject) -> None:
    with (
        http_client.InferenceServerClient(f"127.0.0.1:{client.port}") as first,
        grpc_client.InferenceServerClient(f"127.0.0.1:{client.grpc_port}") as second,
    ):
        first.register_system_shared_memory("name", target.key, 64)
        with pytest.raises(InferenceServerException, match="shared memory region 'name' already in manager") as caught:
            second.register_system_shared_memory("name", target.key, 64)
        assert caught.value.status() == "StatusCode.ALREADY_EXISTS"
        second.unregister_system_shared_memory("name")
        assert first.get_system_shared_memory_status() == []


def test_v1_has_no_tensors_in_regions(client: Client) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    output = {"name": "y", "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 4}}
    status, document = client.infer(ECHO, {"inputs": [tensor], "outputs": [output]})
    assert status == 400 and "available with /v2/models/{name}/infer only" in document["error"]["message"]


def test_the_extension_is_in_the_metadata(triton: Triton) -> None:
    metadata = triton.client.get_server_metadata()
    extensions = metadata["extensions"] if isinstance(metadata, dict) else metadata.extensions
    assert "system_shared_memory" in extensions and "cuda_shared_memory" not in extensions


@pytest.mark.alone("perf_analyzer gives its shared memory fixed names, and measures until the figures are stable")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_perf_analyzer_measures_with_shared_memory(client: Client, tmp_path: Path, protocol: str) -> None:
    port, report = client.port if protocol == "http" else client.grpc_port, tmp_path / "report.csv"
    command = [*parts.perf_analyzer(), "-m", ECHO, "-i", protocol, "-u", f"127.0.0.1:{port}", "--shape", "x:1024"]
    command += ["--shared-memory", "system", "--output-shared-memory-size", "4096", "--concurrency-range", "4"]
    command += ["--request-count", "200", "-f", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = csv.DictReader(report.read_text().splitlines())
    assert float(row["Inferences/Second"]) > 0
    statistics = client.get(f"/v2/models/{ECHO}/stats")[1]["model_stats"][0]["inference_stats"]
    assert statistics["success"]["count"] >= 200
    assert client.get("/v2/systemsharedmemory/status") == (200, [])
