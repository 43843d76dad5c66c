//! What commands print on standard output.

use std::io::{self, Write as _};

/// The exit code of a program that nobody reads any more, as a shell has it: 128 and the number of SIGPIPE.
const UNREAD: u8 = 128 + 13;

/// Prints a line, by [`write`](crate::output::write).
#[macro_export]
macro_rules! outln {
    () => { $crate::output::write(b"\n") };
    ($($text:tt)*) => { $crate::output::write(format!("{}\n", format_args!($($text)*)).as_bytes()) };
}

/// Writes all of this at once, unlike `print!`, which panics when it cannot. Then the program ends, as
/// [`try_write`] says.
pub fn write(text: &[u8]) {
    if let Err(code) = try_write(text) {
        std::process::exit(code.into());
    }
}

/// The same, for who has something to put in order before the end.
///
/// # Errors
/// The exit code to end with: where nobody reads any more, as behind `| head`, the one that a shell gives for SIGPIPE;
/// for other reasons, a full disk say, 1, after saying so.
pub fn try_write(text: &[u8]) -> Result<(), u8> {
    let mut out = io::stdout().lock();
    let Err(error) = out.write_all(text).and_then(|()| out.flush()) else { return Ok(()) };
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Err(UNREAD);
    }
    // Standard error may be on the same disk.
    let _ = writeln!(io::stderr(), "standard output: {error}");
    Err(1)
}
