//! The words of each text, and their lengths: BYTES in, BYTES and INT64 out. Panics on the text "panic".
#![no_std]
use portalis_guest::{entry, Tensor};

fn words(tensor: &Tensor) -> impl Iterator<Item = &[u8]> + Clone {
    tensor.items().flat_map(|text| text.split(|c| c.is_ascii_whitespace())).filter(|word| !word.is_empty())
}

entry! {
    r#"{"abi": 1, "convention": "dlpack",
        "inputs": [{"name": "text", "dtype": "BYTES", "dims": [-1]}],
        "outputs": [{"name": "word", "dtype": "BYTES", "dims": [-1]}, {"name": "length", "dtype": "INT64", "dims": [-1]}]}"#,
    |inputs, outputs| {
        assert!(inputs[0].items().all(|text| text != b"panic"), "the text asked for it");
        let shape = [words(&inputs[0]).count() as i64];
        for (length, word) in outputs[1].allocate::<i64>(&shape)?.iter_mut().zip(words(&inputs[0])) {
            *length = word.len() as i64;
        }
        outputs[0].set_items(&shape, words(&inputs[0]))
    }
}
