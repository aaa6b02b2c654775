/* portalis {"abi": 1, "convention": "dlpack",
   "inputs": [{"name": "text", "dtype": "BYTES", "dims": [-1]},
              {"name": "least", "dtype": "UINT8", "dims": [1], "optional": true}],
   "outputs": [{"name": "loud", "dtype": "BYTES", "dims": [-1]}, {"name": "kept", "dtype": "INT64", "dims": [-1]}]} */
// Texts in upper case (ASCII), those shorter than `least` left out: how many come back is known only here.
import { allocate, data, fail, input, items, output, present, setItems } from "../portalis";
export { portalis_abi_v1, portalis_alloc, portalis_error, portalis_reset } from "../portalis";

export function portalis_infer(inputs: usize, nIn: i32, outputs: usize, nOut: i32): i32 {
  const texts = items(input(inputs, 0));
  const option = input(inputs, 1);
  const least = present(option) ? <i32>load<u8>(data<u8>(option)) : 0;
  if (least > 200) return fail("least must be at most 200");
  const kept = new Array<i64>();
  const loud = new Array<Uint8Array>();
  for (let i = 0; i < texts.length; i++) {
    const text = texts[i];
    assert(text.length < 100000, "a text is too long");
    if (text.length < least) continue;
    for (let j = 0; j < text.length; j++) if (text[j] >= 97 && text[j] <= 122) text[j] -= 32;
    loud.push(text);
    kept.push(i);
  }
  const shape: StaticArray<i64> = [loud.length];
  setItems(output(outputs, 0), shape, loud);
  const places = allocate<i64>(output(outputs, 1), shape);
  for (let i = 0; i < kept.length; i++) store<i64>(places + 8 * i, kept[i]);
  return 0;
}
