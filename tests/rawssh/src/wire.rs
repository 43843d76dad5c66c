//! The forms in which SSH writes numbers, strings and lists.

use std::io;

use crate::wrong;

/// A message in the making.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// A message of this kind, with nothing in it yet.
    pub fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    /// Bytes that are no message by themselves.
    pub fn blob() -> Self {
        Self::default()
    }

    /// Bytes as they are, without their length.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn byte(self, byte: u8) -> Self {
        self.raw(&[byte])
    }

    /// Yes or no.
    pub fn boolean(self, yes: bool) -> Self {
        self.byte(yes.into())
    }

    /// A number.
    pub fn number(self, number: u32) -> Self {
        self.raw(&number.to_be_bytes())
    }

    /// A string, with its length before it.
    pub fn string(self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.number(length(text)).raw(text)
    }

    /// A number without a sign and of any size, from its bytes.
    pub fn large_number(self, bytes: &[u8]) -> Self {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        let bytes = &bytes[start..];
        // A first bit that is set would be a sign.
        let sign: &[u8] = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
        self.string([sign, bytes].concat())
    }

    /// What it has come to.
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// A message that is taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins after the byte that says of what kind the message is.
    pub fn of(message: &'a [u8]) -> Self {
        Self(message.get(1..).unwrap_or_default())
    }

    /// Begins at the first byte.
    pub fn blob(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// So many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn raw(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| wrong("a message is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// When there is none.
    pub fn byte(&mut self) -> io::Result<u8> {
        Ok(self.raw(1)?[0])
    }

    /// A number.
    ///
    /// # Errors
    /// When it is cut short.
    pub fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.raw(4)?);
        Ok(u32::from_be_bytes(bytes))
    }

    /// A string.
    ///
    /// # Errors
    /// When it is cut short.
    pub fn string(&mut self) -> io::Result<&'a [u8]> {
        let length = self.number()?;
        self.raw(length as usize)
    }
}
