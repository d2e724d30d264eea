//! The writer of one shard in a run with a state directory: rows are committed in transactions, on a thread of the
//! shard's own.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::committing::Committing;
use super::rows::Rows;
use super::transactions::Transactions;
use crate::connectors::sink::SinkWriter;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Epoch;

/// How many bytes of rows a transaction has, besides the last epoch in it.
const TRANSACTION_BYTES: usize = 16 * 1024 * 1024;

/// The rows of an epoch.
type Sealed = (Epoch, Rows);

/// Collects the rows of epochs for the thread that commits them.
pub(super) struct ExactWriter {
    sink: String,
    committed_before: Option<Epoch>,
    rows: Rows,
    committing: Committing<Sealed>,
}

impl ExactWriter {
    /// Writes what comes after what `transactions` finds committed, at most every `interval`.
    pub(super) fn new(sink: &str, transactions: Transactions, interval: Duration) -> Result<Self> {
        let committed_before = transactions.committed();
        let work = move |sealed: &Receiver<Sealed>, committed: &dyn Fn(Epoch)| {
            commit_all(transactions, interval, sealed, committed)
        };
        let committing = Committing::start(sink, "kafka-committer", work)?;
        Ok(ExactWriter { sink: sink.to_owned(), committed_before, rows: Rows::default(), committing })
    }
}

impl SinkWriter for ExactWriter {
    fn write(&mut self, key: Option<&[u8]>, row: &[u8]) -> Result<()> {
        self.rows.push(key, row);
        Ok(())
    }

    fn committed(&self) -> Option<Epoch> {
        self.committed_before
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        if self.rows.is_empty() {
            self.committing.sealed(epoch);
        } else {
            self.committing.tell((epoch, std::mem::take(&mut self.rows)));
            self.committing.submitted(epoch);
        }
        Ok(())
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        self.committing.durable()
    }

    fn finish(&mut self) -> Result<()> {
        if !self.rows.is_empty() {
            let message = format!("sink {:?} was finished with rows that are not sealed", self.sink);
            return Err(Error::new(ErrorKind::Internal, message));
        }
        self.committing.end()
    }
}

/// Commits epochs until no more can come.
fn commit_all(
    mut transactions: Transactions,
    interval: Duration,
    sealed: &Receiver<Sealed>,
    committed: &dyn Fn(Epoch),
) -> Result<()> {
    let mut began: Option<Instant> = None;
    while let Ok(first) = sealed.recv() {
        let due = began.map_or_else(Instant::now, |began| began + interval);
        let batch = gather(first, due, sealed);
        began = Some(Instant::now());
        transactions.commit(&batch)?;
        if let Some((epoch, _)) = batch.last() {
            committed(*epoch);
        }
    }
    Ok(())
}

/// Everything that arrives until a transaction is due, or is large.
fn gather(first: Sealed, due: Instant, sealed: &Receiver<Sealed>) -> Vec<Sealed> {
    let mut bytes = first.1.bytes();
    let mut batch = vec![first];
    while bytes < TRANSACTION_BYTES {
        match sealed.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(next) => {
                bytes += next.1.bytes();
                batch.push(next);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn sealed(epoch: Epoch, bytes: usize) -> Sealed {
        let mut rows = Rows::default();
        rows.push(None, &vec![b'x'; bytes]);
        (epoch, rows)
    }

    #[test]
    fn a_transaction_takes_what_waits_and_no_more_than_its_limit() {
        let (tell, told) = channel();
        for (epoch, bytes) in [(2, 10), (3, TRANSACTION_BYTES), (4, 10)] {
            tell.send(sealed(epoch, bytes)).unwrap();
        }
        let epochs = |batch: Vec<Sealed>| batch.into_iter().map(|(epoch, _)| epoch).collect::<Vec<_>>();
        assert_eq!(epochs(gather(sealed(1, 10), Instant::now(), &told)), [1, 2, 3]);
        drop(tell);
        let far = Instant::now() + Duration::from_secs(60);
        assert_eq!(epochs(gather(told.recv().unwrap(), far, &told)), [4], "nobody can tell more");
    }
}
