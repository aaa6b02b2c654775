//! y = a * x + b, with an optional b: several inputs, host-known and guest-known shapes, and an error in words.
#![no_std]
use portalis_guest::{entry, Error};

entry! {
    r#"{"abi": 1, "convention": "dlpack", "max_batch_size": 64,
        "inputs": [{"name": "x", "dtype": "FP32", "dims": [-1]},
                   {"name": "a", "dtype": "FP32", "dims": [1]},
                   {"name": "b", "dtype": "FP32", "dims": [-1], "optional": true}],
        "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}]}"#,
    |inputs, outputs| {
        let (x, a) = (inputs[0].data::<f32>()?, inputs[1].data::<f32>()?);
        let y = outputs[0].allocate::<f32>(inputs[0].shape())?;
        let width = inputs[0].shape()[1] as usize;
        for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
            *y = a[i / width] * x;
        }
        if inputs[2].present() {
            if inputs[2].shape() != inputs[0].shape() {
                return Err(Error::new("b must have the shape of x"));
            }
            for (y, b) in y.iter_mut().zip(inputs[2].data::<f32>()?) {
                *y += b;
            }
        }
        Ok(())
    }
}
