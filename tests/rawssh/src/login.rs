//! Logging in, and letting in (RFC 4252).

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::key::Signer;
use crate::message::{
    CHANNEL_DATA, CHANNEL_OPEN_CONFIRMATION, CHANNEL_OPEN_FAILURE, SERVICE_ACCEPT, SERVICE_REQUEST,
    USERAUTH_FAILURE, USERAUTH_PK_OK, USERAUTH_REQUEST, USERAUTH_SUCCESS, data, open_to, service_request,
    userauth,
};
use crate::peer::Peer;
use crate::wire::{Message, Reader};
use crate::wrong;

/// The service that a login is for.
pub const CONNECTION: &str = "ssh-connection";

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Asks for the service that logins are made with.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn ask_to_log_in(&mut self) -> io::Result<()> {
        self.send(&service_request("ssh-userauth")).await?;
        self.receive_one_of(&[SERVICE_ACCEPT]).await.map(drop)
    }

    /// The request to log in as `user` by a signature of `key`.
    pub fn signed_request(&self, user: &str, key: &dyn Signer) -> Vec<u8> {
        let rest = Message::blob().boolean(true).string(key.algorithm()).string(key.public()).done();
        let request = userauth(user, CONNECTION, "publickey", &rest);
        let signed = Message::blob().string(self.session()).raw(&request).done();
        Message::blob().raw(&request).string(key.sign(&signed)).done()
    }

    /// Tries to log in with a key, once the service was asked for; true if it was let in.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn try_key(&mut self, user: &str, key: &dyn Signer) -> io::Result<bool> {
        let request = self.signed_request(user, key);
        self.send(&request).await?;
        let answer = self.receive_one_of(&[USERAUTH_SUCCESS, USERAUTH_FAILURE]).await?;
        Ok(answer.first() == Some(&USERAUTH_SUCCESS))
    }

    /// Offers a key without a signature; true if one is asked for.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn offer_key(&mut self, user: &str, key: &dyn Signer) -> io::Result<bool> {
        let rest = Message::blob().boolean(false).string(key.algorithm()).string(key.public()).done();
        self.send(&userauth(user, CONNECTION, "publickey", &rest)).await?;
        let answer = self.receive_one_of(&[USERAUTH_PK_OK, USERAUTH_FAILURE]).await?;
        Ok(answer.first() == Some(&USERAUTH_PK_OK))
    }

    /// From the first byte to being let in.
    ///
    /// # Errors
    /// When it is not let in.
    pub async fn log_in(&mut self, key: &dyn Signer) -> io::Result<()> {
        self.begin().await?;
        self.ask_to_log_in().await?;
        if self.try_key("anybody", key).await? { Ok(()) } else { Err(wrong("the key was refused")) }
    }

    /// Lets in whoever comes, as a server, without a look at what is shown.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn let_in(&mut self) -> io::Result<()> {
        self.accept_service().await?;
        self.receive_one_of(&[USERAUTH_REQUEST]).await?;
        self.send(&[USERAUTH_SUCCESS]).await
    }

    /// Gives the service that logins are made with, as a server.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn accept_service(&mut self) -> io::Result<()> {
        self.receive_one_of(&[SERVICE_REQUEST]).await?;
        self.send(&Message::new(SERVICE_ACCEPT).string("ssh-userauth").done()).await
    }

    /// Opens a channel to an address; `Ok(None)` if it is refused, else the far end's number.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn open_to(&mut self, host: &str, port: u32, id: u32) -> io::Result<Option<u32>> {
        self.send(&open_to(host, port, id)).await?;
        loop {
            let answer = self.receive_one_of(&[CHANNEL_OPEN_CONFIRMATION, CHANNEL_OPEN_FAILURE]).await?;
            let mut reader = Reader::of(&answer);
            if reader.number()? != id {
                continue;
            }
            let opened = answer.first() == Some(&CHANNEL_OPEN_CONFIRMATION);
            return opened.then(|| reader.number()).transpose();
        }
    }

    /// Sends a request on a channel, and returns what comes back until `end` has been seen.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn ask(&mut self, channel: u32, request: &str, end: &str) -> io::Result<String> {
        self.send(&data(channel, request.as_bytes())).await?;
        let mut answer = String::new();
        while !answer.contains(end) {
            let message = self.receive_one_of(&[CHANNEL_DATA]).await?;
            let mut reader = Reader::of(&message);
            reader.number()?;
            answer += &String::from_utf8_lossy(reader.string()?);
        }
        Ok(answer)
    }
}
