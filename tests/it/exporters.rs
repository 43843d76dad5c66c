//! Exporters that misbehave, on loopback ports of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What an exporter does with a request.
#[derive(Clone)]
pub enum Manner {
    /// Answers properly with this body, and keeps the connection.
    Good(String),
    /// Answers with the head of the request, as comments.
    Echoes,
    /// Answers properly with what this makes of the number of the request; the first is 0.
    Changing(fn(usize) -> String),
    /// Sends these bytes where no coding is asked for, else a proper answer with this body.
    Codes(Vec<u8>, String),
    /// Takes so long before it answers properly.
    Slow(Duration, String),
    /// Sends these bytes and closes the connection.
    Says(Vec<u8>),
    /// Sends these bytes, then nothing, and keeps the connection.
    SaysAndHangs(Vec<u8>),
    /// Sends these bytes and resets the connection.
    SaysAndResets(Vec<u8>),
    /// Sends a body of this many bytes, with its length or without.
    Floods { bytes: usize, length: bool },
}

/// An exporter; it stops when dropped.
pub struct Exporter {
    pub address: SocketAddr,
    /// Connections that are open now.
    pub open: Arc<AtomicUsize>,
    /// Requests that were begun.
    pub requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Exporter {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counters = (open.clone(), requests.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (open, requests) = counters.clone();
                open.fetch_add(1, Ordering::SeqCst);
                let manner = manner.clone();
                connections.spawn(async move {
                    let _ = serve(stream, manner, &requests).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, open, requests, task }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A proper answer with this body.
pub fn answer(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn serve(mut stream: TcpStream, manner: Manner, requests: &AtomicUsize) -> std::io::Result<()> {
    while let Some(head) = read_head(&mut stream).await? {
        let number = requests.fetch_add(1, Ordering::SeqCst);
        match &manner {
            Manner::Good(body) => stream.write_all(&answer(body)).await?,
            Manner::Echoes => {
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let body: String = head.lines().map(|line| format!("# {line}\n")).collect();
                stream.write_all(&answer(&body)).await?;
            }
            Manner::Changing(body) => stream.write_all(&answer(&body(number))).await?,
            Manner::Codes(bytes, body) => {
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let is_none = head.contains("accept-encoding: identity");
                stream.write_all(&if is_none { bytes.clone() } else { answer(body) }).await?;
            }
            Manner::Slow(pause, body) => {
                tokio::time::sleep(*pause).await;
                stream.write_all(&answer(body)).await?;
            }
            Manner::Says(bytes) => {
                stream.write_all(bytes).await?;
                return stream.shutdown().await;
            }
            Manner::SaysAndHangs(bytes) => {
                stream.write_all(bytes).await?;
                // Until the other side has had enough.
                while stream.read(&mut [0; 64]).await? > 0 {}
                return Ok(());
            }
            Manner::SaysAndResets(bytes) => {
                stream.write_all(bytes).await?;
                // What was sent is to arrive before the reset does.
                tokio::time::sleep(Duration::from_millis(200)).await;
                #[expect(deprecated, reason = "with a time of 0 it does not block, and resets")]
                stream.set_linger(Some(Duration::ZERO))?;
                return Ok(());
            }
            Manner::Floods { bytes, length } => {
                let framing = if *length { format!("Content-Length: {bytes}\r\n") } else { String::new() };
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n").as_bytes()).await?;
                let chunk = vec![b'#'; 1 << 16];
                for _ in 0..bytes.div_ceil(chunk.len()) {
                    stream.write_all(&chunk).await?;
                }
                return stream.shutdown().await;
            }
        }
    }
    Ok(())
}

/// Reads up to the end of a head; `None` at the end of the connection.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(head))
}
