//! Messages in packets: plain ones, and ones that are encrypted with aes256-gcm@openssh.com.

use std::io;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::wrong;

/// Longest packet that is read.
const MAX_PACKET: usize = 1 << 20;
const BLOCK: usize = 16;
const TAG: usize = 16;

/// One direction's key, and how often it was used.
pub(crate) struct Cipher {
    key: LessSafeKey,
    nonce: [u8; 12],
}

impl Cipher {
    /// # Errors
    /// When the key is not of 32 bytes.
    pub(crate) fn new(key: &[u8], nonce: [u8; 12]) -> io::Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| wrong("a key of another length"))?;
        Ok(Self { key: LessSafeKey::new(key), nonce })
    }

    /// The last eight bytes count packets (RFC 5647, section 7.1).
    fn next_nonce(&mut self) -> Nonce {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        for byte in self.nonce[4..].iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        nonce
    }
}

/// The packet for a message.
pub(crate) fn wrap(payload: &[u8], cipher: Option<&mut Cipher>) -> io::Result<Vec<u8>> {
    // What is encrypted, and in a plain packet the length as well, fills whole blocks; there are
    // at least four bytes of padding.
    let counted = payload.len() + 1 + if cipher.is_some() { 0 } else { 4 };
    let padding = 4 + (2 * BLOCK - (counted + 4) % BLOCK) % BLOCK;
    let length = payload.len() + 1 + padding;
    let length = u32::try_from(length).map_err(|_| wrong("a message too long"))?.to_be_bytes();
    let mut body = vec![u8::try_from(padding).map_err(|_| wrong("too much padding"))?];
    body.extend_from_slice(payload);
    body.resize(body.len() + padding, 0);
    if let Some(cipher) = cipher {
        let nonce = cipher.next_nonce();
        let sealed = cipher.key.seal_in_place_append_tag(nonce, Aad::from(length), &mut body);
        sealed.map_err(|_| wrong("a message that cannot be encrypted"))?;
    }
    Ok([&length[..], &body].concat())
}

/// Reads one packet's message.
pub(crate) async fn read<R>(stream: &mut R, cipher: Option<&mut Cipher>) -> io::Result<Vec<u8>>
where
    R: AsyncRead + Unpin,
{
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let count = u32::from_be_bytes(length) as usize;
    if count > MAX_PACKET {
        return Err(wrong("a packet too long"));
    }
    let mut body = vec![0; count + if cipher.is_some() { TAG } else { 0 }];
    stream.read_exact(&mut body).await?;
    if let Some(cipher) = cipher {
        let nonce = cipher.next_nonce();
        let opened = cipher.key.open_in_place(nonce, Aad::from(length), &mut body);
        let count = opened.map_err(|_| wrong("a packet that cannot be decrypted"))?.len();
        body.truncate(count);
    }
    let padding = usize::from(*body.first().ok_or_else(|| wrong("an empty packet"))?);
    let end = body.len().checked_sub(padding).filter(|end| *end > 1);
    Ok(body[1..end.ok_or_else(|| wrong("a packet of padding only"))?].to_vec())
}

/// Reads a line that ends in a newline, as the version of a peer does.
pub(crate) async fn read_line<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<String> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        if line.len() > 1024 {
            return Err(wrong("a line too long"));
        }
        line.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// Writes bytes at once.
pub(crate) async fn write<W: AsyncWrite + Unpin>(stream: &mut W, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
