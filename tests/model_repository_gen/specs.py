"""A Hypothesis strategy for valid models of a spec, over modules with known interfaces."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

KERNEL = {"name": "x", "dtype": "FP32", "dims": [-1]}
DECLARED: dict[str, dict[str, Any]] = {
    "double": {"convention": "gufunc", "signature": "(n)->(n)", "inputs": [KERNEL], "outputs": [{**KERNEL, "name": "y"}], "max_batch_size": 16},
    "sum": {"convention": "gufunc", "signature": "(n)->()", "inputs": [KERNEL], "outputs": [{**KERNEL, "name": "s", "dims": []}], "max_batch_size": 16},
}  # fmt: skip
# the inputs and outputs of each module, and whether it batches
TENSORS: dict[str, tuple[dict[str, str], dict[str, str], bool]] = {
    "add": ({"a": "FP32", "b": "FP32"}, {"y": "FP32"}, True),
    "echo": ({"x": "FP32"}, {"y": "FP32"}, True),
    "unbatched": ({"x": "FP32"}, {"y": "FP32"}, False),
    "double": ({"x": "FP32"}, {"y": "FP32"}, True),
    "sum": ({"x": "FP32"}, {"s": "FP32"}, True),
    "cat": ({"stdin": "STRING"}, {"stdout": "STRING", "stderr": "STRING", "exit_code": "INT32"}, True),
    "sequence": ({"x": "FP32"}, {"y": "FP32"}, False),
    "opaque": ({"x": "INT64", "z": "UINT8"}, {"y": "FP64"}, True),
}
CONTROLS = [
    {"name": "START", "control_type": "Start", "data_type": "FP32"},
    {"name": "END", "control_type": "End", "data_type": "BOOL"},
    {"name": "ID", "control_type": "CorrelationId"},
]
CUSTOM = {"platform": {"Custom": "mine"}}
SIZE = 4  # of a tensor with such dims

U32 = st.integers(0, 2**32 - 1)
# Triton stores microseconds in a signed 64-bit number, and waits that long
MICROSECONDS = st.one_of(st.integers(0, 1000), st.integers(0, 10**9))
NAMES = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="/\"'`$&;|<>()[]{}*?!#~\\"), min_size=1, max_size=12
)
WORDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1, max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def table(
    required: dict[str, st.SearchStrategy[Any]] | None = None, **optional: Any
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required or {}, optional=optional)


QUEUE_POLICIES = table(
    timeout_action=st.sampled_from(["REJECT", "DELAY"]),
    default_timeout_microseconds=MICROSECONDS,
    allow_timeout_override=st.booleans(),
    max_queue_size=U32,
)


@st.composite
def dynamic_batching(draw: st.DrawFn, most: int) -> dict[str, Any]:
    found = draw(
        table(
            preferred_batch_size=st.lists(st.integers(1, max(most, 1)), max_size=2 if most else 0),
            max_queue_delay_microseconds=MICROSECONDS,
            default_queue_policy=QUEUE_POLICIES,
        )
    )
    levels = draw(st.integers(0, 3))
    if levels:
        policies = st.dictionaries(st.integers(1, levels).map(str), QUEUE_POLICIES, max_size=2)
        found |= {
            "priority_levels": levels,
            "default_priority_level": draw(st.integers(1, levels)),
            "priority_queue_policy": draw(policies),
        }
    policies_ = [found.get("default_queue_policy", {}), *found.get("priority_queue_policy", {}).values()]
    delays = any(each.get("timeout_action") == "DELAY" for each in policies_)
    if levels < 2 and not delays:
        found["preserve_ordering"] = draw(st.booleans())
    return found


@st.composite
def sequence_batching(draw: st.DrawFn, module: str, most: int, custom: bool) -> dict[str, Any]:
    found = draw(table(max_sequence_idle_microseconds=st.integers(1, 10**9)))
    strategy = draw(st.sampled_from(["", "oldest", "direct"]))
    if strategy == "oldest":
        sizes = st.lists(st.integers(1, max(most, 1)), max_size=2 if most else 0)
        more: dict[str, Any] = {
            "max_queue_delay_microseconds": MICROSECONDS,
            "preserve_ordering": st.booleans(),
            "preferred_batch_size": sizes,
        }
        found["oldest"] = draw(table({"max_candidate_sequences": st.integers(1, 64)}, **more))
    elif strategy == "direct":
        more = {"max_queue_delay_microseconds": MICROSECONDS, "minimum_slot_utilization": st.floats(0, 1)}
        found["direct"] = draw(table(**more))
    if module == "sequence":
        found["control_inputs"] = CONTROLS
    elif custom:
        found["control_inputs"] = draw(st.lists(st.sampled_from(CONTROLS), unique_by=lambda each: str(each["name"])))
        state = {"name": "s", "data_type": "FP32", "dims": draw(st.sampled_from([[1], [-1, 2]]))}
        found["states"] = [state] if draw(st.booleans()) else []
    return found


def instance_groups() -> st.SearchStrategy[list[dict[str, Any]]]:
    resources = table({"name": st.sampled_from(["R", "S"]), "count": st.integers(1, 9)}).map(
        lambda each: {**each, "is_global": each["name"] == "S"}  # global or per device, the same in all models
    )
    limiter = table(
        priority=st.integers(0, 9), resources=st.lists(resources, max_size=2, unique_by=lambda each: each["name"])
    )
    group = table(
        name=NAMES,
        kind=st.sampled_from(["CPU", "AUTO", "MODEL"]),
        count=st.just(1),
        host_policy=WORDS,
        rate_limiter=limiter,
    )
    return st.lists(group, max_size=1)


@st.composite
def tensors(draw: st.DrawFn, module: str, custom: bool, most: int) -> dict[str, Any]:
    """Inputs and outputs, narrower than the module's, with the changes that Triton makes before it calls the module."""
    inputs, outputs, _ = TENSORS[module]
    dims = [1] if module in ("sequence", "cat") else draw(st.sampled_from([[-1], [SIZE]]))

    def tensor(name: str, data_type: str) -> dict[str, Any]:
        one = name in ("s", "stdin", "stdout", "stderr", "exit_code") or module == "sequence"
        found: dict[str, Any] = {
            "name": name,
            "data_type": data_type,
            "dims": [3] if one and name == "y" else [1] if one else dims,
        }
        if custom and draw(st.booleans()):
            found["dims"] = draw(st.lists(st.sampled_from([-1, 1, 2, 2**31]), min_size=1, max_size=4))
        if found["dims"] == [SIZE] and draw(st.booleans()):
            found |= {"dims": [2, 1, 2], "reshape": [SIZE]}
        return found

    def input_(name: str, data_type: str) -> dict[str, Any]:
        found = tensor(name, data_type)
        if len(found["dims"]) == 3 and draw(st.booleans()):
            found["format"] = draw(st.sampled_from(["NHWC", "NCHW", "Linear"]))
        if most and draw(st.booleans()):
            found["allow_ragged_batch"] = draw(st.booleans())
        if custom:
            found["optional"] = draw(st.booleans())
        return found

    return {
        "inputs": [input_(*each) for each in inputs.items()],
        "outputs": [tensor(*each) for each in outputs.items()],
    }


