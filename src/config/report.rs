//! All faults of a configuration as one error.

use crate::error::Error;
use crate::settings::Fault;

/// One error for all `faults` of the configuration of `dataflow`: a heading, then a line for each, sorted by location.
pub fn report(dataflow: &str, faults: &[Fault]) -> Error {
    let mut sorted: Vec<&Fault> = faults.iter().collect();
    // What was written nowhere comes last.
    sorted.sort_by_key(|fault| (fault.location.is_none(), &fault.location, &fault.key, &fault.message));
    sorted.dedup();
    let plural = if sorted.len() == 1 { "" } else { "s" };
    let mut text = format!("{} fault{plural} in the configuration of dataflow {dataflow:?}:", sorted.len());
    for fault in sorted {
        text.push_str("\n  ");
        // A path or a parser's message may hold line ends, or worse.
        text.extend(fault.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }));
    }
    Error::config(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::settings::Location;

    #[test]
    fn faults_are_sorted_by_location_and_said_once() {
        let fault = |key: &str, location, message: &str| Fault { key: key.into(), location, message: message.into() };
        let file = |line| Some(Location::File("x.toml".into(), line));
        let error = report(
            "logins",
            &[
                fault("d", None, "missing"),
                fault("c", Some(Location::CommandLine("c".into())), "bad"),
                fault("b", file(10), "bad"),
                fault("a", file(9), "two\nlines"),
                fault("b", file(10), "bad"),
            ],
        );
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.to_string(),
            "4 faults in the configuration of dataflow \"logins\":\n  x.toml:9: a: two lines\n  x.toml:10: b: bad\n  \
             --set c: bad\n  d: missing"
        );
    }
}
