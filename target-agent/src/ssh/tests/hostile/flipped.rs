//! Bytes that are changed on the way.

use tokio::io::ReadBuf;

use super::*;

/// A stream whose every packet after the greeting has one bit turned over, once.
struct Flipped<S> {
    stream: S,
    at: usize,
    seen: usize,
}

impl<S: tokio::io::AsyncRead + Unpin> tokio::io::AsyncRead for Flipped<S> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = std::pin::Pin::new(&mut self.stream).poll_read(cx, buf);
        let (at, seen) = (self.at, self.seen);
        let fresh = &mut buf.filled_mut()[before..];
        if let Some(byte) = at.checked_sub(seen).and_then(|index| fresh.get_mut(index)) {
            *byte ^= 1;
        }
        self.seen += fresh.len();
        read
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> tokio::io::AsyncWrite for Flipped<S> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn one_flipped_bit_anywhere_ends_the_session() {
    let rig = Rig::with_grace(Duration::from_secs(1)).await;
    let greeting = b"SSH-2.0-onionscrape\r\n".len();
    let mut whole = 0;
    for at in (greeting..6000).step_by(97) {
        let (near, far) = duplex(64 << 10);
        let server = rig.server.clone();
        let served = tokio::spawn(async move { server.serve(Flipped { stream: far, at, seen: 0 }).await });
        let scraped = timeout(Duration::from_secs(3), async {
            let mut session = client::connect_stream(Arc::default(), near, Trusting).await.ok()?;
            let key = PrivateKeyWithHashAlg::new(rig.key.clone(), None);
            session.authenticate_publickey("anybody", key).await.ok()?.success().then_some(())?;
            let channel = session.channel_open_direct_tcpip("quick", 80, "x", 1).await.ok()?;
            get(&mut ChannelStream::new(channel), "/metrics").await.ok()
        })
        .await;
        match scraped {
            // The bit was never reached.
            Ok(Some(answer)) => {
                assert!(answer.contains("up 1"), "a changed byte got through at {at}");
                whole += 1;
            }
            _ => served.abort(),
        }
    }
    assert!(whole < 55, "at {whole} of 62 places nothing was noticed");
    rig.still_serves().await;
}
