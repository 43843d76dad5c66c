//! Exporters whose answers have a size of one's choice, and change a little from time to time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Failure;

/// One line in so many has another value after a change: 5 %.
const CHANGES: u64 = 20;

/// An exporter, which serves until this program ends.
#[derive(Clone)]
pub struct Exporter {
    /// Where it listens.
    pub address: SocketAddr,
    served: Arc<Served>,
}

/// When its values change. Never by the answer: whoever asked second would see another change than the first.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// When it is told to.
    Told,
    /// Once in such a time.
    Every(Duration),
}

struct Served {
    body: Mutex<Body>,
    change: Change,
    began: Instant,
    told: AtomicU64,
}

impl Exporter {
    /// Starts one; its bodies have `size` bytes and hardly more.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(size: usize, change: Change) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        // With the usual 128 a crowd that comes at once would measure TCP's own second tries.
        rustix::net::listen(&listener, 4096)?;
        let address = listener.local_addr()?;
        let (body, began) = (Mutex::new(Body::of(size)), Instant::now());
        let served = Arc::new(Served { body, change, began, told: AtomicU64::new(0) });
        let serving = Arc::clone(&served);
        std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&serving);
                // Who asks has gone; nobody is left to be told.
                let serve = move || serve(stream, &served).is_err();
                let _ = std::thread::Builder::new().stack_size(128 << 10).spawn(serve);
            }
        })?;
        Ok(Self { address, served })
    }

    /// Has its values change.
    pub fn change(&self) {
        self.served.told.fetch_add(1, Ordering::Relaxed);
    }
}

impl Served {
    /// The answer as it is now.
    fn answer(&self) -> Arc<[u8]> {
        let version = match self.change {
            Change::Told => self.told.load(Ordering::Relaxed),
            Change::Every(time) => (self.began.elapsed().as_secs_f64() / time.as_secs_f64()) as u64,
        };
        self.body.lock().unwrap_or_else(PoisonError::into_inner).answer(version)
    }
}

fn serve(mut stream: TcpStream, served: &Served) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // The connection is kept, as Go's exporters keep theirs.
    let mut reader = BufReader::with_capacity(4096, stream.try_clone()?);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            stream.write_all(&served.answer())?;
        }
    }
}

/// What is answered.
struct Body {
    text: Vec<u8>,
    /// Where each line's value begins; all have the same length.
    values: Vec<usize>,
    version: u64,
    /// The answer of that version.
    answer: Arc<[u8]>,
}

/// Digits of every value.
const DIGITS: usize = 12;

impl Body {
    fn of(size: usize) -> Self {
        let mut text =
            b"# HELP bench_filler_total Lines of a size of one's choice\n# TYPE bench_filler_total counter\n"
                .to_vec();
        let mut values = Vec::new();
        while text.len() < size || values.is_empty() {
            let row = values.len();
            // Labels as long as those of usual metrics.
            text.extend(
                format!("bench_filler_total{{device=\"disk{}\",mode=\"row{row}\"}} ", row % 97).bytes(),
            );
            values.push(text.len());
            text.extend(format!("{:012}\n", row as u64 * 2_654_435_761 % 1_000_000_000_000).bytes());
        }
        let answer = whole(&text);
        Self { text, values, version: 0, answer }
    }

    fn answer(&mut self, version: u64) -> Arc<[u8]> {
        if version > self.version {
            // Each line has had its turn once in so many versions, so that older ones make no difference.
            for version in (self.version + 1).max(version.saturating_sub(CHANGES - 1))..=version {
                self.step(version);
            }
            self.version = version;
            self.answer = whole(&self.text);
        }
        Arc::clone(&self.answer)
    }

    fn step(&mut self, version: u64) {
        let first = (version % CHANGES) as usize;
        for value in self.values.iter().skip(first).step_by(CHANGES as usize) {
            let new = format!(
                "{:012}",
                version.wrapping_mul(1_000_003).wrapping_add(*value as u64) % 1_000_000_000_000
            );
            if let Some(place) = self.text.get_mut(*value..value + DIGITS) {
                place.copy_from_slice(new.as_bytes());
            }
        }
    }
}

fn whole(body: &[u8]) -> Arc<[u8]> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(one: &[u8], two: &[u8]) -> (usize, usize) {
        let [one, two] = [one, two].map(|text| String::from_utf8_lossy(text).into_owned());
        assert_eq!(one.len(), two.len());
        (one.lines().count(), one.lines().zip(two.lines()).filter(|(one, two)| one != two).count())
    }

    #[test]
    fn a_twentieth_of_the_lines_is_another_in_the_next_version() {
        let mut body = Body::of(100_000);
        assert!((100_000..100_100).contains(&body.text.len()));
        let (one, same, two) = (body.answer(1), body.answer(1), body.answer(2));
        assert_eq!(changed(&one, &same).1, 0, "whoever asks second sees what the first one saw");
        let (lines, changes) = changed(&one, &two);
        assert!((lines / 20 - 2..=lines / 20 + 2).contains(&changes), "{changes} of {lines}");
    }

    #[test]
    fn versions_that_nobody_asked_for_make_no_difference() {
        let (mut all, mut some) = (Body::of(10_000), Body::of(10_000));
        let step_by_step = (1..=50).map(|version| all.answer(version)).last();
        assert_eq!(step_by_step, Some(some.answer(50)));
    }
}
