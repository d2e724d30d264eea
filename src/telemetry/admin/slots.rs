//! The connections that are served at once: their number is bounded, and a new one never waits for an old one.
//!
//! Clients that open connections and send nothing take up slots, but cannot keep a health check out: the oldest
//! connection that has sent no request is closed, or if all have sent one, the oldest of all.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::{AbortHandle, JoinSet};

/// The connections that are open, oldest first. Dropping it closes them.
pub(super) struct ConnectionSlots {
    most: usize,
    taken: VecDeque<ConnectionSlot>,
    tasks: JoinSet<()>,
}

struct ConnectionSlot {
    task: AbortHandle,
    /// Whether a complete request has arrived.
    asked: Arc<AtomicBool>,
}

impl ConnectionSlots {
    /// At most `most` connections, and at least one.
    pub(super) fn new(most: usize) -> Self {
        ConnectionSlots { most: most.max(1), taken: VecDeque::new(), tasks: JoinSet::new() }
    }

    /// Serves one more connection at once. `connection` gets the flag to set when a request has arrived.
    pub(super) fn serve<F>(&mut self, connection: impl FnOnce(Arc<AtomicBool>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.tasks.try_join_next().is_some() {}
        self.taken.retain(|place| !place.task.is_finished());
        while self.taken.len() >= self.most {
            let silent = self.taken.iter().position(|place| !place.asked.load(Ordering::Relaxed));
            if let Some(place) = self.taken.remove(silent.unwrap_or(0)) {
                place.task.abort();
            }
        }
        let asked = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(connection(Arc::clone(&asked)));
        self.taken.push_back(ConnectionSlot { task, asked });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Records its number when it is closed.
    struct CloseRecorder(usize, Arc<Mutex<Vec<usize>>>);

    impl Drop for CloseRecorder {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    /// The connections that are closed when seven come for three slots and none ends; `asked` says which have sent a
    /// request.
    fn closed(asked: fn(usize) -> bool) -> Vec<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let closed: Arc<Mutex<Vec<usize>>> = Arc::default();
        let mark = asked;
        runtime.block_on(async {
            let mut slots = ConnectionSlots::new(3);
            for number in 0..7 {
                let connection = CloseRecorder(number, Arc::clone(&closed));
                slots.serve(|asked| async move {
                    let _connection = connection;
                    asked.store(mark(number), Ordering::Relaxed);
                    std::future::pending::<()>().await;
                });
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            }
            closed.lock().unwrap().clone()
        })
    }

    #[test]
    fn the_oldest_that_asked_for_nothing_makes_room() {
        assert_eq!(closed(|number| [0, 2].contains(&number)), [1, 3, 4, 5]);
        assert_eq!(closed(|_| false), [0, 1, 2, 3]);
        // Clients that send a request and do not read the answer keep nobody out either.
        assert_eq!(closed(|_| true), [0, 1, 2, 3]);
    }
}
