// Write a Portalis tensor guest (tensor ABI, version 1) in AssemblyScript:
//
//   /* portalis {"abi": 1, "convention": "dlpack",
//      "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
//      "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}]} */
//   import { input, output, sizes, allocate } from "../portalis";
//   export { portalis_abi_v1, portalis_alloc, portalis_error, portalis_reset } from "../portalis";
//
//   export function portalis_infer(inputs: usize, nIn: i32, outputs: usize, nOut: i32): i32 {
//     const x = input(inputs, 0), y = allocate<f32>(output(outputs, 0), sizes(x));
//     for (let i = 0; i < count(x); i++) store<f32>(y + 4 * i, 2 * load<f32>(data<f32>(x) + 4 * i));
//     return 0;
//   }
//
// Build with `--runtime stub --transform guest/assemblyscript/portalis.mjs`. The stub runtime never frees; the host's
// portalis_reset drops everything between two calls, so memory stays flat. Keep nothing allocated in a global. A `throw`
// or a failed `assert` is an error of the call, with its text.

/** DLPack's DLTensor as compiled for wasm32. */
@unmanaged
export class Tensor {
  address: usize;
  deviceType: i32;
  deviceId: i32;
  ndim: i32;
  code: u8;
  bits: u8;
  lanes: u16;
  shape: usize;
  strides: usize;
  padding: u32;
  byteOffset: u64;
}

const STRUCT: usize = 40;

/** Input `i`. */
export function input(inputs: usize, i: i32): Tensor {
  return changetype<Tensor>(inputs + STRUCT * i);
}

/** Output `i`. */
export function output(outputs: usize, i: i32): Tensor {
  return changetype<Tensor>(outputs + STRUCT * i);
}

/** Whether an optional input is present. */
export function present(t: Tensor): bool {
  return t.ndim >= 0;
}

/** The shape, batch dimension first. For a BYTES input, its logical shape. */
export function sizes(t: Tensor): StaticArray<i64> {
  const ndim = t.strides ? <i32>load<i64>(t.strides) : t.ndim;
  const from = t.strides ? t.strides + 8 : t.shape;
  const result = new StaticArray<i64>(max(ndim, 0));
  for (let i = 0; i < ndim; i++) result[i] = load<i64>(from + 8 * i);
  return result;
}

/** The number of elements. */
export function count(t: Tensor): i32 {
  return <i32>product(sizes(t));
}

function product(shape: StaticArray<i64>): i64 {
  let n: i64 = 1;
  for (let i = 0; i < shape.length; i++) n *= shape[i];
  return n;
}

function codeOf<T>(): u8 {
  if (isBoolean<T>()) return 6;
  if (isFloat<T>()) return 2;
  return isSigned<T>() ? 0 : 1;
}

/** The address of the first element. Fails if the tensor has another type. */
export function data<T>(t: Tensor): usize {
  assert(t.code == codeOf<T>() && t.bits == 8 * sizeof<T>(), "a tensor has another data type than the function expects");
  return t.address + <usize>t.byteOffset;
}

/** Allocates memory for an output of this shape, unless the host has allocated it. Returns its address. */
export function allocate<T>(t: Tensor, shape: StaticArray<i64>): usize {
  assert(t.code == codeOf<T>() && t.bits == 8 * sizeof<T>(), "an output has another data type than the function writes");
  let known = t.ndim == shape.length;
  for (let i = 0; known && i < shape.length; i++) known = load<i64>(t.shape + 8 * i) == shape[i];
  if (known) return t.address + <usize>t.byteOffset;
  t.shape = copySizes(shape, 0);
  t.address = portalis_alloc(<u32>(product(shape) * sizeof<T>()), 64);
  t.ndim = shape.length;
  t.strides = 0;
  t.byteOffset = 0;
  return t.address;
}

function copySizes(shape: StaticArray<i64>, room: i32): usize {
  const at = portalis_alloc(8 * (room + shape.length + 1), 16);
  for (let i = 0; i < shape.length; i++) store<i64>(at + 8 * (room + i), shape[i]);
  return at;
}

/** The elements of a BYTES tensor. */
export function items(t: Tensor): Array<Uint8Array> {
  const result = new Array<Uint8Array>();
  let at = t.address + <usize>t.byteOffset;
  const end = at + <usize>load<i64>(t.shape);
  while (at + 4 <= end) {
    const item = new Uint8Array(load<u32>(at));
    memory.copy(item.dataStart, at + 4, item.length);
    result.push(item);
    at += 4 + item.length;
  }
  return result;
}

/** Set a BYTES output of this logical shape. */
export function setItems(t: Tensor, shape: StaticArray<i64>, elements: Array<Uint8Array>): void {
  let size = 0;
  for (let i = 0; i < elements.length; i++) size += 4 + elements[i].length;
  let at = portalis_alloc(size, 64);
  t.address = at;
  for (let i = 0; i < elements.length; i++) {
    const item = elements[i];
    store<u32>(at, item.length);
    memory.copy(at + 4, item.dataStart, item.length);
    at += 4 + item.length;
  }
  const block = copySizes(shape, 2);
  store<i64>(block, size);
  store<i64>(block + 8, shape.length);
  t.ndim = 1;
  t.shape = block;
  t.strides = block + 8;
  t.byteOffset = 0;
}

let message: usize = 0;

/** `return fail("x must have rank 2")`. */
export function fail(text: string): i32 {
  message = changetype<usize>(String.UTF8.encode(text, true));
  return 1;
}

// ---- the exports of the ABI ----

export function portalis_abi_v1(): void {}

export function portalis_alloc(size: u32, align: u32): usize {
  const mask = <usize>max(align, 16) - 1;
  return (heap.alloc(size + mask) + mask) & ~mask;
}

export function portalis_reset(): void {
  message = 0;
  heap.reset();
}

export function portalis_error(): usize {
  return message;
}
