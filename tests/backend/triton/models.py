"""Model repositories of small guests, including hostile ones, for the tests on a real Triton."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.backend import cannot_load, guests, host_guests
from tests.backend.guests import tensor

BARE = 'backend: "wasm"\n'
# the executors of a server, and the wasm.engine of the models that are to run there
ENGINES = {"native": "auto", "python": "python"}
PYTHON_ALONE = ("cat", "threaded")  # models that run in Triton's Python backend regardless of their parameters


def parameters(values: Mapping[str, str]) -> str:
    """`values` as parameters of a config.pbtxt."""
    return "".join(f'parameters {{ key: "{k}" value {{ string_value: "{v}" }} }}\n' for k, v in values.items())


def engine(name: str) -> str:
    """The parameter that selects one of ENGINES for a model."""
    return parameters({"wasm.engine": ENGINES[name]})


def write(repository: Path, name: str, module: bytes, config: str | None = BARE, version: int = 1) -> None:
    """Write a model with this module and configuration (None: without config.pbtxt)."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    (folder / "model.wasm").write_bytes(module)
    if config is not None:
        (repository / name / "config.pbtxt").write_text(config)


SAY = """(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"""


def talkative(times: int, line: bytes = b"guest speaks\n") -> bytes:
    """A guest that writes `line` `times` times."""
    body = f"""(local $i i32) (local.set $i (i32.const {times}))
      (i32.store (i32.const 16) (i32.const 512)) (i32.store (i32.const 20) (i32.const {len(line)}))
      (block $done (loop $next (br_if $done (i32.eqz (local.get $i)))
        (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
        (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br $next)))
      {guests.ECHO_BODY}"""
    data = "".join(f"\\{byte:02x}" for byte in line)
    text = f"""(module {SAY} {guests.PRELUDE} (data (i32.const 512) "{data}")
      (func (export "portalis_infer") (param $in i32) (param $nin i32) (param $out i32) (param $nout i32) (result i32)
        {body}))"""
    entry = {"entry": "portalis_infer", "convention": "dlpack", "inputs": [tensor("x")], "outputs": [tensor("y")]}
    return guests.wasm(text, {**entry, "max_batch_size": 8})


BYTES_ECHO = "(i32.store offset=24 (local.get $out) (i32.load offset=24 (local.get $in)))" + guests.ECHO_BODY
OPTIONAL = """(f32.store (i32.load (local.get $out))
  (if (result f32) (i32.lt_s (i32.load offset=52 (local.get $in)) (i32.const 0))
    (then (f32.const -1)) (else (f32.load (i32.load offset=40 (local.get $in))))))
  (i32.const 0)"""
LOOP = guests.when_asked("(loop $forever (br $forever))")
WAIT = parameters({"wasm.timeout_ms": "400"})
COUNTER = guests.dlpack(
    """(global.set $n (i32.add (global.get $n) (i32.const 1)))
    (i32.store (i32.load (local.get $out)) (global.get $n)) (i32.const 0)""",
    inputs=[tensor("x", dims=(1,))],
    outputs=[tensor("y", "INT32", (1,))],
    more="(global $n (mut i32) (i32.const 0))",
)


STARTED = guests.wasm("""(module (memory (export "memory") 1) (global $g (mut f32) (f32.const 0))
  (func (export "_start") (global.set $g (f32.add (global.get $g) (f32.const 10))))
  (func (export "scale") (param f32) (result f32) (f32.mul (local.get 0) (global.get $g))))""")


def write_for(repository: Path, chosen: str, name: str, module: bytes, config: str = BARE) -> None:
    """A model for one of ENGINES, which is the first word of its name."""
    write(repository, f"{chosen}_{name}", module, f"{config}\n{engine(chosen)}")


def good_repository(repository: Path) -> None:
    """Models that load, each for every engine."""
    write(repository, "bare.wasm", guests.wasm(guests.ADD), None)
    for chosen in ENGINES:
        _good_models(partial(write_for, repository, chosen))


Write = Callable[..., None]


