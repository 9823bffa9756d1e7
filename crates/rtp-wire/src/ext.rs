//! RTP header extensions (RFC 8285): the one-byte and the two-byte form, reading and writing.

use crate::NoRoom;
use crate::bytes::Writer;

const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// The low four bits are free for the application.
const TWO_BYTE_PROFILE: u16 = 0x1000;
/// In the one-byte form this identifier ends the block (RFC 8285 section 4.2).
const ONE_BYTE_STOP: u8 = 15;

/// The extension block of a packet: its profile and its body, already decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions<'a> {
    pub profile: u16,
    pub body: &'a [u8],
}

/// One element of an extension block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    pub id: u8,
    pub data: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionForm {
    /// Identifiers 1 to 14, 1 to 16 bytes each.
    OneByte,
    /// Identifiers 1 to 255, 0 to 255 bytes each.
    TwoByte,
}

impl<'a> Extensions<'a> {
    /// Which of the two forms this is; none for a profile of its own.
    #[must_use]
    pub fn form(&self) -> Option<ExtensionForm> {
        match self.profile {
            ONE_BYTE_PROFILE => Some(ExtensionForm::OneByte),
            profile if profile & 0xFFF0 == TWO_BYTE_PROFILE => Some(ExtensionForm::TwoByte),
            _ => None,
        }
    }

    /// The elements in order. A block that breaks the rules ends where it breaks them.
    #[must_use]
    pub fn iter(&self) -> ExtensionIter<'a> {
        match self.form() {
            Some(form) => ExtensionIter { form, rest: self.body },
            None => ExtensionIter { form: ExtensionForm::OneByte, rest: &[] },
        }
    }

    #[must_use]
    pub fn get(&self, id: u8) -> Option<&'a [u8]> {
        self.iter().find(|element| element.id == id).map(|element| element.data)
    }
}

#[derive(Debug, Clone)]
pub struct ExtensionIter<'a> {
    form: ExtensionForm,
    rest: &'a [u8],
}

impl<'a> Iterator for ExtensionIter<'a> {
    type Item = Extension<'a>;

    fn next(&mut self) -> Option<Extension<'a>> {
        // A zero byte between elements is padding.
        while let Some((0, rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        let element = self.element();
        if element.is_none() {
            self.rest = &[];
        }
        element
    }
}

impl<'a> ExtensionIter<'a> {
    fn element(&mut self) -> Option<Extension<'a>> {
        let (&first, rest) = self.rest.split_first()?;
        let (id, len, rest) = match self.form {
            ExtensionForm::OneByte if first >> 4 == ONE_BYTE_STOP => return None,
            // Identifier 0 with a length is not padding either, and no element (RFC 8285 section 4.2).
            ExtensionForm::OneByte if first >> 4 == 0 => return None,
            ExtensionForm::OneByte => (first >> 4, usize::from(first & 15) + 1, rest),
            ExtensionForm::TwoByte => {
                let (&len, rest) = rest.split_first()?;
                (first, usize::from(len), rest)
            }
        };
        let (data, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Extension { id, data })
    }
}

/// How loud a packet is, said in front of its encrypted payload (RFC 6464).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// The sender thinks that this is speech.
    pub voice: bool,
    /// In decibels below overload: 0 is the loudest, 127 is silence.
    pub level: u8,
}

impl AudioLevel {
    /// `data` is the element's, in either form.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        match data {
            [byte] => Some(Self { voice: byte & 0x80 != 0, level: byte & 0x7F }),
            _ => None,
        }
    }

    /// The element's data. Quieter than silence is silence.
    #[must_use]
    pub fn write(self) -> [u8; 1] {
        [u8::from(self.voice) << 7 | self.level.min(127)]
    }
}

/// Writes an extension block, preamble included, right behind an RTP header.
pub struct ExtensionWriter<'b> {
    form: ExtensionForm,
    w: Writer<'b>,
}

impl<'b> ExtensionWriter<'b> {
    pub fn new(form: ExtensionForm, buf: &'b mut [u8]) -> Result<Self, NoRoom> {
        let mut w = Writer::new(buf);
        w.u16(match form {
            ExtensionForm::OneByte => ONE_BYTE_PROFILE,
            ExtensionForm::TwoByte => TWO_BYTE_PROFILE,
        })?;
        w.u16(0)?;
        Ok(Self { form, w })
    }

