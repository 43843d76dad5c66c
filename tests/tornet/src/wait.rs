use std::time::{Duration, Instant};

use crate::Error;

/// Asks `probe` every `every` until it has an answer or fails, at most for `limit`.
///
/// When time is up the last thing `probe` reported as missing is in the error.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    every: Duration,
    mut probe: impl FnMut(&mut String) -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let end = Instant::now() + limit;
    let mut missing = String::new();
    loop {
        if let Some(answer) = probe(&mut missing)? {
            return Ok(answer);
        }
        if Instant::now() >= end {
            let hint = if missing.is_empty() { missing } else { format!(": {missing}") };
            return Err(Error::Late { what: what.to_owned(), seconds: limit.as_secs(), hint });
        }
        std::thread::sleep(every);
    }
}
