//! Errors, and the text that the host reads through `portalis_error`: of an `Err`, or of a panic.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

/// Why a call failed. `Error::new("x must have rank 2")`, or `?` on what this crate returns.
#[derive(Debug, Clone, Copy)]
pub struct Error {
    text: &'static str,
}

impl Error {
    /// An error with this text.
    pub const fn new(text: &'static str) -> Self {
        Error { text }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text)
    }
}

impl From<&'static str> for Error {
    fn from(text: &'static str) -> Self {
        Error::new(text)
    }
}

const SIZE: usize = 512;
static mut TEXT: [u8; SIZE] = [0; SIZE];

struct Buffer {
    used: usize,
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.used + 1 == SIZE {
                break;
            }
            unsafe { *(core::ptr::addr_of_mut!(TEXT) as *mut u8).add(self.used) = byte };
            self.used += 1;
        }
        unsafe { *(core::ptr::addr_of_mut!(TEXT) as *mut u8).add(self.used) = 0 };
        Ok(())
    }
}

/// Keep the text of `what` for the host.
pub fn keep(what: &dyn fmt::Display) {
    let _ = write!(Buffer { used: 0 }, "{}", what);
}

#[no_mangle]
pub extern "C" fn portalis_error() -> *const u8 {
    unsafe { core::ptr::addr_of!(TEXT) as *const u8 }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    keep(info);
    core::arch::wasm32::unreachable()
}
