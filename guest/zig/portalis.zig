//! Write a Portalis tensor guest (tensor ABI, version 1) in Zig:
//!
//!     const portalis = @import("portalis");
//!
//!     comptime {
//!         asm (portalis.interface(
//!             \\{"abi": 1, "convention": "dlpack",
//!             \\ "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
//!             \\ "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}]}
//!         ));
//!         portalis.entry(infer);
//!     }
//!
//!     fn infer(inputs: []const portalis.Tensor, outputs: []portalis.Tensor) portalis.Error!void {
//!         const x = try inputs[0].data(f32);
//!         const y = try outputs[0].allocate(f32, inputs[0].sizes());
//!         for (y, x) |*to, from| to.* = 2 * from;
//!     }
//!
//! Memory from `alloc` lives until the host calls `portalis_reset`, between two calls.

/// What a call may fail with. `fail("text")` gives `Failed` a text of its own.
pub const Error = error{ OutOfMemory, WrongType, Failed };

/// DLPack's `DLTensor` as compiled for wasm32.
pub const Tensor = extern struct {
    address: ?[*]align(1) u8,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: ?[*]const i64,
    strides: ?[*]const i64,
    byte_offset: u64,

    comptime {
        if (@sizeOf(Tensor) != 40) @compileError("portalis.zig is for wasm32");
    }

    /// Whether an optional input was given.
    pub fn present(self: *const Tensor) bool {
        return self.ndim >= 0;
    }

    /// The sizes, batch first. For a BYTES input the logical ones.
    pub fn sizes(self: *const Tensor) []const i64 {
        if (self.strides) |logical| return logical[1..][0..@intCast(logical[0])];
        if (self.ndim <= 0) return &.{};
        return self.shape.?[0..@intCast(self.ndim)];
    }

    fn is(self: *const Tensor, comptime T: type) bool {
        return self.code == codeOf(T) and self.bits == 8 * @sizeOf(T);
    }

    fn first(self: *const Tensor, comptime T: type) [*]T {
        const at = @intFromPtr(self.address) + @as(usize, @intCast(self.byte_offset));
        return @ptrFromInt(if (at == 0) 64 else at);
    }

    /// The elements, row-major. WrongType if the tensor has another type.
    pub fn data(self: *const Tensor, comptime T: type) Error![]const T {
        if (!self.is(T)) return Error.WrongType;
        return self.first(T)[0..product(self.sizes())];
    }

    /// Memory for an output of this shape. Where the host has given it already, that is returned.
    pub fn allocate(self: *Tensor, comptime T: type, wanted: []const i64) Error![]T {
        if (!self.is(T)) return Error.WrongType;
        const count = product(wanted);
        if (!(self.ndim == wanted.len and same(self.sizes(), wanted))) {
            const room = try alloc(8 * (wanted.len + 1), 16);
            const shape: [*]i64 = @ptrCast(@alignCast(room));
            for (wanted, 0..) |size, i| shape[i] = size;
            self.address = try alloc(count * @sizeOf(T), 64);
            self.ndim = @intCast(wanted.len);
            self.shape = shape;
            self.strides = null;
            self.byte_offset = 0;
        }
        return self.first(T)[0..count];
    }

    /// Iterates over the elements of a BYTES tensor.
    pub fn items(self: *const Tensor) Items {
        return .{ .left = self.first(u8)[0..@intCast(self.shape.?[0])] };
    }
};

/// The elements of a BYTES tensor, in order.
pub const Items = struct {
    left: []const u8,

    pub fn next(self: *Items) ?[]const u8 {
        if (self.left.len < 4) return null;
        const size = @as(u32, self.left[0]) | @as(u32, self.left[1]) << 8 | @as(u32, self.left[2]) << 16 | @as(u32, self.left[3]) << 24;
        const item = self.left[4..][0..size];
        self.left = self.left[4 + size ..];
        return item;
    }
};

fn codeOf(comptime T: type) u8 {
    return switch (T) {
        i8, i16, i32, i64 => 0,
        u8, u16, u32, u64 => 1,
        f16, f32, f64 => 2,
        bool => 6,
        else => @compileError("not a tensor element type: " ++ @typeName(T)),
    };
}

fn product(shape: []const i64) usize {
    var n: usize = 1;
    for (shape) |size| n *= @intCast(size);
    return n;
}

fn same(a: []const i64, b: []const i64) bool {
    if (a.len != b.len) return false;
    for (a, b) |x, y| if (x != y) return false;
    return true;
}

// ---- memory ----

extern var __heap_base: u8;
var top: usize = 0;

/// `size` bytes that live until the host's reset.
pub fn alloc(size: usize, alignment: usize) Error![*]u8 {
    return @ptrCast(take(size, alignment) orelse return Error.OutOfMemory);
}

fn take(size: usize, alignment: usize) ?*anyopaque {
    if (top == 0) top = @intFromPtr(&__heap_base);
    const start = (@as(u64, top) + alignment - 1) / alignment * alignment;
    const end = start + size;
    const have = @as(u64, @wasmMemorySize(0)) * 65536;
    if (end > 0xffffffff) return null;
    if (end > have and @wasmMemoryGrow(0, @intCast((end - have + 65535) / 65536)) < 0) return null;
    top = @intCast(end);
    return @ptrFromInt(@as(usize, @intCast(start)));
}

fn portalisAlloc(size: u32, alignment: u32) callconv(.c) ?*anyopaque {
    return take(size, @max(alignment, 16));
}

fn portalisReset() callconv(.c) void {
    top = @intFromPtr(&__heap_base);
}

// ---- errors ----

var message: [512]u8 = @splat(0);

/// `return portalis.fail("x must have rank 2")`.
pub fn fail(text: []const u8) Error {
    const size = @min(text.len, message.len - 1);
    @memcpy(message[0..size], text[0..size]);
    message[size] = 0;
    return Error.Failed;
}

fn portalisError() callconv(.c) [*]const u8 {
    return &message;
}

// ---- the module ----

fn marker() callconv(.c) void {}

/// Assembly that writes `json` into the custom section `portalis`: `comptime { asm (portalis.interface(…)); }`. Zig has
/// no other way to a custom section.
pub fn interface(comptime json: []const u8) []const u8 {
    comptime {
        @setEvalBranchQuota(100 * json.len + 1000);
        var text: []const u8 = "";
        for (json) |c| {
            text = text ++ switch (c) {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => " ",
                else => &[_]u8{c},
            };
        }
        return ".section .custom_section.portalis,\"\",@\n.ascii \"" ++ text ++ "\"\n.text\n";
    }
}

/// Exports the tensor ABI around `function`. Use it in a `comptime` block.
pub fn entry(comptime function: fn ([]const Tensor, []Tensor) Error!void) void {
    const Exported = struct {
        fn infer(in: [*]const Tensor, n_in: i32, out: [*]Tensor, n_out: i32) callconv(.c) i32 {
            message[0] = 0;
            function(in[0..@intCast(n_in)], out[0..@intCast(n_out)]) catch |problem| {
                if (message[0] == 0) _ = &fail(@errorName(problem));
                return 1;
            };
            return 0;
        }
    };
    @export(&Exported.infer, .{ .name = "portalis_infer" });
    @export(&marker, .{ .name = "portalis_abi_v1" });
    @export(&portalisAlloc, .{ .name = "portalis_alloc" });
    @export(&portalisReset, .{ .name = "portalis_reset" });
    @export(&portalisError, .{ .name = "portalis_error" });
}