def version_policies(version: int) -> st.SearchStrategy[dict[str, Any]]:
    listed = st.lists(st.integers(1, 2**32 - 1), max_size=2).map(
        lambda more: {"policy": "Specific", "versions": [version, *more]}
    )
    latest = st.integers(1, 2**32 - 1).map(lambda count: {"policy": {"Latest": count}})
    return st.one_of(st.just({"policy": "All"}), latest, listed)


@st.composite
def warm_up(draw: st.DrawFn, module: str, given: dict[str, Any], most: int) -> list[dict[str, Any]]:
    described = {each["name"]: each["dims"] for each in given.get("inputs", ())}
    default = [1] if module in ("sequence", "cat") else [3]
    inputs: dict[str, dict[str, Any]] = {
        name: {"data_type": data_type, "dims": [abs(size) for size in described.get(name, default)], **draw(st.sampled_from([{}, {"zero_data": True}, {"random_data": True}]))}
        for name, data_type in TENSORS[module][0].items()
    }  # fmt: skip
    if any(size > SIZE for each in inputs.values() for size in each["dims"]):
        return []
    return [
        {
            "name": draw(WORDS),
            "batch_size": draw(st.integers(1, max(most, 1))),
            "count": draw(st.integers(0, 2)),
            "inputs": inputs,
        }
    ]


@st.composite
def parameters(draw: st.DrawFn, custom: bool) -> dict[str, str]:
    reserved = ("wasm.", "FORCE_CPU_ONLY_INPUT_TENSORS", "EXECUTION_ENV_PATH")
    found = draw(
        st.dictionaries(TEXTS.filter(lambda key: key != "" and not key.startswith(reserved)), TEXTS, max_size=2)
    )
    if not custom:
        own = {
            "wasm.isolation": st.sampled_from(["request", "batch", "instance"]),
            "wasm.threads": st.integers(1, 4).map(str),
            "wasm.timeout_ms": st.sampled_from(["300000", "3e5"]),  # also applies to warm-ups, and on a busy machine
            "wasm.max_memory_bytes": st.sampled_from(["64MiB", "33554432"]),
        }
        found |= draw(st.fixed_dictionaries({}, optional=own))
    return found


@st.composite
def models(draw: st.DrawFn, *, metrics: bool = False) -> dict[str, Any]:
    """An entry of ``wasm_binaries``, whose ``path`` is the name of a module."""
    module = draw(st.sampled_from(list(TENSORS)))
    custom = module == "opaque" or draw(st.integers(0, 9)) == 0
    version = draw(st.integers(1, 9))
    given: dict[str, Any] = {"model_version": version}
    given |= CUSTOM if custom else draw(table(platform=st.sampled_from(["WasmABI", "WasmABI", "Python"])))
    batches = TENSORS[module][2]
    most = draw(st.integers(1, 8)) if batches else 0
    given["max_batch_size"] = most
    if module == "opaque" or draw(st.booleans()):
        given |= draw(tensors(module, custom, most))
    sequences = module == "sequence" or draw(st.integers(0, 4)) == 0
    if sequences:
        given["sequence_batching"] = draw(sequence_batching(module, most, custom))
    elif draw(st.booleans()):
        given["dynamic_batching"] = draw(dynamic_batching(most))
    if draw(st.booleans()) and module != "sequence":
        given["warmup"] = draw(warm_up(module, given, most))
    given |= draw(
        table(
            instance_groups=instance_groups(),
            version_policy=version_policies(version),
            backend_parameters=parameters(custom),
            optimization=table(
                cuda_graphs=st.booleans(), gather_kernel_buffer_threshold=U32, eager_batching=st.booleans()
            ),
        )
    )
    if draw(st.booleans()):
        given.setdefault("optimization", {}).update(
            graph_optimization=True, graph_level=draw(st.integers(1, 2**31 - 1))
        )
    decoupled = custom and draw(st.booleans())
    if decoupled:
        given["model_transaction_policy"] = {"decoupled": True}
    elif not sequences:
        given["response_cache"] = draw(st.booleans())
    if metrics:
        family = {
            "metric_family": draw(WORDS),
            "buckets": draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=3)),
        }
        given["metrics"] = [family]
    return {"path": module, "interface": DECLARED.get(module, {}), "triton_config": given}
