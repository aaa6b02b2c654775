"""A package whose ensembles are served by a real Triton and by the service: chains, fan-out, nesting, batch dimensions,
reshapes, optional inputs, and steps that fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portalis.examples.catalog import EXAMPLES
from portalis.spec import PackageSpec
from portalis.spec.read import make_spec
from tests.backend import guests
from tests.backend.guests import tensor

HALF = '(module (func (export "half") (param $x f32) (result f32) (f32.mul (local.get $x) (f32.const 0.5))))'
# status 3 if the first element is negative
PICKY = f"""(if (f32.lt (f32.load (i32.load (local.get $in))) (f32.const 0)) (then (return (i32.const 3))))
  {guests.ECHO_BODY}"""
SUMMED = {
    "entry": "sum",
    "convention": "gufunc",
    "signature": "(n)->()",
    "inputs": [tensor("x")],
    "outputs": [tensor("y", dims=())],
    "max_batch_size": 8,
}
X, Y = [tensor("x")], [tensor("y")]
MODULES = {
    "half": guests.wasm(HALF),
    "add": guests.wasm(guests.ADD),
    "unbatched": guests.echo(),
    "strict": guests.echo(dims=(3,), batch=8),
    "sum": guests.wasm(guests.SUM, SUMMED),
    "picky": guests.dlpack(PICKY, inputs=X, outputs=Y, batch=8),
    "wordpiece": EXAMPLES["wordpiece"].module.read_bytes(),
    "numbers": guests.echo("INT64", (-1, -1)),
    "maybe": guests.dlpack(guests.ECHO_BODY, inputs=[*X, tensor("w", optional=True)], outputs=Y, batch=8),
}


def step(model: str, inputs: dict[str, str], outputs: dict[str, str]) -> dict[str, Any]:
    return {"model_name": model, "input_map": inputs, "output_map": outputs}


def one(model: str, x: str = "x", y: str = "y") -> dict[str, Any]:
    """A step of a model with one input, x, and one output, y."""
    return step(model, {"x": x}, {"y": y})


def ensemble(
    name: str, inputs: str, outputs: str, *steps: dict[str, Any], batch: int = 8, dims: tuple[int, ...] = (-1,)
) -> dict[str, Any]:
    def tensors(names: str) -> list[dict[str, Any]]:
        return [{"name": each, "data_type": "FP32", "dims": list(dims)} for each in names.split()]

    return {
        "name": name,
        "max_batch_size": batch,
        "inputs": tensors(inputs),
        "outputs": tensors(outputs),
        "steps": list(steps),
    }


LABELED = "add"
"""The module whose output has labels."""


def ensembles() -> list[dict[str, Any]]:
    """The ensembles of the package."""
    reshaped = ensemble("reshaped", "x", "y", one("strict"), dims=(3, 1))
    for side in ("inputs", "outputs"):
        reshaped[side][0]["reshape"] = [3]
    outputs = {"input_ids": "ids", "attention_mask": "mask"}
    tokens = ensemble(
        "tokens", "text", "y mask", step("wordpiece", {"text": "text"}, outputs), one("numbers", "ids"), batch=0
    )
    tokens["inputs"][0]["data_type"] = "STRING"
    for each in tokens["outputs"]:
        each |= {"data_type": "INT64", "dims": [-1, -1]}
    fan = ensemble("fan", "x", "r s", one("half", y="r"), one("picky", y="s"))
    fan["outputs"][0]["label_filename"] = "labels.txt"
    optional = ensemble("optional", "x w", "y", step("maybe", {"x": "x", "w": "w"}, {"y": "y"}))
    optional["inputs"][1]["optional"] = True
    total = ensemble("total", "x", "y", one("sum", y="s"), one("half", "s"))
    total["outputs"][0]["dims"] = [1]
    return [
        total,
        tokens,
        ensemble("chain", "x w", "y", one("half", y="t"), step("add", {"a": "t", "b": "w"}, {"y": "y"})),
        fan,
        ensemble(
            "diamond", "x", "y", one("half", y="t"), one("picky", y="u"), step("add", {"a": "t", "b": "u"}, {"y": "y"})
        ),
        ensemble("nested", "x", "y", one("half", y="t"), step("chain", {"x": "t", "w": "t"}, {"y": "y"})),
        ensemble("inside", "x", "y", one("half", y="t"), step("add", {"a": "t", "b": "x"}, {"y": "y"})),
        ensemble("counted", "x", "y", one("half", y="t"), step("inside", {"x": "t"}, {"y": "y"})),
        ensemble("failing", "x", "y", one("half", y="t"), one("picky", "t")),
        ensemble("late", "x", "y", one("half", y="t"), one("strict", "t")),
        ensemble("around_late", "x", "y", step("late", {"x": "x"}, {"y": "y"})),
        ensemble("around", "x", "y", step("failing", {"x": "x"}, {"y": "y"})),
        ensemble("strip", "x", "y", one("unbatched")),
        ensemble("plain", "x", "y", one("half", y="t"), one("unbatched", "t"), batch=0),
        ensemble("single", "x", "y", one("strict"), batch=0, dims=(3,)),
        reshaped,
        optional,
    ]


def package(folder: Path) -> PackageSpec:
    """The spec; Triton's models have the names of the modules, as in the service."""
    (folder / "labels.txt").write_text("one\ntwo\n")
    binaries = []
    for name, module in MODULES.items():
        (folder / f"{name}.wasm").write_bytes(module)
        config: dict[str, Any] = {"model_name": name}
        if name == LABELED:
            output = {"name": "y", "data_type": "FP32", "dims": [-1], "label_filename": "labels.txt"}
            config["outputs"] = [output]
        binaries.append({"path": f"{name}.wasm", "triton_config": config})
    data = {
        "package_name": "demo",
        "package_version": "1.2.3",
        "output_directory": "out",
        "wasm_binaries": binaries,
        "triton_config": {"ensembles": ensembles()},
    }
    return make_spec(data, base=folder, source="the test's spec")
