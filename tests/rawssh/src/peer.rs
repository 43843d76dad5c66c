//! One end of a session, client or server.

use std::collections::VecDeque;
use std::io;

use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::SystemRandom;
use ring::signature::{self, ED25519};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::exchange::{Moment, Offer, Side, Transcript, ciphers};
use crate::key::Signer;
use crate::message::{KEX_ECDH_INIT, KEX_ECDH_REPLY, KEXINIT, NEWKEYS};
use crate::packet::{self, Cipher};
use crate::wire::{Message, Reader};
use crate::wrong;

/// What it says of itself.
const VERSION: &str = "SSH-2.0-rawssh";

/// One end of a session over any stream.
pub struct Peer<S> {
    stream: S,
    side: Side,
    host_key: Option<Box<dyn Signer>>,
    /// What the next key exchange offers.
    pub offer: Offer,
    /// What the next key exchange has slipped in.
    pub inserted: Option<(Moment, Vec<u8>)>,
    their_version: String,
    session: Option<[u8; 32]>,
    sending: Option<Cipher>,
    receiving: Option<Cipher>,
    /// What came in the middle of a key exchange that this end began.
    waiting: VecDeque<Vec<u8>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// A client that has said nothing yet.
    pub fn client(stream: S) -> Self {
        Self::new(stream, Side::Client, None)
    }

    /// A server with this host key that has said nothing yet.
    pub fn server(stream: S, host_key: impl Signer + 'static) -> Self {
        Self::new(stream, Side::Server, Some(Box::new(host_key)))
    }

    fn new(stream: S, side: Side, host_key: Option<Box<dyn Signer>>) -> Self {
        Self {
            stream,
            side,
            host_key,
            offer: Offer::good(side),
            inserted: None,
            their_version: String::new(),
            session: None,
            sending: None,
            receiving: None,
            waiting: VecDeque::new(),
        }
    }

    /// Says which version it is and exchanges keys.
    ///
    /// # Errors
    /// When the other end ends the connection, or breaks a rule.
    pub async fn begin(&mut self) -> io::Result<()> {
        self.exchange_versions().await?;
        self.exchange_keys().await
    }

    /// Says which version it is, and hears the other's.
    ///
    /// # Errors
    /// When the other end ends the connection.
    pub async fn exchange_versions(&mut self) -> io::Result<()> {
        packet::write(&mut self.stream, format!("{VERSION}\r\n").as_bytes()).await?;
        self.their_version = packet::read_line(&mut self.stream).await?;
        Ok(())
    }

    /// What identifies the session, and is signed at a login.
    pub fn session(&self) -> &[u8] {
        self.session.as_ref().map_or(&[], |session| session)
    }