def _good_models(write: Write) -> None:
    write("add", guests.wasm(guests.ADD))
    for dtype in guests_dtypes():
        body = BYTES_ECHO if dtype == "BYTES" else guests.ECHO_BODY
        module = guests.dlpack(body, inputs=[tensor("x", dtype)], outputs=[tensor("y", dtype)], batch=8)
        write(f"echo_{dtype.lower()}", module)
    write("unbatched", guests.echo())
    write("rank3", guests.echo("INT64", (-1, 2, -1)))
    described = {"entry": "sum", "convention": "gufunc", "signature": "(n)->()", "max_batch_size": 8}
    total = guests.wasm(guests.SUM, {**described, "inputs": [tensor("x")], "outputs": [tensor("s", dims=())]})
    write("sum", total)
    write(
        "declared",
        guests.wasm(guests.DOUBLE),
        f"""{BARE} max_batch_size: 4
        input {{ name: "in" data_type: TYPE_FP32 dims: [-1] }} output {{ name: "out" data_type: TYPE_FP32 dims: [-1] }}
        {parameters({"wasm.convention": "gufunc", "wasm.signature": "(n)->(n)", "other.key": "is not ours"})}""",
    )
    optional = guests.dlpack(
        OPTIONAL,
        inputs=[tensor("x", dims=(1,)), tensor("o", dims=(1,), optional=True)],
        outputs=[tensor("y", dims=(1,))],
    )
    write("optional", optional)
    write("cat", guests.wasm(guests.CAT))
    write("looping", LOOP, BARE + WAIT)
    write("slow_to_stop", LOOP, BARE + parameters({"wasm.timeout_ms": "10000"}))
    hostile = {
        "trapping": "unreachable",
        "overflowing": "(call $down)",
        "growing": "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) unreachable",
        "lying_pointer": "(i32.store (local.get $out) (i32.const 0x7ffffff0)) (i32.store offset=12 (local.get $out) "
        "(i32.load offset=12 (local.get $in))) (i32.store offset=20 (local.get $out) "
        "(i32.load offset=20 (local.get $in))) (return (i32.const 0))",
        "lying_shape": "(i32.store offset=12 (local.get $out) (i32.const 99)) (return (i32.const 0))",
        "refusing": "(return (i32.const 7))",
    }
    for name, code in hostile.items():
        write(name, guests.when_asked(code, "(func $down (call $down))"))
    bomb = dict.fromkeys(range(8), guests.cxx_bomb())
    write("misnamed", guests.named(guests.when_asked("unreachable"), bomb))
    start = f"(module {guests.PRELUDE} (func $s (loop $l (br $l))) (start $s)"
    entry = {"entry": "portalis_infer", "convention": "dlpack", "inputs": [tensor("x")], "outputs": [tensor("y")]}
    infer = '(func (export "portalis_infer") (param i32 i32 i32 i32) (result i32) (i32.const 0)))'
    write("start_loops", guests.wasm(start + infer, entry), BARE + WAIT)
    write("talkative", talkative(3))
    write("flooding", talkative(20_000))
    write(
        "batching",
        guests.when_asked("unreachable"),
        BARE + "dynamic_batching { max_queue_delay_microseconds: 300000 }",
    )
    write("per_request", guests.when_asked("unreachable"), BARE + parameters({"wasm.isolation": "request"}))
    for isolation in ("batch", "instance"):
        write(f"counter_{isolation}", COUNTER, BARE + parameters({"wasm.isolation": isolation}))
    write("threaded", guests.echo(batch=64), BARE + parameters({"wasm.threads": "2"}))
    write(
        "warmed",
        guests.wasm(guests.ADD),
        f"""{BARE} model_warmup {{ name: "zeros" batch_size: 1
        inputs {{ key: "a" value {{ data_type: TYPE_FP32 dims: [4] zero_data: true }} }}
        inputs {{ key: "b" value {{ data_type: TYPE_FP32 dims: [4] zero_data: true }} }} }}""",
    )
    _host_bounds(write)
    write("started", STARTED, BARE + parameters({"wasm.entry": "scale"}))
    large = cannot_load.BAD["a first memory above the limit"]
    write("large", large.module, BARE + parameters({"wasm.max_memory_bytes": "313MiB"}))
    write("two_instances", guests.wasm(guests.ADD), BARE + "instance_group { count: 2 kind: KIND_CPU }")


