//! The place and value of each row's largest element: FP32 [batch, n] to INT64 [batch] and FP32 [batch], both of a shape
//! that the host knows. Rows without elements are an error.
const portalis = @import("portalis");

comptime {
    asm (portalis.interface(
        \\{"abi": 1, "convention": "dlpack", "max_batch_size": 64,
        \\ "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
        \\ "outputs": [{"name": "index", "dtype": "INT64", "dims": [1]}, {"name": "value", "dtype": "FP32", "dims": [1]}]}
    ));
    portalis.entry(infer);
}

fn infer(inputs: []const portalis.Tensor, outputs: []portalis.Tensor) portalis.Error!void {
    const x = try inputs[0].data(f32);
    const shape = inputs[0].sizes();
    const width: usize = @intCast(shape[1]);
    if (width == 0) return portalis.fail("x has no columns");
    const index = try outputs[0].allocate(i64, &.{ shape[0], 1 });
    const value = try outputs[1].allocate(f32, &.{ shape[0], 1 });
    for (index, value, 0..) |*place, *largest, row| {
        place.* = 0;
        largest.* = x[row * width];
        for (x[row * width ..][0..width], 0..) |element, column| {
            if (element > largest.*) {
                place.* = @intCast(column);
                largest.* = element;
            }
        }
    }
}
