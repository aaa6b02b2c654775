"""Ensembles as models: shapes, optional inputs, nesting, requests, statistics and readiness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portalis.nim.service.ensemble_nesting import MAX_NESTED
from portalis.nim.service.request_errors import RequestError, input_error
from tests.nim.service.test_ensemble_checks import ensemble, step

from .members import FunctionModel, nested, run, same, started

X = np.array([1, 2, 3], np.float32)


def test_arrays_are_passed_on_without_a_copy() -> None:
    first, second = FunctionModel("m", same), FunctionModel("n", same)
    model = started([first, second], ensemble("e", "x", "r", step("m", "x", "t"), step("n", "t", "r")))
    outputs = run(model, x=X)
    assert outputs["r"] is X and second.requests[0].inputs["a"] is X


def test_a_batch_dimension_is_added_and_removed_without_a_copy() -> None:
    batching, single = FunctionModel("m", same, max_batch_size=4), FunctionModel("n", same, dims=(3,))
    outputs = run(started([batching], ensemble("e", "x", "r", step("m", "x", "r"))), x=X)
    assert batching.requests[0].inputs["a"].shape == (1, 3)
    assert outputs["r"].shape == (3,) and np.shares_memory(outputs["r"], X)
    outputs = run(started([single], ensemble("e", "x", "r", step("n", "x", "r"), max_batch_size=2)), x=X[np.newaxis])
    assert single.requests[0].inputs["a"].shape == (3,)
    assert outputs["r"].shape == (1, 3) and np.shares_memory(outputs["r"], X)


def test_a_scalar_is_a_vector_of_one_element_between_steps() -> None:
    scalar, vector = FunctionModel("m", same, dims=(), max_batch_size=4), FunctionModel("n", same, max_batch_size=4)
    document = ensemble("e", "x", "r", step("m", "x", "t"), step("n", "t", "r"), max_batch_size=4)
    outputs = run(started([scalar, vector], document), x=X.reshape(3, 1))
    assert scalar.requests[0].inputs["a"].shape == vector.requests[0].inputs["a"].shape == (3, 1)
    assert outputs["r"].shape == (3, 1) and np.shares_memory(outputs["r"], X)


def test_classes_have_the_labels_of_the_step_unless_the_ensemble_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("own")
    labeled, plain = FunctionModel("m", same), FunctionModel("n", same)
    labeled.labels = {"y": [b"one"]}
    document = ensemble("e", "x", "r s", step("m", "x", "r"), step("n", "x", "s"))
    assert started([labeled, plain], document).labels == {"r": [b"one"]}
    document["labels"] = {"r": "labels.txt"}
    assert started([labeled, plain], document, tmp_path).labels == {"r": (b"own",)}


def test_tensors_are_reshaped_for_the_steps_and_back() -> None:
    member, document = FunctionModel("m", same, dims=(-1, 3)), ensemble("e", "x", "r", step("m", "x", "r"))
    document["inputs"][0] |= {"dims": [-1, 1, 3], "reshape": [-1, 3]}
    document["outputs"][0] |= {"dims": [1, -1, 3, 1], "reshape": [-1, 3]}
    outputs = run(started([member], document), x=np.zeros((5, 1, 3), np.float32))
    assert member.requests[0].inputs["a"].shape == (5, 3) and outputs["r"].shape == (1, 5, 3, 1)


def test_an_omitted_optional_input_is_omitted_in_the_steps() -> None:
    member = FunctionModel("m", lambda a, b=None: a if b is None else a + b, inputs="ab", optional="b")
    document = ensemble("e", "x w", "r", step("m", "x w", "r"))
    document["inputs"][1]["optional"] = True
    model = started([member], document)
    assert run(model, x=X)["r"].tolist() == [1, 2, 3] and run(model, x=X, w=X)["r"].tolist() == [2, 4, 6]
    with pytest.raises(RequestError, match="^input 'x' is missing"):
        run(model, w=X)


def test_ensembles_can_be_nested_as_deep_as_the_settings_allow() -> None:
    model = nested(MAX_NESTED, FunctionModel("m", lambda a: a + 1))
    assert run(model, a=X)["y"].tolist() == [2, 3, 4]


def test_a_request_that_does_not_match_the_interface_runs_no_step() -> None:
    member = FunctionModel("m", same, dims=(3,), max_batch_size=2)
    document = ensemble("e", "x", "r", step("m", "x", "r"), max_batch_size=2)
    for each in ("inputs", "outputs"):
        document[each][0]["dims"] = [3]
    model = started([member], document)
    for array, message in (
        (np.zeros((1, 4), np.float32), r"input 'x' has shape \[1, 4\]; it must be \[3\] after"),
        (np.zeros((3, 3), np.float32), "the batch of 3 is larger than the maximum of 2"),
        (np.zeros(3, np.float32), r"input 'x' has shape \[3\]"),
        (np.zeros((1, 3), np.int32), "input 'x' has dtype int32, not float32"),
    ):
        with pytest.raises(RequestError, match=f"^{message}") as caught:
            run(model, x=array)
        assert caught.value.status == 400
    assert not member.requests and model.statistics_document()["inference_stats"]["fail"]["count"] == 0


def test_statistics_count_requests_rows_and_batches() -> None:
    member = FunctionModel("m", same, max_batch_size=4)
    model = started([member], ensemble("e", "x", "r", step("m", "x", "r"), max_batch_size=4))
    for rows in (2, 2, 3):
        run(model, x=np.zeros((rows, 3), np.float32))
    document = model.statistics_document()
    assert (document["name"], document["inference_count"], document["execution_count"]) == ("e", 7, 3)
    assert document["inference_stats"]["success"]["count"] == 3 and document["last_inference"] > 0
    assert [(each["batch_size"], each["compute_infer"]["count"]) for each in document["batch_stats"]] == [
        (2, 2),
        (3, 1),
    ]


def test_an_ensemble_is_ready_after_its_models_and_fails_with_them() -> None:
    class Failing(FunctionModel):
        def _start(self) -> None:
            raise input_error("not a module")

    model = started([Failing("m", same)], ensemble("e", "x", "r", step("m", "x", "r")))
    assert not model.ready and model.failure == "model 'm' failed: not a module"
    with pytest.raises(RequestError, match="model 'e' failed: model 'm' failed: not a module") as caught:
        run(model, x=X)
    assert caught.value.status == 503
    assert started([FunctionModel("m", same)], ensemble("e", "x", "r", step("m", "x", "r"))).ready


@pytest.mark.parametrize(
    ("member", "changes", "message"),
    [
        ({"inputs": "ab"}, {}, "in ensemble e, input b in model m is not mapped to any ensemble tensors"),
        ({"inputs": "b"}, {}, "in ensemble e, ensemble tensor x is mapping to non-existing input a in model m"),
        ({"outputs": "z"}, {}, "in ensemble e, ensemble tensor r is mapped from non-existing output y in model m"),
        (
            {"dtype": "INT32"},
            {},
            "ensemble tensor x: inconsistent data type: TYPE_FP32 is inferred from model e while TYPE_INT32 is",
        ),
        (
            {"dims": (-1, 2)},
            {},
            "ensemble tensor x: inconsistent shape: [-1] is inferred from model e while [-1,2] is inferred from",
        ),
        (
            {"max_batch_size": 2},
            {"max_batch_size": 4},
            "ensemble e allows maximum batch size 4, but it contains model m which only allows maximum batch size to be 2",
        ),
    ],
)
def test_a_model_that_does_not_fit_fails_the_ensemble(member: Any, changes: Any, message: str) -> None:
    document = ensemble("e", "x", "r", step("m", "x", "r"), **changes)
    assert message in started([FunctionModel("m", same, **member)], document).failure
