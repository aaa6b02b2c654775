"""Gufunc kernels at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from portalis.backend.interface.dtypes import DTYPES
from tests.backend import guests
from tests.backend.cases import values
from tests.backend.cases.case import Tensors
from tests.backend.cases.drawn import ISOLATIONS, NUMBERS, SIZES, Drawn, described, rows_of, shapes
from tests.backend.cases.random_elementwise import narrowed


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
    returned = (
        draw(st.sampled_from(("i32", "i64", "f32", "f64"))) if not itself and not status and not outs[-1][1] else ""
    )
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
    entry = described("f", "gufunc", batch, inputs, outputs, [(-1,) * 3] * 9, **more)
    requests: list[Tensors] = []
    answers: list[Tensors] = []
    for rows in draw(rows_of(batch)):
        sizes = {name: tuple(names.get(d, d) for d in dims) for name, dims in cores.items()}  # type: ignore[call-overload]
        found = draw(shapes(len(ins), [sizes[name] for name in inputs], rows))
        seed = str(draw(st.integers(0, 1 << 30)))
        x = {n: values.any_bits(inputs[n], s, seed + n) for n, s in zip(inputs, found)}
        requests.append(x)
        answers.append(
            _kernel_answer(
                x, {n: sizes[n] for n in cores}, outputs, 7 + sum(names[d] for d in dict.fromkeys(order)), returned
            )
        )
    return Drawn(guests.wasm(text, entry), draw(ISOLATIONS), tuple(requests), tuple(answers), 512 << 10)


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
        return (
            f"(i32.const {dim})"
            if isinstance(dim, int)
            else f"(i32.wrap_i64 (local.get ${dim}))"
            if long
            else f"(local.get ${dim})"
        )

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
    convert = {"i32": "", "i64": "i64.extend_i32_u", "f32": "f32.convert_i32_u", "f64": "f64.convert_i32_u"}.get(
        returned, ""
    )
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
            answer[name] = (
                values.from_f64(dtype, folded.astype(np.float64))
                if found.wasm in ("f32", "f64")
                else narrowed(dtype, folded)
            )
            continue
        octets = np.broadcast_to(
            folded.astype(np.uint8)[(..., None)], (*loops, math.prod(sizes[name]) * found.itemsize)
        )
        octets = octets != 0 if dtype == "BOOL" else octets
        answer[name] = np.ascontiguousarray(octets).reshape(-1).view(found.numpy).reshape((*loops, *sizes[name]))
    return answer
