//! What commands print on standard output.

use std::io::{self, Write as _};

/// The exit code of a program that nobody reads any more, as a shell has it: 128 and the number of SIGPIPE.
const UNREAD: i32 = 128 + 13;

/// Prints a line, by [`write`](crate::output::write).
#[macro_export]
macro_rules! outln {
    () => { $crate::output::write(b"\n") };
    ($($text:tt)*) => { $crate::output::write(format!("{}\n", format_args!($($text)*)).as_bytes()) };
}

/// Writes all of this at once, other than `print!`, which panics when it cannot. Where nobody reads any more, as behind
/// `| head`, the program ends with the exit code that a shell gives for SIGPIPE; for other reasons, a full disk say,
/// with 1 after saying so.
pub fn write(text: &[u8]) {
    let mut out = io::stdout().lock();
    let Err(error) = out.write_all(text).and_then(|()| out.flush()) else { return };
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(UNREAD);
    }
    eprintln!("standard output: {error}");
    std::process::exit(1);
}
