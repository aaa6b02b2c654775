"""gRPC in the process of a service: streams at its end, its log, and perf_analyzer."""

from __future__ import annotations

import csv
import queue
import signal
import subprocess
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from portalis.examples.catalog import EXAMPLES
from tests import parts
from tests.running import waiting

from ..process import SLOW, Service, running, write_modules


def fp32_input(*values: float) -> triton.InferInput:
    return triton.InferInput("x", [1, len(values)], "FP32").set_data_from_numpy(np.array([values], np.float32))


def stop(service: Service) -> None:
    service.process.send_signal(signal.SIGTERM)
    service.wait_for_line("stopping: ")


@pytest.mark.service
def test_an_open_stream_gets_its_responses_and_ends_when_the_service_stops(tmp_path: Path) -> None:
    with running(tmp_path, write_modules(tmp_path, slow=SLOW)) as service:
        service.wait_ready()
        responses: queue.Queue[tuple[Any, Any]] = queue.Queue()
        triton_client = triton.InferenceServerClient(f"127.0.0.1:{service.client.grpc_port}")
        triton_client.start_stream(lambda result, error: responses.put((result, error)))
        triton_client.async_stream_infer("slow", [fp32_input(1)])
        assert responses.get(timeout=waiting.PATIENCE_S)[1] is None
        for number in range(10):
            # few elements: when it stops, the service completes requests for 15 s, on a busy machine too
            triton_client.async_stream_infer("slow", [fp32_input(*[number] * 2)])
        active = "wasm_service_active_requests"
        waiting.until(lambda: service.client.metric(active) + responses.qsize() >= 10, every_s=0.01)  # all were read
        stop(service)
        assert service.end() == 0, service.text()
        triton_client.stop_stream()
        triton_client.close()
    results = [responses.get(timeout=waiting.PATIENCE_S) for _ in range(10)]
    # the service has ended the stream; after 15 s it would have been cancelled
    assert [each["status"] for each in service.records() if each.get("method") == "gRPC"] == ["OK"]
    assert responses.empty()
    assert [error for _, error in results] == [None] * 10
    assert [float(result.as_numpy("y")[0, 0]) for result, _ in results] == [number + 1 for number in range(10)]
    assert "Traceback" not in service.text()


@pytest.mark.service
def test_the_log_has_a_json_record_with_the_id_of_each_request(tmp_path: Path) -> None:
    with running(tmp_path, write_modules(tmp_path, slow=SLOW)) as service:
        service.wait_ready()
        with triton.InferenceServerClient(f"127.0.0.1:{service.client.grpc_port}") as triton_client:
            triton_client.infer("slow", [fp32_input(1)], request_id="my-own")
        with grpc.insecure_channel(f"127.0.0.1:{service.client.grpc_port}") as channel:
            with pytest.raises(grpc.RpcError):
                GRPCInferenceServiceStub(channel).ModelInfer(pb.ModelInferRequest(model_name="nope", id="other\nline"))
            broken = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            with pytest.raises(grpc.RpcError) as caught:
                broken(b"\xff\xff", timeout=waiting.PATIENCE_S)
        assert (
            caught.value.details()
            == "Unable to parse request; it is not a valid message of type inference.ModelInferRequest"
        )
        stop(service)
        assert service.end() == 0, service.text()
    records = [each for each in service.records() if each.get("method") == "gRPC"]
    assert [each["status"] for each in records] == ["OK", "NOT_FOUND", "INVALID_ARGUMENT"]
    assert records[0]["model"] == "slow" and records[0]["path"] == "/inference.GRPCInferenceService/ModelInfer"
    assert "my-own" in records[0].values() and "otherline" in records[1].values()


@pytest.mark.alone("perf_analyzer gives its shared memory fixed names, and measures until the figures are stable")
@pytest.mark.service
def test_perf_analyzer_measures_the_service(tmp_path: Path) -> None:
    (tmp_path / "softmax.wasm").write_bytes(EXAMPLES["softmax"].module.read_bytes())
    report = tmp_path / "report.csv"
    with running(tmp_path, [{"name": "softmax", "file": "softmax.wasm"}]) as service:
        service.wait_ready()
        command = [*parts.perf_analyzer(), "-m", "softmax", "-i", "grpc", "-u", f"127.0.0.1:{service.client.grpc_port}"]
        command += ["--shape", "x:64", "-b", "1", "--concurrency-range", "4", "--request-count", "200"]
        for options in ([], ["--streaming"]):
            done = subprocess.run(
                [*command, "-f", str(report), *options], capture_output=True, text=True, timeout=waiting.PATIENCE_S
            )
            assert done.returncode == 0, done.stdout + done.stderr
            (row,) = csv.DictReader(report.read_text().splitlines())
            assert float(row["Inferences/Second"]) > 0
            assert float(row["Server Compute Infer"]) > 0
        statistics = triton.InferenceServerClient(command[command.index("-u") + 1]).get_inference_statistics("softmax")
        assert statistics.model_stats[0].inference_stats.success.count >= 400
        assert statistics.model_stats[0].inference_stats.fail.count == 0
