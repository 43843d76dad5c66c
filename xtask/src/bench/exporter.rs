//! Exporters whose answers have a size of one's choice, and change a little from one scrape to the next.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Failure;

/// One line in so many has another value in the next answer: 5 %.
const CHANGES: usize = 20;

/// Starts an exporter, which serves until this program ends; its answers have about `size` bytes.
///
/// # Errors
/// When it cannot listen.
pub fn start(size: usize) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // With the usual 128 a crowd that comes at once would measure TCP's own second tries.
    rustix::net::listen(&listener, 4096)?;
    let address = listener.local_addr()?;
    let body = Arc::new(Mutex::new(Body::of(size)));
    std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
        for stream in listener.incoming().flatten() {
            let body = Arc::clone(&body);
            // Who asks has gone; nobody is left to be told.
            let serve = move || serve(stream, &body).is_err();
            let _ = std::thread::Builder::new().stack_size(128 << 10).spawn(serve);
        }
    })?;
    Ok(address)
}

fn serve(mut stream: TcpStream, body: &Mutex<Body>) -> std::io::Result<()> {
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
            let mut answer = Vec::new();
            body.lock().unwrap_or_else(PoisonError::into_inner).next(&mut answer);
            stream.write_all(&answer)?;
        }
    }
}

/// What is answered.
struct Body {
    text: Vec<u8>,
    /// Where each line's value begins; all have the same length.
    values: Vec<usize>,
    count: u64,
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
        Self { text, values, count: 0 }
    }

    /// Writes the next answer.
    fn next(&mut self, answer: &mut Vec<u8>) {
        self.count += 1;
        let first = self.count as usize % CHANGES;
        for value in self.values.iter().skip(first).step_by(CHANGES) {
            let new = format!(
                "{:012}",
                self.count.wrapping_mul(1_000_003).wrapping_add(*value as u64) % 1_000_000_000_000
            );
            if let Some(place) = self.text.get_mut(*value..value + DIGITS) {
                place.copy_from_slice(new.as_bytes());
            }
        }
        answer.extend(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
                self.text.len()
            )
            .bytes(),
        );
        answer.extend(&self.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twentieth_of_the_lines_is_another_in_the_next_answer() {
        let mut body = Body::of(100_000);
        let [mut one, mut two] = [Vec::new(), Vec::new()];
        body.next(&mut one);
        body.next(&mut two);
        let [one, two] = [one, two].map(|text| String::from_utf8_lossy(&text).into_owned());
        let lines = one.lines().count();
        let changed = one.lines().zip(two.lines()).filter(|(one, two)| one != two).count();
        assert!((100_000..100_100).contains(&body.text.len()));
        // What was new in the one is old in the other.
        assert!((lines / 20 - 2..=lines / 10 + 2).contains(&changed), "{changed} of {lines}");
        assert_eq!(one.len(), two.len());
    }
}
