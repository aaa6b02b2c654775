"""Dlpack guests at random."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from portalis.backend.interface.dtypes import DTYPES
from tests.backend import guests
from tests.backend.cases import values
from tests.backend.cases.case import Tensors
from tests.backend.cases.drawn import ISOLATIONS, SIZES, Drawn, rows_of
from tests.backend.cases.kernels import TIMES_DIMS
from tests.backend.guests import tensor


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
    requests: list[Tensors] = []
    answers: list[Tensors] = []
    for rows in draw(rows_of(batch)):
        lead = () if rows is None else (rows,)
        seed = str(draw(st.integers(0, 1 << 30)))
        x = {f"x{i}": values.any_bits(d, (*lead, *shape), f"{seed}{i}") for i, (d, shape) in enumerate(ins)}
        requests.append(x)
        answers.append({f"y{k}": x[f"x{i}"] for k, i in enumerate(sources)})
    return Drawn(module, draw(ISOLATIONS), tuple(requests), tuple(answers), 512 << 10)


COPY = f"""(func $copy (param $in i32) (param $out i32) (param $bytes i32) (local $rank i32) (local $at i32)
  (if (i32.lt_s (i32.load offset=12 (local.get $out)) (i32.const 0)) (then
    (i32.store (local.get $out) (i32.load (local.get $in)))
    (i32.store offset=12 (local.get $out) (i32.load offset=12 (local.get $in)))
    (i32.store offset=20 (local.get $out) (i32.load offset=20 (local.get $in)))
    (i32.store offset=24 (local.get $out) (i32.load offset=24 (local.get $in))) (return)))
  {TIMES_DIMS}
  (memory.copy (i32.load (local.get $out)) (i32.load (local.get $in)) (local.get $bytes)))"""