def _host_bounds(write: Write) -> None:
    """Models of guests that cause work for the host."""
    write(
        "zero_huge",
        host_guests.lying_shape(0, 1 << 62, batch=8),
        BARE + "dynamic_batching { max_queue_delay_microseconds: 300000 }",
    )
    sleeping = host_guests.model(host_guests.sleep(500) + guests.ECHO_BODY, "clock_time_get", "poll_oneoff")
    write("sleeping", sleeping, BARE + parameters({"wasm.timeout_ms": "50"}))
    flood = parameters({"wasm.timeout_ms": "60000", "wasm.max_tensor_bytes": "16MiB"})
    write("bytes_flood", host_guests.bytes_flood(16), BARE + flood)
    # the guest has to be done in that time, also on a busy machine; reading what it gives back takes 8 s
    late = parameters({"wasm.timeout_ms": "3000", "wasm.max_bytes_elements": "999999999"})
    write("bytes_late", host_guests.bytes_flood(64), BARE + late)
    body = guests.ECHO_BODY
    truth = guests.dlpack(body, inputs=[tensor("x", "UINT8")], outputs=[tensor("y", "BOOL")])
    write("truth", truth)
    write(
        "endless_among_good",
        host_guests.moody(8),
        BARE
        + parameters({"wasm.timeout_ms": "500"})
        + "max_batch_size: 8 dynamic_batching { preferred_batch_size: [8] max_queue_delay_microseconds: 60000000 }",
    )


def guests_dtypes() -> list[str]:
    """Every dtype's name."""
    from portalis.backend.interface.dtypes import DTYPES

    return list(DTYPES)


BAD: dict[str, tuple[bytes, str, str]] = {
    "empty_file": (b"", BARE, "is empty, not a WebAssembly module"),
    "text_file": (b"hello, this is text", BARE, "is not a WebAssembly module: it is text"),
    "truncated": (guests.wasm(guests.ADD)[:20], BARE, "is not a whole WebAssembly module"),
    "component": (b"\0asm\x0d\0\x01\0", BARE, "is a WebAssembly component; a core module is needed"),
    "ambiguous": (
        guests.wasm(guests.DOUBLE),
        BARE,
        "does not take and return numbers, so its interface cannot be derived",
    ),
    "two_functions": (
        guests.wasm(
            '(module (func (export "f") (param f32) (result f32) local.get 0) (func (export "g") (param f32) (result f32) local.get 0))'
        ),
        BARE,
        "exports 2 functions that could be the entry: choose one with wasm.entry",
    ),
    "no_function": (
        guests.wasm('(module (memory (export "memory") 1))'),
        BARE,
        "exports no function that could be the entry",
    ),
    "foreign_imports": (
        guests.wasm('(module (import "env" "gpu" (func)) (func (export "f") (param f32) (result f32) local.get 0))'),
        BARE,
        "has imports that the host does not provide: env.gpu",
    ),
    "unknown_key": (
        guests.wasm(guests.ADD),
        BARE + parameters({"wasm.isolatoin": "batch"}),
        "did you mean wasm.isolation?",
    ),
    "bad_value": (
        guests.wasm(guests.ADD),
        BARE + parameters({"wasm.isolation": "never", "wasm.threads": "0"}),
        "parameter wasm.isolation is 'never': use one of request, batch, instance",
    ),
    "wrong_entry": (
        guests.wasm(guests.ADD),
        BARE + parameters({"wasm.entry": "ad"}),
        "exports no function 'ad' (did you mean 'add'?)",
    ),
    "wrong_name": (
        guests.echo(),
        BARE
        + 'input { name: "z" data_type: TYPE_FP32 dims: [-1] } output { name: "y" data_type: TYPE_FP32 dims: [-1] }',
        "the module has no input 'z'",
    ),
    "wrong_dtype": (
        guests.echo(),
        BARE
        + 'input { name: "x" data_type: TYPE_INT8 dims: [-1] } output { name: "y" data_type: TYPE_FP32 dims: [-1] }',
        "input 'x' is TYPE_INT8, but the module has TYPE_FP32",
    ),
    "wrong_dims": (
        guests.echo(dims=(3,)),
        BARE + 'input { name: "x" data_type: TYPE_FP32 dims: [4] } output { name: "y" data_type: TYPE_FP32 dims: [3] }',
        "input 'x' has dims [4], but the module has [3]",
    ),
    "batch_too_large": (
        guests.echo(batch=8),
        BARE + "max_batch_size: 9",
        "max_batch_size is 9, but the module accepts batches of at most 8",
    ),
    "threads_used": (
        guests.wasm(
            '(module (memory (export "memory") 1 2 shared) (func (export "f") (param f32) (result f32) local.get 0))'
        ),
        BARE,
        "threads",
    ),
    **{
        name.replace(" ", "_"): (cannot_load.BAD[name].module, BARE, cannot_load.BAD[name].message)
        for name in (
            "abort without parameters",
            "abort that is a global",
            "a first memory above the limit",
            "a kernel that grows its memory",
            "data behind its memory",
            "legacy exceptions",
        )
    },
}
