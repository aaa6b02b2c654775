//! Write a Portalis tensor guest (tensor ABI, version 1) in Rust, without the standard library:
//!
//! ```ignore
//! #![no_std]
//! use portalis_guest::{entry, Error, Output, Tensor};
//!
//! entry! {
//!     r#"{"abi": 1, "convention": "dlpack", "max_batch_size": 64,
//!         "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]}],
//!         "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}]}"#,
//!     |inputs, outputs| {
//!         let x = inputs[0].data::<f32>()?;
//!         let y = outputs[0].allocate::<f32>(inputs[0].shape())?;
//!         for (y, x) in y.iter_mut().zip(x) {
//!             *y = 2.0 * x;
//!         }
//!         Ok(())
//!     }
//! }
//! ```
//!
//! The crate has the global allocator, so `alloc` (`Vec`, `String` …) may be used from Rust 1.68 on. Everything allocated is dropped
//! when the host calls `portalis_reset` between two calls, so nothing allocated may be kept in a `static`.
#![no_std]

mod heap;
mod message;
mod tensor;

pub use message::Error;
pub use tensor::{Element, Items, Output, Tensor};

/// Defines the module's entry and writes `$interface` (JSON) into the custom section `portalis`.
///
/// The body is a closure over `inputs: &[Tensor]` and `outputs: &mut [Output]` that returns `Result<(), Error>`.
#[macro_export]
macro_rules! entry {
    ($interface:expr, |$inputs:ident, $outputs:ident| $body:block) => {
        const PORTALIS_TEXT: &str = $interface;

        #[link_section = "portalis"]
        #[used]
        static PORTALIS_INTERFACE: [u8; PORTALIS_TEXT.len()] = {
            let (text, mut bytes, mut i) = (PORTALIS_TEXT.as_bytes(), [0; PORTALIS_TEXT.len()], 0);
            while i < bytes.len() {
                bytes[i] = text[i];
                i += 1;
            }
            bytes
        };

        #[no_mangle]
        pub extern "C" fn portalis_abi_v1() {}

        #[no_mangle]
        pub unsafe extern "C" fn portalis_infer(
            inputs: *const $crate::Tensor,
            n_inputs: i32,
            outputs: *mut $crate::Output,
            n_outputs: i32,
        ) -> i32 {
            fn run($inputs: &[$crate::Tensor], $outputs: &mut [$crate::Output]) -> Result<(), $crate::Error> $body
            $crate::call(inputs, n_inputs, outputs, n_outputs, run)
        }
    };
}

/// What `entry!` expands to calls this; it is no part of the interface for people.
///
/// # Safety
/// The pointers and counts must be what the host gave to `portalis_infer`.
#[doc(hidden)]
pub unsafe fn call(
    inputs: *const Tensor,
    n_inputs: i32,
    outputs: *mut Output,
    n_outputs: i32,
    run: fn(&[Tensor], &mut [Output]) -> Result<(), Error>,
) -> i32 {
    let inputs = core::slice::from_raw_parts(inputs, n_inputs as usize);
    let outputs = core::slice::from_raw_parts_mut(outputs, n_outputs as usize);
    match run(inputs, outputs) {
        Ok(()) => 0,
        Err(error) => {
            message::keep(&error);
            1
        }
    }
}
