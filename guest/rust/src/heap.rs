//! The allocator behind `portalis_alloc`, `portalis_reset` and Rust's own `alloc`: a pointer that moves up.

use core::alloc::{GlobalAlloc, Layout};

extern "C" {
    static __heap_base: u8;
}

const PAGE: usize = 65536;
static mut TOP: usize = 0;

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

unsafe fn base() -> usize {
    &__heap_base as *const u8 as usize
}

/// `size` bytes, aligned; null where the memory limit does not allow it.
pub unsafe fn take(size: usize, align: usize) -> *mut u8 {
    if TOP == 0 {
        TOP = base();
    }
    let start = match TOP.checked_add(align - 1) {
        Some(end) => end & !(align - 1),
        None => return core::ptr::null_mut(),
    };
    let end = match start.checked_add(size) {
        Some(end) => end,
        None => return core::ptr::null_mut(),
    };
    let have = core::arch::wasm32::memory_size(0) * PAGE;
    if end > have {
        let pages = (end - have + PAGE - 1) / PAGE;
        if core::arch::wasm32::memory_grow(0, pages) == usize::MAX {
            return core::ptr::null_mut();
        }
    }
    TOP = end;
    start as *mut u8
}

unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size(), layout.align())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if pointer as usize + layout.size() == TOP {
            TOP = pointer as usize; // the last allocation can be taken back, the others wait for the reset
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if pointer as usize + layout.size() == TOP {
            TOP = pointer as usize;
            let same = take(size, layout.align()); // growing in place
            if same.is_null() {
                TOP = pointer as usize + layout.size();
            }
            return same;
        }
        let new = take(size, layout.align());
        if !new.is_null() {
            core::ptr::copy_nonoverlapping(pointer, new, layout.size().min(size));
        }
        new
    }
}

#[no_mangle]
pub unsafe extern "C" fn portalis_alloc(size: usize, align: usize) -> *mut u8 {
    take(size, align.max(16))
}

#[no_mangle]
pub unsafe extern "C" fn portalis_reset() {
    TOP = base();
}
