//! The host file: the addresses of all processes, one `host:port` per line, in process order.
//!
//! Empty lines and what follows a `#` do not count. All faults are reported at once, with their lines.

use std::collections::BTreeMap;
use std::path::Path;

use super::PROCESSES_MAX;
use crate::error::{Error, Result};
use crate::settings::regular;

/// The greatest length of an address, in bytes: a host name of 253, a colon and a port.
const ADDRESS_BYTES_MAX: usize = 259;

/// The greatest number of faults that an error lists.
const FAULTS_MAX: usize = 20;

/// The largest host file that is read, in bytes.
pub const HOSTS_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a host file: the address of every process, in process order.
///
/// # Errors
/// Of kind `Config`: the file cannot be read, is not a regular file, is larger than [`HOSTS_BYTES_MAX`] or not UTF-8; or as for
/// [`parse`].
pub fn read(path: &Path) -> Result<Vec<String>> {
    let failed = || Error::config(format!("cannot read host file {path:?}"));
    let bytes = regular::read(path, HOSTS_BYTES_MAX).map_err(|why| failed().because(why))?;
    if bytes.len() as u64 > HOSTS_BYTES_MAX {
        return Err(failed().because(format!("it exceeds {HOSTS_BYTES_MAX} bytes")));
    }
    parse(&String::from_utf8(bytes).map_err(|_| failed().because("it is not UTF-8"))?)
}

/// Reads the text of a host file: the address of every process, in process order.
///
/// # Errors
/// Of kind `Config` and with line numbers: a line that is no `host:port`, an address twice, more than
/// [`PROCESSES_MAX`] addresses, or none.
pub fn parse(text: &str) -> Result<Vec<String>> {
    let mut addresses = Vec::new();
    let mut faults = Vec::new();
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line)) {
        let address = line.split('#').next().unwrap_or_default().trim();
        if address.is_empty() {
            continue;
        }
        if let Err(fault) = check_address(address) {
            faults.push(format!("line {number}: {fault}"));
        } else if let Some(first) = lines.get(&address.to_ascii_lowercase()) {
            faults.push(format!("line {number}: {address:?} is on line {first} already"));
        } else if addresses.len() == PROCESSES_MAX {
            faults.push(format!("line {number}: more than {PROCESSES_MAX} processes"));
            break;
        } else {
            lines.insert(address.to_ascii_lowercase(), number);
            addresses.push(address.to_string());
        }
    }
    if faults.is_empty() && addresses.is_empty() {
        faults.push("no addresses".to_string());
    }
    if faults.is_empty() {
        return Ok(addresses);
    }
    let more = faults.len().saturating_sub(FAULTS_MAX);
    faults.truncate(FAULTS_MAX);
    if more > 0 {
        faults.push(format!("{more} more"));
    }
    Err(Error::config(format!("the host file is at fault: {}", faults.join("; ")))
        .hint("one host:port per line, in process order; # starts a comment"))
}

/// Says what is wrong with an address that should be `host:port`, an IPv6 host being in brackets.
pub(super) fn check_address(address: &str) -> Result<(), String> {
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(format!("an address of {} bytes is longer than {ADDRESS_BYTES_MAX}", address.len()));
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(format!("{address:?} has no port, as in \"host:2101\""));
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) || !port.parse::<u16>().is_ok_and(|port| port != 0) {
        return Err(format!("{address:?}: the port {port:?} is not a number from 1 to 65535"));
    }
    let fits = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("{address:?}: the host {host:?} is not a name, an IPv4 or an [IPv6] address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_and_blank_lines_do_not_count() {
        let text = "# cluster\n\nnode-0.example:2101  # first\n  10.0.0.2:2101\r\n[::1]:2103\n";
        assert_eq!(parse(text).unwrap(), ["node-0.example:2101", "10.0.0.2:2101", "[::1]:2103"]);
    }

    #[test]
    fn all_faults_are_told_with_their_lines() {
        let text = "a:1\nb\nc:0\nA:1\nd:70000\n::1:5\n:80\nhttp://x:80\ne:+5\n";
        let error = parse(text).unwrap_err().to_string();
        for line in [2, 3, 4, 5, 6, 7, 8, 9] {
            assert!(error.contains(&format!("line {line}: ")), "line {line} in {error}");
        }
        assert!(error.contains("line 4: \"A:1\" is on line 1 already"), "{error}");
        assert!(!error.contains("line 1: "), "{error}");
        assert!(parse("# nobody\n").unwrap_err().to_string().contains("no addresses"));
    }

    #[test]
    fn the_limit_on_processes_holds_exactly() {
        let file = |n: usize| (0..n).map(|i| format!("host-{i}:2101\n")).collect::<String>();
        assert_eq!(parse(&file(PROCESSES_MAX)).unwrap().len(), PROCESSES_MAX);
        assert!(parse(&file(PROCESSES_MAX + 1)).unwrap_err().to_string().contains("line 1025: more than 1024"));
        let faults = parse(&"x\n".repeat(1000)).unwrap_err().to_string();
        assert!(faults.contains("980 more") && faults.len() < 4000, "{faults}");
    }

    #[test]
    fn the_file_is_a_regular_one_of_a_bounded_size() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hosts");
        let error = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            read(&file).unwrap_err().to_string()
        };
        let line = b"a:1\n".to_vec();
        let most = [line.clone(), vec![b'\n'; HOSTS_BYTES_MAX as usize - line.len()]].concat();
        assert!(error(&[most.clone(), line].concat()).contains("exceeds 1048576 bytes"));
        std::fs::write(&file, most).unwrap();
        assert_eq!(read(&file).unwrap(), ["a:1"]);
        assert!(error(b"\xff").ends_with("it is not UTF-8"));
        assert!(read(folder.path()).unwrap_err().to_string().contains("a folder, not a regular file"));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_accepted_reads_back(text in "[a-z0-9:.#\\[\\] \n]{0,200}|\\PC{0,200}") {
            if let Ok(addresses) = parse(&text) {
                prop_assert_eq!(parse(&addresses.join("\n")).unwrap(), addresses);
            }
        }
    }
}