    /// Adds one element. One that the form cannot express is refused as if there were no room for it.
    pub fn push(&mut self, id: u8, data: &[u8]) -> Result<(), NoRoom> {
        match self.form {
            ExtensionForm::OneByte => {
                if !(1..=14).contains(&id) || !(1..=16).contains(&data.len()) {
                    return Err(NoRoom);
                }
                self.w.u8(id << 4 | (data.len() - 1) as u8)?;
            }
            ExtensionForm::TwoByte => {
                let len = u8::try_from(data.len()).map_err(|_| NoRoom)?;
                if id == 0 {
                    return Err(NoRoom);
                }
                self.w.put(&[id, len])?;
            }
        }
        self.w.put(data)
    }

    /// Pads to a multiple of four, fills in the length, and says how many bytes the block has.
    pub fn finish(mut self) -> Result<usize, NoRoom> {
        self.w.align()?;
        let words = u16::try_from(self.w.len() / 4 - 1).map_err(|_| NoRoom)?;
        self.w.patch_u16(2, words)?;
        Ok(self.w.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(profile: u16, body: &[u8], expect: &[(u8, &[u8])]) {
        let block = Extensions { profile, body };
        let got: Vec<(u8, &[u8])> = block.iter().map(|e| (e.id, e.data)).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn one_byte_blocks() {
        check(0xBEDE, &[], &[]);
        check(0xBEDE, &[0x10, 7, 0, 0], &[(1, &[7])]);
        check(0xBEDE, &[0, 0x21, 7, 8, 0, 0x30, 9, 0], &[(2, &[7, 8]), (3, &[9])]);
        check(0xBEDE, &[0x10, 7, 0xF0, 1, 0x20, 8], &[(1, &[7])]);
        check(0xBEDE, &[0x10, 7, 0x2F, 1], &[(1, &[7])]);
        check(0xBEDE, &[0x03, 7, 7, 7], &[]);
    }

    #[test]
    fn two_byte_blocks() {
        check(0x1000, &[1, 0, 200, 2, 7, 8, 0, 0], &[(1, &[]), (200, &[7, 8])]);
        check(0x100F, &[1, 1, 9, 0], &[(1, &[9])]);
        check(0x1000, &[1], &[]);
        check(0x1000, &[1, 5, 0], &[]);
    }

    #[test]
    fn foreign_profiles_have_no_elements() {
        check(0x1234, &[0x10, 7, 0, 0], &[]);
    }

    #[test]
    fn elements_are_found_by_identifier() {
        let block = Extensions { profile: 0xBEDE, body: &[0x10, 7, 0x90, 8] };
        assert_eq!(block.get(9), Some(&[8][..]));
        assert_eq!(block.get(2), None);
    }

    #[test]
    fn audio_levels() {
        let check = |byte, voice, level| {
            let expect = AudioLevel { voice, level };
            assert_eq!(AudioLevel::parse(&[byte]), Some(expect));
            assert_eq!(expect.write(), [byte]);
        };
        check(0x00, false, 0);
        check(0x80, true, 0);
        check(0x7F, false, 127);
        check(0xA5, true, 37);
        assert_eq!(AudioLevel::parse(&[]), None);
        assert_eq!(AudioLevel::parse(&[1, 2]), None);
        assert_eq!(AudioLevel { voice: true, level: 200 }.write(), [0xFF]);
    }

    #[test]
    fn what_a_form_cannot_say_is_refused() {
        let mut buf = [0; 64];
        let mut w = ExtensionWriter::new(ExtensionForm::OneByte, &mut buf).unwrap();
        for (id, data) in [(0, &[1][..]), (15, &[1]), (1, &[]), (1, &[0; 17])] {
            assert_eq!(w.push(id, data), Err(NoRoom));
        }
        assert_eq!(w.finish(), Ok(4));
        let mut w = ExtensionWriter::new(ExtensionForm::TwoByte, &mut buf).unwrap();
        assert_eq!(w.push(0, &[1]), Err(NoRoom));
        assert_eq!(w.push(1, &[0; 256]), Err(NoRoom));
    }

    proptest! {
        #[test]
        fn two_byte_blocks_round_trip(
            exts in proptest::collection::vec((1u8.., proptest::collection::vec(any::<u8>(), 0..=255)), 0..5),
        ) {
            let mut buf = [0xAA; 2048];
            let mut w = ExtensionWriter::new(ExtensionForm::TwoByte, &mut buf).unwrap();
            for (id, data) in &exts {
                w.push(*id, data).unwrap();
            }
            let len = w.finish().unwrap();
            prop_assert_eq!(len % 4, 0);
            prop_assert_eq!(usize::from(u16::from_be_bytes([buf[2], buf[3]])) * 4 + 4, len);
            let block = Extensions { profile: 0x1000, body: &buf[4..len] };
            let read: Vec<(u8, Vec<u8>)> = block.iter().map(|e| (e.id, e.data.to_vec())).collect();
            prop_assert_eq!(read, exts);
        }
    }
}
