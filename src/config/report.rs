//! All faults of a configuration as one error.

use crate::error::Error;
use crate::settings::Fault;

/// The most faults that one report shows; the others are counted.
pub const FAULTS_SHOWN_MAX: usize = 100;

/// One error for all `faults` of the configuration of `dataflow`: a heading, then a line for each, sorted by location, up to
/// [`FAULTS_SHOWN_MAX`].
pub fn report(dataflow: &str, faults: &[Fault]) -> Error {
    let mut sorted: Vec<&Fault> = faults.iter().collect();
    // What was written nowhere comes last.
    sorted.sort_by_key(|fault| (fault.location.is_none(), &fault.location, &fault.key, &fault.message));
    sorted.dedup();
    let plural = if sorted.len() == 1 { "" } else { "s" };
    let mut text = format!("{} fault{plural} in the configuration of dataflow {dataflow:?}:", sorted.len());
    for fault in sorted.iter().take(FAULTS_SHOWN_MAX) {
        text.push_str("\n  ");
        // A path or a parser's message may hold line ends, or worse.
        text.extend(fault.to_string().replace(HINT, "; hint: ").chars().map(|c| if c.is_control() { ' ' } else { c }));
    }
    if let Some(more) = sorted.len().checked_sub(FAULTS_SHOWN_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("\n  and {more} more"));
    }
    Error::config(text)
}

/// What an error puts before its hint, which has a line of its own there.
const HINT: &str = "\n  hint: ";

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

    #[test]
    fn a_hint_stays_on_the_line_of_its_fault() {
        let message = Error::config("it is there twice").hint("leave one out").to_string();
        let error = report("logins", &[Fault { key: "a".into(), location: None, message }]);
        assert!(error.to_string().ends_with("\n  a: it is there twice; hint: leave one out"), "{error}");
    }

    #[test]
    fn only_so_many_are_shown_and_the_others_counted() {
        let faults = |n: usize| -> Vec<Fault> {
            (0..n).map(|i| Fault { key: format!("k{i}"), location: None, message: "bad".into() }).collect()
        };
        let all = report("logins", &faults(FAULTS_SHOWN_MAX)).to_string();
        assert_eq!(all.lines().count(), 1 + FAULTS_SHOWN_MAX);
        assert!(!all.contains("more"));
        let most = report("logins", &faults(FAULTS_SHOWN_MAX + 7)).to_string();
        assert_eq!(most.lines().count(), 2 + FAULTS_SHOWN_MAX);
        assert!(most.starts_with("107 faults in") && most.ends_with("\n  and 7 more"), "{most}");
    }
}
