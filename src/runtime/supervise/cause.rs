//! What ended a cluster: picks, among all observed troubles, the one that the others follow from.
//!
//! A process that lost another one is never the cause, as long as anything else was seen.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// The exit code of a process that did not finish in its grace period.
const EXIT_FORCED: i32 = 130;

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A process failed and said why.
    Failed { code: u8, message: String },
    /// A process exited without a report.
    Exited { process: usize, pid: u32, status: ExitStatus },
    /// A process runs and does not report.
    Silent { process: usize, pid: u32, lease: Duration },
    /// A process lost its connection to another one.
    Lost { process: usize, pid: u32, message: String },
}

/// The first that is not a consequence, or else the first.
pub(super) fn first(troubles: Vec<Trouble>) -> Option<Trouble> {
    let (consequences, causes): (Vec<_>, Vec<_>) =
        troubles.into_iter().partition(|trouble| matches!(trouble, Trouble::Lost { .. }));
    causes.into_iter().chain(consequences).next()
}

impl Trouble {
    /// Whether the sinks took too long to finish.
    pub(super) fn is_forced(&self) -> bool {
        matches!(self, Trouble::Exited { status, .. } if status.code() == Some(EXIT_FORCED))
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Trouble::Failed { code, message } => {
                Error::new(ErrorKind::of_exit_code(code).unwrap_or(ErrorKind::Internal), message)
            }
            Trouble::Exited { process, pid, status } => {
                let kind = status.code().and_then(|code| ErrorKind::of_exit_code(u8::try_from(code).ok()?));
                let how = match (status.signal(), status.code()) {
                    (Some(signal), _) => format!("was killed by signal {signal}"),
                    (None, Some(code)) => format!("exited with code {code} before the dataflow had finished"),
                    (None, None) => "ended".to_owned(),
                };
                let message = format!("process {process} (pid {pid}) {how}; the cluster has stopped");
                Error::new(kind.unwrap_or(ErrorKind::Mesh), message)
            }
            Trouble::Silent { process, pid, lease } => {
                let message = format!(
                    "process {process} (pid {pid}) has not reported for {} s; the cluster has stopped",
                    lease.as_secs()
                );
                Error::new(ErrorKind::Mesh, message).hint("was it stopped, or is the machine out of memory?")
            }
            Trouble::Lost { process, pid, message } => {
                Error::new(ErrorKind::Mesh, format!("process {process} (pid {pid}): {message}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(process: usize, wait: i32) -> Trouble {
        Trouble::Exited { process, pid: 100 + process as u32, status: ExitStatus::from_raw(wait) }
    }

    fn lost(process: usize) -> Trouble {
        Trouble::Lost { process, pid: 100 + process as u32, message: "lost process 1".to_owned() }
    }

    fn said(troubles: Vec<Trouble>) -> (u8, String) {
        let error = first(troubles).unwrap().into_error();
        (error.kind().exit_code(), error.to_string())
    }

    #[test]
    fn who_lost_another_is_not_the_cause() {
        let killed = "process 1 (pid 101) was killed by signal 9; the cluster has stopped".to_owned();
        assert_eq!(said(vec![lost(0), lost(2), exited(1, 9)]), (6, killed));
        let failed = Trouble::Failed { code: 4, message: "sink \"out\" is full".to_owned() };
        assert_eq!(said(vec![lost(0), failed.clone(), exited(2, 9)]), (4, "sink \"out\" is full".to_owned()));
        assert_eq!(said(vec![lost(0), lost(2)]), (6, "process 0 (pid 100): lost process 1".to_owned()));
        assert_eq!(first(vec![]), None);
    }

    #[test]
    fn exit_codes_of_ours_are_passed_on_and_others_are_losses() {
        let code = |code: i32| said(vec![exited(0, code << 8)]);
        assert_eq!([3, 4, 5, 6, 70].map(|own| code(own).0), [3, 4, 5, 6, 70]);
        assert_eq!([0, 1, 101, 255].map(|other| code(other).0), [6, 6, 6, 6]);
        assert!(code(101).1.contains("exited with code 101 before the dataflow had finished"), "{}", code(101).1);
        assert!(exited(0, 130 << 8).is_forced() && !exited(0, 9).is_forced());
    }
}
