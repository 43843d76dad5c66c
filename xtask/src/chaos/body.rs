//! What the suite's own exporter says, so that whoever reads it can tell whether it is whole, whose it
//! is, and how old it is.

use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

/// Lines that make an answer as long as a small device's, some 12 KB.
const ROWS: usize = 200;

/// What an answer says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Its number among its exporter's answers.
    pub number: u64,
    /// When it was made, since the suite began.
    pub at: Duration,
}

/// An answer of the exporter of `target`.
pub fn write(target: &str, said: &Said) -> String {
    let mut text = format!("chaos_answers_total{{target=\"{target}\"}} {}\n", said.number);
    text += &format!("chaos_answered_at_microseconds {}\n", said.at.as_micros());
    for row in 0..ROWS {
        // Other numbers in each answer, so that one that is put together of two is found out.
        let value = said.number.wrapping_mul(2_654_435_761).wrapping_add(row as u64);
        text += &format!("chaos_filler{{row=\"{row}\",target=\"{target}\"}} {value}\n");
    }
    let sum = sum(&text);
    text + &format!("chaos_sum {sum}\n")
}

/// Reads an answer that came for `target`.
///
/// # Errors
/// In words, if it is not whole or another's.
pub fn read(target: &str, text: &str) -> Result<Said, String> {
    let broken = || format!("{} bytes that are not a whole answer came as one", text.len());
    let (body, last) = text.rsplit_once("chaos_sum ").ok_or_else(broken)?;
    let stated: u64 = last.strip_suffix('\n').and_then(|sum| sum.parse().ok()).ok_or_else(broken)?;
    if stated != sum(body) {
        return Err(broken());
    }
    let mut lines = body.lines();
    let mut next = |name: &str| {
        let rest = lines.next()?.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        Some((labels.to_owned(), value.parse::<u64>().ok()?))
    };
    let (whose, number) = next("chaos_answers_total").ok_or_else(broken)?;
    let (_, at) = next("chaos_answered_at_microseconds").ok_or_else(broken)?;
    if whose != format!("{{target=\"{target}\"}}") {
        return Err(format!("an answer of {whose} came for {target}"));
    }
    Ok(Said { number, at: Duration::from_micros(at) })
}

fn sum(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_of_the_right_exporter_is_read_and_no_other() {
        let said = Said { number: 7, at: Duration::from_micros(1_234_567) };
        let whole = write("backpack", &said);
        assert_eq!(read("backpack", &whole), Ok(said));
        assert!(read("shelf", &whole).is_err_and(|why| why.contains("came for shelf")));
        for bad in ["", &whole[..whole.len() - 1], &whole[..500], &whole.replacen('7', "8", 1)] {
            assert!(read("backpack", bad).is_err_and(|why| why.contains("not a whole answer")), "{bad}");
        }
        let other = write("backpack", &Said { number: 8, at: Duration::ZERO });
        let spliced = format!("{}{}", &whole[..5000], &other[5000..]);
        assert!(read("backpack", &spliced).is_err());
    }
}