    /// The bytes below, for what is not even a packet.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends a message, whatever it is.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let packet = packet::wrap(message, self.sending.as_mut())?;
        packet::write(&mut self.stream, &packet).await
    }

    /// The next message, whatever it is.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self.waiting.pop_front() {
            Some(message) => Ok(message),
            None => packet::read(&mut self.stream, self.receiving.as_mut()).await,
        }
    }

    /// The next message of one of these kinds; others are passed over.
    ///
    /// # Errors
    /// When the connection ended before one came.
    pub async fn receive_one_of(&mut self, kinds: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let message = self.receive().await?;
            if message.first().is_some_and(|kind| kinds.contains(kind)) {
                return Ok(message);
            }
        }
    }

    async fn insert(&mut self, now: Moment) -> io::Result<()> {
        match self.inserted.take_if(|(moment, _)| *moment == now) {
            Some((_, message)) => self.send(&message).await,
            None => Ok(()),
        }
    }

    /// Exchanges keys, for the first time or anew.
    ///
    /// # Errors
    /// When the other end ends the connection, or breaks a rule.
    pub async fn exchange_keys(&mut self) -> io::Result<()> {
        self.insert(Moment::BeforeOffer).await?;
        let ours = self.offer.message();
        self.send(&ours).await?;
        // What the other end sent before it knew comes first.
        let theirs = loop {
            let message = packet::read(&mut self.stream, self.receiving.as_mut()).await?;
            if message.first() == Some(&KEXINIT) {
                break message;
            }
            self.waiting.push_back(message);
        };
        self.insert(Moment::BeforeShare).await?;
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new());
        let private = private.map_err(|_| wrong("no random numbers"))?;
        let share = private.compute_public_key().map_err(|_| wrong("no public key"))?;
        let agree = |their_share: &[u8]| {
            agree_ephemeral(private, &UnparsedPublicKey::new(&X25519, their_share), <[u8]>::to_vec)
                .map_err(|_| wrong("a share that is no point"))
        };
        let versions = (VERSION, self.their_version.as_str());
        let transcript = |host_key: &[u8], their_share: &[u8], secret: &[u8]| {
            let ((ours, theirs), shares) = ((&ours[..], &theirs[..]), (share.as_ref(), their_share));
            let pairs = |[a, b]: [_; 2]| if self.side == Side::Client { [a, b] } else { [b, a] };
            let (offers, shares) = (pairs([ours, theirs]), pairs([shares.0, shares.1]));
            let versions = if self.side == Side::Client { versions.into() } else { [versions.1, versions.0] };
            Transcript { versions, offers, host_key, shares, secret }.hash()
        };
        let (hash, secret) = match &self.host_key {
            None => {
                let init = Message::new(KEX_ECDH_INIT).string(share.as_ref()).done();
                packet::write(&mut self.stream, &packet::wrap(&init, self.sending.as_mut())?).await?;
                let reply = packet::read(&mut self.stream, self.receiving.as_mut()).await?;
                let (host_key, their_share, signature) = taken_apart(&reply)?;
                let secret = agree(their_share)?;
                let hash = transcript(host_key, their_share, &secret);
                verify(host_key, &hash, signature)?;
                (hash, secret)
            }
            Some(host_key) => {
                let init = packet::read(&mut self.stream, self.receiving.as_mut()).await?;
                if init.first() != Some(&KEX_ECDH_INIT) {
                    return Err(wrong("no share of the secret"));
                }
                let their_share = Reader::of(&init).string()?;
                let secret = agree(their_share)?;
                let public = host_key.public();
                let hash = transcript(&public, their_share, &secret);
                let reply = Message::new(KEX_ECDH_REPLY).string(&public).string(share.as_ref());
                let reply = reply.string(host_key.sign(&hash)).done();
                packet::write(&mut self.stream, &packet::wrap(&reply, self.sending.as_mut())?).await?;
                (hash, secret)
            }
        };
        let session = *self.session.get_or_insert(hash);
        self.insert(Moment::BeforeNewKeys).await?;
        self.send(&[NEWKEYS]).await?;
        let [from_client, to_client] = ciphers(&secret, &hash, &session)?;
        let (sending, receiving) = match self.side {
            Side::Client => (from_client, to_client),
            Side::Server => (to_client, from_client),
        };
        self.sending = Some(sending);
        if packet::read(&mut self.stream, self.receiving.as_mut()).await? != [NEWKEYS] {
            return Err(wrong("no new keys"));
        }
        self.receiving = Some(receiving);
        Ok(())
    }
}

/// The host key, the share and the signature of a reply.
fn taken_apart(reply: &[u8]) -> io::Result<(&[u8], &[u8], &[u8])> {
    if reply.first() != Some(&KEX_ECDH_REPLY) {
        return Err(wrong("no reply to the share of the secret"));
    }
    let mut reader = Reader::of(reply);
    Ok((reader.string()?, reader.string()?, reader.string()?))
}

fn verify(host_key: &[u8], hash: &[u8], signed: &[u8]) -> io::Result<()> {
    let second = |blob| {
        let mut reader = Reader::blob(blob);
        reader.string().and_then(|_| reader.string())
    };
    let key = signature::UnparsedPublicKey::new(&ED25519, second(host_key)?);
    key.verify(hash, second(signed)?).map_err(|_| wrong("a wrong signature of the host"))
}
