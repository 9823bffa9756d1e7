//! Reading and writing big-endian integers without a panic.

use crate::NoRoom;

pub(crate) fn u16_at(buf: &[u8], at: usize) -> Option<u16> {
    let bytes = buf.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*bytes))
}

pub(crate) fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    let bytes = buf.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}

pub(crate) fn u64_at(buf: &[u8], at: usize) -> Option<u64> {
    let bytes = buf.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*bytes))
}

/// A cursor that writes forward and refuses instead of overrunning.
pub(crate) struct Writer<'b> {
    buf: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    pub(crate) fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let room = self.buf.get_mut(self.len..).ok_or(NoRoom)?;
        room.get_mut(..bytes.len()).ok_or(NoRoom)?.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    pub(crate) fn u8(&mut self, value: u8) -> Result<(), NoRoom> {
        self.put(&[value])
    }

    pub(crate) fn u16(&mut self, value: u16) -> Result<(), NoRoom> {
        self.put(&value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> Result<(), NoRoom> {
        self.put(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> Result<(), NoRoom> {
        self.put(&value.to_be_bytes())
    }

    /// Fills with zeros up to the next multiple of four.
    pub(crate) fn align(&mut self) -> Result<(), NoRoom> {
        while !self.len.is_multiple_of(4) {
            self.u8(0)?;
        }
        Ok(())
    }

    /// Overwrites two bytes already written, for lengths known only at the end.
    pub(crate) fn patch_u16(&mut self, at: usize, value: u16) -> Result<(), NoRoom> {
        let end = at.checked_add(2).filter(|end| *end <= self.len).ok_or(NoRoom)?;
        self.buf.get_mut(at..end).ok_or(NoRoom)?.copy_from_slice(&value.to_be_bytes());
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn written(&self) -> &[u8] {
        &self.buf[..self.len]
    }
}
