//! Views of the tensors that the host passes: DLPack's `DLTensor` as compiled for wasm32.

use crate::heap::take;
use crate::message::Error;

/// A number type of a tensor, with its DLPack code.
pub trait Element: Copy {
    /// `DLDataTypeCode`.
    const CODE: u8;
}

macro_rules! elements {
    ($($type:ty = $code:expr),*) => { $(impl Element for $type { const CODE: u8 = $code; })* };
}
elements!(i8 = 0, i16 = 0, i32 = 0, i64 = 0, u8 = 1, u16 = 1, u32 = 1, u64 = 1, f32 = 2, f64 = 2, bool = 6);

/// An input tensor.
#[repr(C)]
pub struct Tensor {
    data: *mut u8,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *const i64,
    strides: *const i64,
    byte_offset: u64,
}

const _: () = assert!(core::mem::size_of::<Tensor>() == 40);

impl Tensor {
    /// Whether an optional input was given.
    pub fn present(&self) -> bool {
        self.ndim >= 0
    }

    /// The sizes, batch first. For BYTES the logical ones.
    pub fn shape(&self) -> &[i64] {
        unsafe {
            if self.is_bytes() {
                core::slice::from_raw_parts(self.strides.add(1), *self.strides as usize)
            } else {
                core::slice::from_raw_parts(self.shape, self.ndim.max(0) as usize)
            }
        }
    }

    fn is_bytes(&self) -> bool {
        !self.strides.is_null()
    }

    fn raw<T>(&self) -> *const T {
        unsafe { self.data.add(self.byte_offset as usize) as *const T }
    }

    /// The elements, row-major. An error if the tensor has another type.
    pub fn data<T: Element>(&self) -> Result<&[T], Error> {
        if self.code != T::CODE || self.bits as usize != 8 * core::mem::size_of::<T>() {
            return Err(Error::new("a tensor has another data type than the function expects"));
        }
        let count: i64 = self.shape().iter().product();
        Ok(unsafe { core::slice::from_raw_parts(self.raw(), count as usize) })
    }

    /// The elements of a BYTES tensor.
    pub fn items(&self) -> Items<'_> {
        let size = unsafe { *self.shape } as usize;
        Items { left: unsafe { core::slice::from_raw_parts(self.raw(), size) } }
    }
}

/// Iterates over the elements of a BYTES tensor.
#[derive(Clone)]
pub struct Items<'a> {
    left: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left.len() < 4 {
            return None;
        }
        let (length, rest) = self.left.split_at(4);
        let size = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let (item, left) = rest.split_at(size);
        self.left = left;
        Some(item)
    }
}

/// An output tensor, to be filled in.
#[repr(transparent)]
pub struct Output {
    tensor: Tensor,
}

impl Output {
    /// Memory for the elements of this shape. Where the host has given it already (the shape was known), that is returned.
    pub fn allocate<T: Element>(&mut self, shape: &[i64]) -> Result<&mut [T], Error> {
        let t = &mut self.tensor;
        if t.code != T::CODE || t.bits as usize != 8 * core::mem::size_of::<T>() {
            return Err(Error::new("an output has another data type than the function writes"));
        }
        let count = shape.iter().try_fold(1usize, |n, &s| n.checked_mul(s as usize)).ok_or("a shape is too large")?;
        let known = t.ndim >= 0 && t.shape() == shape;
        if !known {
            let bytes = count.checked_mul(core::mem::size_of::<T>()).ok_or("a shape is too large")?;
            let (sizes, data) = unsafe { (take(8 * (shape.len() + 1), 16) as *mut i64, take(bytes, 64)) };
            if sizes.is_null() || data.is_null() {
                return Err(Error::new("out of memory"));
            }
            unsafe { core::ptr::copy_nonoverlapping(shape.as_ptr(), sizes, shape.len()) };
            t.data = data;
            t.ndim = shape.len() as i32;
            t.shape = sizes;
            t.strides = core::ptr::null();
            t.byte_offset = 0;
        }
        Ok(unsafe { core::slice::from_raw_parts_mut(t.raw::<T>() as *mut T, count) })
    }

    /// Set a BYTES output of this logical shape from its elements.
    pub fn set_items<'a, I>(&mut self, shape: &[i64], items: I) -> Result<(), Error>
    where
        I: Iterator<Item = &'a [u8]> + Clone,
    {
        let size: usize = items.clone().map(|item| 4 + item.len()).sum();
        let (sizes, data) = unsafe { (take(8 * (shape.len() + 2), 16) as *mut i64, take(size, 64)) };
        if sizes.is_null() || data.is_null() {
            return Err(Error::new("out of memory"));
        }
        let mut at = data;
        for item in items {
            unsafe {
                core::ptr::copy_nonoverlapping((item.len() as u32).to_le_bytes().as_ptr(), at, 4);
                core::ptr::copy_nonoverlapping(item.as_ptr(), at.add(4), item.len());
                at = at.add(4 + item.len());
            }
        }
        unsafe {
            *sizes = size as i64;
            *sizes.add(1) = shape.len() as i64;
            core::ptr::copy_nonoverlapping(shape.as_ptr(), sizes.add(2), shape.len());
        }
        let t = &mut self.tensor;
        t.data = data;
        t.ndim = 1;
        t.shape = sizes;
        t.strides = unsafe { sizes.add(1) };
        t.byte_offset = 0;
        Ok(())
    }
}
