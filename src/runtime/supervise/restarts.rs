//! Whether a cluster that has ended starts again, and when.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// The wait before the first restart in a row; it doubles with each further one.
const WAIT_MIN: Duration = Duration::from_millis(100);

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a generation must have run for its end to be the first in a row.
const LONG: Duration = Duration::from_secs(60);

/// Restarts in a row after which a failure that a process explained counts as permanent. Lost processes are restarted
/// for ever.
const EXPLAINED_MAX: u32 = 10;

/// The same for a failure of the program or of the dataflow's own code, which the same records will cause again.
const INTERNAL_MAX: u32 = 3;

/// Counts the restarts of a cluster.
#[derive(Debug)]
pub struct Restarts {
    in_a_row: u32,
    began: Instant,
}

impl Default for Restarts {
    /// No restarts yet; the first generation starts now.
    fn default() -> Self {
        Restarts { in_a_row: 0, began: Instant::now() }
    }
}

impl Restarts {
    /// A generation has ended with `error`: returns how long to wait before the next one.
    ///
    /// # Errors
    /// `error` itself, if another generation would not help.
    pub fn after(&mut self, error: Error) -> Result<Duration> {
        let ran = self.began.elapsed();
        self.decide(error, ran).inspect(|wait| self.began = Instant::now() + *wait)
    }

    fn decide(&mut self, error: Error, ran: Duration) -> Result<Duration> {
        if ran >= LONG {
            self.in_a_row = 0;
        }
        let max = match error.kind() {
            ErrorKind::Config => 0,
            ErrorKind::Internal => INTERNAL_MAX,
            ErrorKind::Mesh => u32::MAX,
            ErrorKind::Source | ErrorKind::Sink | ErrorKind::State => EXPLAINED_MAX,
        };
        if self.in_a_row >= max {
            return Err(error);
        }
        let wait = WAIT_MIN.saturating_mul(1 << self.in_a_row.min(16)).min(WAIT_MAX);
        self.in_a_row = self.in_a_row.saturating_add(1);
        tracing::warn!(%error, in_a_row = self.in_a_row, ?wait, "the cluster starts again");
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "why")
    }

    #[test]
    fn waits_double_up_to_a_limit_and_start_over_after_a_long_run() {
        let mut restarts = Restarts::default();
        let mut waits = (0..12).map(|_| restarts.decide(error(ErrorKind::Mesh), Duration::ZERO).unwrap().as_millis());
        assert_eq!(waits.by_ref().take(4).collect::<Vec<_>>(), [100, 200, 400, 800]);
        assert_eq!(waits.last(), Some(30_000));
        assert_eq!(restarts.decide(error(ErrorKind::Mesh), LONG).unwrap(), WAIT_MIN);
    }

    #[test]
    fn what_a_restart_does_not_help_ends_the_cluster() {
        for (kind, max) in
            [(ErrorKind::Config, 0), (ErrorKind::Internal, INTERNAL_MAX), (ErrorKind::Sink, EXPLAINED_MAX)]
        {
            let mut restarts = Restarts::default();
            let granted = (0..100).take_while(|_| restarts.decide(error(kind), Duration::ZERO).is_ok()).count();
            assert_eq!(granted, max as usize, "{kind:?}");
            assert_eq!(restarts.decide(error(kind), Duration::ZERO).unwrap_err().kind(), kind);
        }
    }
}
