"""Interfaces, guests and requests at random, with what NumPy makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from portalis.backend.interface.dtypes import BF16, DTYPES, bf16_to_f32, f32_to_bf16
from tests.backend import guests
from tests.backend.cases import values
from tests.backend.cases.case import Tensors
from tests.backend.guests import tensor

NUMBERS = tuple(name for name in DTYPES if name != "BYTES")
SIZES = st.sampled_from((0, 1, 1, 2, 3))
ISOLATIONS = st.sampled_from(("request", "batch", "instance"))


@dataclass(frozen=True)
class Drawn:
    """A module, requests that arrive together, and their answers by NumPy."""

    module: bytes
    isolation: str
    requests: tuple[Tensors, ...]
    answers: tuple[Tensors, ...]
    chunk_bytes: int


@st.composite
def shapes(draw: st.DrawFn, count: int, cores: Sequence[tuple[int, ...]], rows: int | None) -> list[tuple[int, ...]]:
    """Shapes of `count` inputs that broadcast, each with its core dimensions; with `rows` that is axis 0 of all."""
    most = 8 - max(map(len, cores)) - (rows is not None)
    loops = draw(st.lists(SIZES, max_size=min(most, 4)))
    found = []
    for core in cores[:count]:
        own = loops[draw(st.integers(0, len(loops))) :] if rows is None else loops
        own = [size if draw(st.booleans()) else 1 for size in own]
        found.append(((rows,) if rows is not None else ()) + tuple(own) + core)
    return found


def widened(dtype: str, array: np.ndarray) -> np.ndarray:
    """The elements as the numbers of WebAssembly that an elementwise entry gets."""
    kind = DTYPES[dtype].wasm
    if DTYPES[dtype] is BF16:
        return bf16_to_f32(array)
    return array.astype({"i32": np.int32, "i64": np.int64, "f32": np.float32, "f64": np.float64}[kind])


def narrowed(dtype: str, array: np.ndarray) -> np.ndarray:
    """Those numbers as elements."""
    with np.errstate(over="ignore"):
        if dtype == "BOOL":
            return np.asarray(array != 0)
        return f32_to_bf16(array) if DTYPES[dtype] is BF16 else array.astype(DTYPES[dtype].numpy)


@st.composite
def elementwise(draw: st.DrawFn) -> Drawn:
    """Each output is the sum of some inputs that have its type in WebAssembly, or 1."""
    ins = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=4))
    outs = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3))
    inputs, outputs = {f"x{i}": d for i, d in enumerate(ins)}, {f"y{i}": d for i, d in enumerate(outs)}
    terms = {
        out: [x for x, d in inputs.items() if DTYPES[d].wasm == DTYPES[dtype].wasm and draw(st.booleans())]
        for out, dtype in outputs.items()
    }
    batch = draw(st.sampled_from((0, 8)))
    bodies = []
    for out, dtype in outputs.items():
        kind, code = DTYPES[dtype].wasm, ""
        for i, x in enumerate(terms[out]):
            code += f"(local.get ${x})" + (f"{kind}.add" if i else "")
        bodies.append(code or f"({kind}.const 1)")
    call = draw(st.booleans())  # what is called is not copied into the loop
    text = f"""(module (func $none) (func (export "f") {"".join(f"(param ${x} {DTYPES[d].wasm})" for x, d in inputs.items())}
      (result {" ".join(DTYPES[d].wasm for d in outs)}) {"(call $none)" if call else ""} {" ".join(bodies)}))"""
    described = _described("f", "elementwise", batch, inputs, outputs, ((-1,),) * 7)
    requests, answers = [], []
    for rows in draw(_rows(batch)):
        found = draw(shapes(len(ins), [()] * len(ins), rows))
        seed = str(draw(st.integers(0, 1 << 30)))
        x = {n: values.any_bits(d, s, seed + n) for (n, d), s in zip(inputs.items(), found)}
        whole, y = np.broadcast_shapes(*found), {}
        for out, dtype in outputs.items():
            total: Any = None
            for name in terms[out]:
                with np.errstate(all="ignore"):
                    total = (0 if total is None else total) + widened(inputs[name], x[name]) if total is not None else widened(inputs[name], x[name])
            number = {"f64": np.float64, "f32": np.float32, "i64": np.int64, "i32": np.int32}[DTYPES[dtype].wasm]
            y[out] = narrowed(dtype, np.broadcast_to(np.ones((), number) if total is None else total, whole))
        requests.append(x)
        answers.append(y)
    chunk_bytes = draw(st.sampled_from((1, 512 << 10)))
    return Drawn(guests.wasm(text, described), draw(ISOLATIONS), tuple(requests), tuple(answers), chunk_bytes)


def _rows(batch: int) -> st.SearchStrategy[list[int | None]]:
    """The rows of each request, None without a batch dimension."""
    return st.lists(st.sampled_from((1, 2, 1)), min_size=1, max_size=3) if batch else st.just([None])  # type: ignore[return-value]


def _described(
    entry: str,
    convention: str,
    batch: int,
    inputs: dict[str, str],
    outputs: dict[str, str],
    dims: Sequence[tuple[int, ...]],
    **more: Any,
) -> dict[str, Any]:
    sides = [tensor(n, d, dim) for (n, d), dim in zip((*inputs.items(), *outputs.items()), dims, strict=False)]
    specs = {"inputs": sides[: len(inputs)], "outputs": sides[len(inputs) :]}
    return {"entry": entry, "convention": convention, "max_batch_size": batch, **specs, **more}


@st.composite
def gufunc(draw: st.DrawFn) -> Drawn:
    """Each byte of the outputs is the exclusive or of all bytes of the inputs' core dimensions, and of their sizes; a
    returned scalar is that number, of 0 to 127."""
    names = {"m": draw(SIZES), "n": draw(SIZES)}
    dim = st.sampled_from(("m", "n", 2, 1))
    ins = draw(st.lists(st.tuples(st.sampled_from(NUMBERS), st.lists(dim, max_size=3)), min_size=1, max_size=3))
    known = sorted({d for _, dims in ins for d in dims if isinstance(d, str)})
    out_dim = st.sampled_from((*known, 2, 1))
    outs = draw(st.lists(st.tuples(st.sampled_from(NUMBERS), st.lists(out_dim, max_size=2)), min_size=1, max_size=2))
    itself = draw(st.booleans())
    status = draw(st.booleans())
    returned = draw(st.sampled_from(("i32", "i64", "f32", "f64"))) if not itself and not status and not outs[-1][1] else ""
    inputs = {f"x{i}": d for i, (d, _) in enumerate(ins)}
    outputs = {f"y{i}": d for i, (d, _) in enumerate(outs)}
    cores = {name: dims for name, (_, dims) in zip((*inputs, *outputs), (*ins, *outs))}
    order = [d for name in cores for d in cores[name] if isinstance(d, str)]
    pointers = [*inputs, *list(outputs)[: len(outs) - bool(returned)]]
    args: list[Any] = draw(st.permutations([*pointers, *dict.fromkeys(order), 7, *(["batch"] if itself else [])]))
    long = draw(st.booleans())
    text = _kernel(args, {**inputs, **outputs}, cores, list(inputs), pointers, returned, status=status, long=long)
    side = [",".join(f"({','.join(map(str, cores[n]))})" for n in group) for group in (inputs, outputs)]
    more = {"signature": "->".join(side), "args": args, "returns": "status" if status else "value"}
    batch = draw(st.sampled_from((0, 8)))
    described = _described("f", "gufunc", batch, inputs, outputs, [(-1,) * 3] * 9, **more)
    requests, answers = [], []
    for rows in draw(_rows(batch)):
        sizes = {name: tuple(names.get(d, d) for d in dims) for name, dims in cores.items()}  # type: ignore[call-overload]
        found = draw(shapes(len(ins), [sizes[name] for name in inputs], rows))
        seed = str(draw(st.integers(0, 1 << 30)))
        x = {n: values.any_bits(inputs[n], s, seed + n) for n, s in zip(inputs, found)}
        requests.append(x)
        answers.append(_kernel_answer(x, {n: sizes[n] for n in cores}, outputs, 7 + sum(names[d] for d in dict.fromkeys(order)), returned))
    return Drawn(guests.wasm(text, described), draw(ISOLATIONS), tuple(requests), tuple(answers), 512 << 10)


def _kernel(
    args: Sequence[Any],
    dtypes: dict[str, str],
    cores: dict[str, list[Any]],
    inputs: Sequence[str],
    pointers: Sequence[str],
    returned: str,
    *,
    status: bool,
    long: bool,
) -> str:
    """A kernel that takes `args`: sizes as i64 where `long`."""
    size = "i64" if long else "i32"

    def value(dim: Any) -> str:
        return f"(i32.const {dim})" if isinstance(dim, int) else f"(i32.wrap_i64 (local.get ${dim}))" if long else f"(local.get ${dim})"

    def count(name: str) -> str:
        code = f"(i32.const {DTYPES[dtypes[name]].itemsize})"
        for dim in cores[name]:
            code = f"(i32.mul {code} {value(dim)})"
        return code

    params = "".join(
        "(param $seven i64)" if a == 7 else f"(param ${a} {size if a in ('m', 'n') else 'i32'})" for a in args
    )
    body = "(local.set $h (i32.wrap_i64 (local.get $seven)))"
    body += "".join(f"(local.set $h (i32.add (local.get $h) {value(a)}))" for a in args if a in ("m", "n"))
    step = "(local.set ${0} (i32.add (local.get ${0}) (i32.const 1))) (local.set $k (i32.sub (local.get $k) (i32.const 1))) (br $l)"
    for name in pointers:
        act = (
            f"(local.set $h (i32.xor (local.get $h) (i32.load8_u (local.get ${name}))))"
            if name in inputs
            else f"(i32.store8 (local.get ${name}) (i32.and (local.get $h) (i32.const 127)))"
        )
        body += f"(local.set $k {count(name)}) (block $b (loop $l (br_if $b (i32.eqz (local.get $k))) {act} {step.format(name)}))"
    if "batch" in args:
        body = f"(block $all (loop $each (br_if $all (i32.eqz (local.get $batch))) {body} (local.set $batch (i32.sub (local.get $batch) (i32.const 1))) (br $each)))"
    number = "(i32.and (local.get $h) (i32.const 127))"
    convert = {"i32": "", "i64": "i64.extend_i32_u", "f32": "f32.convert_i32_u", "f64": "f64.convert_i32_u"}.get(returned, "")
    result = f"{number} {convert}" if returned else "(i32.const 0)" if status else ""
    kind = f"(result {returned or 'i32'})" if result else ""
    return f"""(module (memory (export "memory") 1) (func (export "f") {params} {kind} (local $h i32) (local $k i32) {body} {result}))"""


def _kernel_answer(
    x: dict[str, np.ndarray], sizes: dict[str, tuple[int, ...]], outputs: dict[str, str], start: int, returned: str
) -> dict[str, np.ndarray]:
    loops = np.broadcast_shapes(*(a.shape[: a.ndim - len(sizes[n])] for n, a in x.items()))
    folded = np.full(loops, start, np.int64)
    for name, array in x.items():
        rank = array.ndim - len(sizes[name])
        size = math.prod(sizes[name]) * array.itemsize
        octets = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape((*array.shape[:rank], size))
        folded = folded ^ np.bitwise_xor.reduce(octets, axis=-1, initial=0).astype(np.int64)
    folded = np.broadcast_to(folded & 127, loops)
    answer = {}
    for name, dtype in outputs.items():
        found = DTYPES[dtype]
        if returned and name == list(outputs)[-1]:
            answer[name] = values.from_f64(dtype, folded.astype(np.float64)) if found.wasm in ("f32", "f64") else narrowed(dtype, folded)
            continue
        octets = np.broadcast_to(folded.astype(np.uint8)[(..., None)], (*loops, math.prod(sizes[name]) * found.itemsize))
        octets = octets != 0 if dtype == "BOOL" else octets
        answer[name] = np.ascontiguousarray(octets).reshape(-1).view(found.numpy).reshape((*loops, *sizes[name]))
    return answer


@st.composite
def dlpack(draw: st.DrawFn) -> Drawn:
    """Each output is an input, whose dims it has or does not know; where it knows them, its bytes are copied."""
    ins = draw(st.lists(st.tuples(st.sampled_from(tuple(DTYPES)), st.lists(SIZES, max_size=7)), min_size=1, max_size=4))
    sources = draw(st.lists(st.integers(0, len(ins) - 1), min_size=1, max_size=3))
    batch = draw(st.sampled_from((0, 8)))

    def dims(shape: Sequence[int]) -> tuple[int, ...]:
        opened = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
        return tuple(-1 if is_open or not size else size for is_open, size in zip(opened, shape))

    inputs = [tensor(f"x{i}", dtype, dims(shape)) for i, (dtype, shape) in enumerate(ins)]
    outputs = [tensor(f"y{k}", ins[i][0], dims(ins[i][1])) for k, i in enumerate(sources)]
    body = ""
    for k, i in enumerate(sources):
        body += f"(call $copy (i32.add (local.get $in) (i32.const {40 * i})) (i32.add (local.get $out) (i32.const {40 * k})) (i32.const {DTYPES[ins[i][0]].itemsize}))"
    module = guests.dlpack(body + "(i32.const 0)", inputs=inputs, outputs=outputs, batch=batch, more=COPY)
    requests, answers = [], []
    for rows in draw(_rows(batch)):
        lead = () if rows is None else (rows,)
        seed = str(draw(st.integers(0, 1 << 30)))
        x = {f"x{i}": values.any_bits(d, (*lead, *shape), f"{seed}{i}") for i, (d, shape) in enumerate(ins)}
        requests.append(x)
        answers.append({f"y{k}": x[f"x{i}"] for k, i in enumerate(sources)})
    return Drawn(module, draw(ISOLATIONS), tuple(requests), tuple(answers), 512 << 10)


COPY = """(func $copy (param $in i32) (param $out i32) (param $bytes i32) (local $rank i32) (local $at i32)
  (if (i32.lt_s (i32.load offset=12 (local.get $out)) (i32.const 0)) (then
    (i32.store (local.get $out) (i32.load (local.get $in)))
    (i32.store offset=12 (local.get $out) (i32.load offset=12 (local.get $in)))
    (i32.store offset=20 (local.get $out) (i32.load offset=20 (local.get $in)))
    (i32.store offset=24 (local.get $out) (i32.load offset=24 (local.get $in))) (return)))
  (local.set $rank (i32.load offset=12 (local.get $in)))
  (local.set $at (i32.load offset=20 (local.get $in)))
  (block $all (loop $each (br_if $all (i32.eqz (local.get $rank)))
    (local.set $bytes (i32.mul (local.get $bytes) (i32.wrap_i64 (i64.load (local.get $at)))))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (local.set $rank (i32.sub (local.get $rank) (i32.const 1))) (br $each)))
  (memory.copy (i32.load (local.get $out)) (i32.load (local.get $in)) (local.get $bytes)))"""
