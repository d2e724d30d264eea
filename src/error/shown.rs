//! Names from outside, as people may see them.
//!
//! A file, a topic or a header can have any bytes in its name, and whoever may write where Tidewatch reads chooses them: a line
//! end would begin a log line of its own, an escape sequence reaches the terminal of whoever reads the log.

use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Shows a name on one line, without characters that a terminal acts on: those are escaped as in Rust (`\n`, `\u{1b}`), as are
/// backslashes, and bytes that are not UTF-8 as `\xE9`. What was printable stays as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl<'a> From<&'a Path> for Shown<'a> {
    fn from(path: &'a Path) -> Self {
        Shown(path.as_os_str().as_bytes())
    }
}

impl<'a> From<&'a str> for Shown<'a> {
    fn from(name: &'a str) -> Self {
        Shown(name.as_bytes())
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\'' | '"' => f.write_char(c)?,
                    // An accent belongs to the letter before it.
                    _ if !c.is_ascii() && c.is_alphanumeric() => f.write_char(c)?,
                    _ => write!(f, "{}", c.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_terminal_acts_on_is_escaped() {
        for (name, expected) in [
            (&b"/var/log/it's \"a\" log.1"[..], "/var/log/it's \"a\" log.1"),
            ("caf\u{e9} \u{65e5}\u{672c}".as_bytes(), "caf\u{e9} \u{65e5}\u{672c}"),
            (b"caf\xe9.log", "caf\\xE9.log"),
            (b"a\nb\rc\td", "a\\nb\\rc\\td"),
            (b"\x1b[31m\x07\x7f\0", "\\u{1b}[31m\\u{7}\\u{7f}\\0"),
            ("\u{9b}2J \u{202e}gol".as_bytes(), "\\u{9b}2J \\u{202e}gol"),
            (b"a\\nb", "a\\\\nb"),
            (b"", ""),
        ] {
            assert_eq!(Shown(name).to_string(), expected);
        }
    }
}
