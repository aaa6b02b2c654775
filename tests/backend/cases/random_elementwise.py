"""Elementwise entries at random."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hypothesis import strategies as st

from portalis.backend.interface.dtypes import BF16, DTYPES, bf16_to_f32, f32_to_bf16
from tests.backend import guests
from tests.backend.cases import values
from tests.backend.cases.case import Tensors
from tests.backend.cases.drawn import ISOLATIONS, NUMBERS, Drawn, described, rows_of, shapes


def widened(dtype: str, array: np.ndarray) -> np.ndarray:
    """The elements as the numbers of WebAssembly that an elementwise entry gets."""
    kind = DTYPES[dtype].wasm
    if DTYPES[dtype] is BF16:
        return bf16_to_f32(array)
    return array.astype({"i32": np.int32, "i64": np.int64, "f32": np.float32, "f64": np.float64}[kind])


def narrowed(dtype: str, array: np.ndarray) -> np.ndarray:
    """The numbers, converted to elements."""
    with np.errstate(over="ignore"):
        if dtype == "BOOL":
            return np.asarray(array != 0)
        return f32_to_bf16(array) if DTYPES[dtype] is BF16 else array.astype(DTYPES[dtype].numpy)


_CARRIERS = {"i32": "INT32", "i64": "INT64", "f32": "FP32", "f64": "FP64"}


def _sum(dtype: str, terms: Iterable[np.ndarray]) -> np.ndarray:
    """The terms added in their order, 1 without any, as numbers of WebAssembly."""
    total: np.ndarray | None = None
    for term in terms:
        with np.errstate(all="ignore"):
            total = term if total is None else np.asarray(total + term)
    return np.ones((), DTYPES[_CARRIERS[DTYPES[dtype].wasm]].numpy) if total is None else total


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
    entry = described("f", "elementwise", batch, inputs, outputs, ((-1,),) * 7)
    requests: list[Tensors] = []
    answers: list[Tensors] = []
    for rows in draw(rows_of(batch)):
        found = draw(shapes(len(ins), [()] * len(ins), rows))
        seed = str(draw(st.integers(0, 1 << 30)))
        given = {n: values.any_bits(d, s, seed + n) for (n, d), s in zip(inputs.items(), found)}
        whole = np.broadcast_shapes(*found)
        y = {
            out: narrowed(
                dtype, np.broadcast_to(_sum(dtype, (widened(inputs[n], given[n]) for n in terms[out])), whole)
            )
            for out, dtype in outputs.items()
        }
        requests.append(given)
        answers.append(y)
    chunk_bytes = draw(st.sampled_from((1, 512 << 10)))
    return Drawn(guests.wasm(text, entry), draw(ISOLATIONS), tuple(requests), tuple(answers), chunk_bytes)
