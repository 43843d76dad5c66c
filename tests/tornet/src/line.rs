use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Most bytes that travel as one piece.
const PIECE: usize = 16 * 1024;
/// Most pieces under way in one direction; then the sender has to wait.
const UNDER_WAY: usize = 1024;

/// The one-way delay of all links, which may be changed while they are in use.
#[derive(Clone, Debug)]
pub(crate) struct Delay(Arc<AtomicU64>);

impl Delay {
    pub(crate) fn new(delay: Duration) -> Self {
        let new = Self(Arc::default());
        new.set(delay);
        new
    }

    pub(crate) fn set(&self, delay: Duration) {
        self.0.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Carries bytes in order from `from` to `to`, each `delay` after it came, and
/// then the end. Returns when the end has been passed on.
async fn carry<R, W>(mut from: R, mut to: W, delay: Delay) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // An empty piece is the end. A bounded queue, and writes strictly one after
    // the other, keep the order even when the delay is changed meanwhile.
    let (sender, mut queue) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let take = async move {
        let mut buffer = vec![0; PIECE];
        loop {
            let count = from.read(&mut buffer).await?;
            let due = Instant::now() + delay.get();
            let sent = sender.send((due, buffer[..count].to_vec())).await;
            if count == 0 || sent.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let give = async move {
        while let Some((due, piece)) = queue.recv().await {
            if due > Instant::now() {
                sleep_until(due).await;
            }
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::try_join!(take, give).map(|_| ())
}

/// Carries both directions until both have ended. After an error both
/// connections are of no use.
pub(crate) async fn join(one: &mut TcpStream, other: &mut TcpStream, delay: &Delay) -> io::Result<()> {
    one.set_nodelay(true)?;
    other.set_nodelay(true)?;
    let (from_one, to_one) = one.split();
    let (from_other, to_other) = other.split();
    tokio::try_join!(carry(from_one, to_other, delay.clone()), carry(from_other, to_one, delay.clone()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_come_late_in_order_and_then_the_end() {
        let (mut here, near) = tokio::io::duplex(1 << 16);
        let (far, mut there) = tokio::io::duplex(1 << 16);
        let delay = Delay::new(Duration::from_millis(80));
        let line = tokio::spawn(carry(near, far, delay.clone()));
        let start = Instant::now();
        here.write_all(b"first ").await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        delay.set(Duration::from_millis(1));
        here.write_all(b"second").await.unwrap();
        here.shutdown().await.unwrap();
        let mut first = [0; 6];
        there.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first ");
        assert!(start.elapsed() >= Duration::from_millis(80));
        let mut rest = String::new();
        there.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "second");
        line.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_does_not_lower_throughput() {
        let (mut here, near) = tokio::io::duplex(1 << 16);
        let (far, mut there) = tokio::io::duplex(1 << 16);
        tokio::spawn(carry(near, far, Delay::new(Duration::from_millis(200))));
        let start = Instant::now();
        let sent: Vec<u8> = (0..4_000_000_u32).map(|i| (i % 251) as u8).collect();
        let copy = sent.clone();
        tokio::spawn(async move {
            here.write_all(&copy).await.unwrap();
            here.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        there.read_to_end(&mut got).await.unwrap();
        assert!(got == sent);
        // Piece by piece, one delay after the other, it would be 50 s.
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
}
