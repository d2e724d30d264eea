use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::super::batch::{BATCH_BYTES, FetchEvent, Payload};
use super::super::statistics::PartitionReport;
use super::*;

/// How long any wait of a test may take.
const PATIENCE: Duration = Duration::from_secs(60);

const RECORD: [u8; 1000] = [b'x'; 1000];

/// As many records of a batch as fit into it, and one more.
const RECORDS_MAX: u64 = (BATCH_BYTES / RECORD.len()) as u64 + 1;

/// What the client of a test does, one step per look.
enum Step {
    Record(Vec<u8>),
    EndOfLog,
    /// Statistics come in; `i64` is the end of the log.
    Figures(i64),
    Panic,
}

/// Steps that the test adds, and then nothing.
#[derive(Clone, Default)]
struct Script {
    steps: Arc<Mutex<VecDeque<Step>>>,
    offset: i64,
    end: Option<i64>,
}

impl Script {
    fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Script { steps: Arc::new(Mutex::new(steps.into_iter().collect())), ..Script::default() }
    }

    fn add(&self, step: Step) {
        self.steps.lock().unwrap().push_back(step);
    }

    fn is_over(&self) -> bool {
        self.steps.lock().unwrap().is_empty()
    }
}

impl Feed for Script {
    fn next(&mut self, wait: Duration, take: impl FnOnce(FetchEvent<'_>)) -> Next {
        // Not held while the event is handed over, which may wait.
        let step = self.steps.lock().unwrap().pop_front();
        match step {
            Some(Step::Record(bytes)) => {
                take(FetchEvent::Record { partition: 0, offset: self.offset, payload: Payload::Whole(&bytes) });
                self.offset += 1;
            }
            Some(Step::EndOfLog) => take(FetchEvent::EndOfLog { partition: 0 }),
            Some(Step::Figures(end)) => {
                self.end = Some(end);
                return Next::Own;
            }
            Some(Step::Panic) => panic!("as the test wants it"),
            None => {
                thread::sleep(wait.min(Duration::from_millis(1)));
                return Next::Nothing;
            }
        }
        Next::Event
    }

    fn report(&mut self) -> Option<Report> {
        let partitions = |end| vec![PartitionReport { partition: 0, end, empty: true }];
        self.end.take().map(|end| Report::new(Instant::now(), partitions(end)))
    }
}

/// Records without end; counts those taken.
struct Endless(Arc<AtomicU64>);

impl Feed for Endless {
    fn next(&mut self, _: Duration, take: impl FnOnce(FetchEvent<'_>)) -> Next {
        let offset = self.0.fetch_add(1, Ordering::Relaxed).cast_signed();
        take(FetchEvent::Record { partition: 0, offset, payload: Payload::Whole(&RECORD) });
        Next::Event
    }

    fn report(&mut self) -> Option<Report> {
        None
    }
}

fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited too long");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The next batch as text, one word per event.
fn next_batch(fetch: &mut Fetch) -> String {
    let mut batch = FetchedBatch::default();
    wait_for(|| fetch.refill(&mut batch).unwrap().then_some(()));
    let mut said = Vec::new();
    while let Some(event) = batch.next() {
        said.push(match event {
            FetchEvent::Record { offset, payload, .. } => format!("{offset}:{}", payload.bytes().len()),
            FetchEvent::EndOfLog { .. } => "end".to_owned(),
            FetchEvent::Failed(error) => error.to_string(),
        });
    }
    said.join(" ")
}

/// The newest statistics: the end of the log, and whether all before them was handed over.
fn figures(fetch: &Fetch) -> Option<(i64, bool)> {
    fetch.figures().map(|figures| (figures.report.partitions[0].end, figures.drained))
}

#[test]
fn a_worker_that_does_not_read_holds_the_thread_back_and_nothing_is_lost() {
    let taken = Arc::new(AtomicU64::new(0));
    let mut fetch = Fetch::start("logins", Endless(Arc::clone(&taken))).unwrap();
    let count = || taken.load(Ordering::Relaxed);
    // The batches ahead, the one that waits for room, and the record that did not fit.
    let least = BATCHES_AHEAD as u64 * (RECORDS_MAX - 4);
    wait_for(|| (count() > least).then_some(()));
    thread::sleep(Duration::from_millis(50));
    let held = count();
    assert!(held <= (BATCHES_AHEAD as u64 + 1) * RECORDS_MAX + 1, "{held} records of {} bytes", RECORD.len());
    thread::sleep(Duration::from_millis(50));
    assert_eq!(count(), held, "the thread waits");

    let (mut batch, mut offset) = (FetchedBatch::default(), 0);
    for _ in 0..3 * BATCHES_AHEAD {
        wait_for(|| fetch.refill(&mut batch).unwrap().then_some(()));
        while let Some(event) = batch.next() {
            assert_eq!(event, FetchEvent::Record { partition: 0, offset, payload: Payload::Whole(&RECORD) });
            offset += 1;
        }
    }
    assert!(offset.cast_unsigned() > held);
}

#[test]
fn dropping_it_ends_the_thread_whether_it_waits_for_room_or_for_events() {
    let taken = Arc::new(AtomicU64::new(0));
    let fetch = Fetch::start("logins", Endless(Arc::clone(&taken))).unwrap();
    wait_for(|| (taken.load(Ordering::Relaxed) > BATCHES_AHEAD as u64 * (RECORDS_MAX - 4)).then_some(()));
    drop(fetch);
    assert_eq!(Arc::strong_count(&taken), 1, "the thread has ended, with its client");

    let script = Script::default();
    let fetch = Fetch::start("logins", script.clone()).unwrap();
    drop(fetch);
    assert_eq!(Arc::strong_count(&script.steps), 1);
}

#[test]
fn a_record_larger_than_a_batch_is_one_of_its_own() {
    let sizes = [10, 3 * BATCH_BYTES, 20];
    let mut fetch = Fetch::start("logins", Script::of(sizes.map(|size| Step::Record(vec![0; size])))).unwrap();
    assert_eq!(next_batch(&mut fetch), "0:10");
    assert_eq!(next_batch(&mut fetch), format!("1:{}", 3 * BATCH_BYTES));
    assert_eq!(next_batch(&mut fetch), "2:20");
}

#[test]
fn the_end_of_a_log_comes_after_its_records_and_figures_after_all_of_both() {
    let script = Script::of([
        Step::Record(vec![0; 10]),
        Step::Figures(1),
        Step::Record(vec![0; 20]),
        Step::EndOfLog,
        Step::Figures(2),
    ]);
    let mut fetch = Fetch::start("logins", script.clone()).unwrap();
    assert_eq!(wait_for(|| figures(&fetch)), (2, true), "the newest alone");
    let mut batch = FetchedBatch::default();
    assert!(fetch.refill(&mut batch).unwrap(), "what was before the figures is there already");
    fetch.emptied.send(batch).unwrap();
    script.add(Step::Record(vec![0; 30]));
    assert_eq!(next_batch(&mut fetch), "2:30");
    assert_eq!(figures(&fetch), None, "they are told once");
    script.add(Step::Figures(3));
    assert_eq!(wait_for(|| figures(&fetch)), (3, true), "also when nothing else comes");
}

#[test]
fn figures_overtake_records_that_wait_for_the_worker_and_say_that_there_may_be_more() {
    let full = |_| Step::Record(vec![0; BATCH_BYTES]);
    // Each record hands over the one before it, until there is no room.
    let steps = (0..3).map(full).chain([Step::Figures(7)]).chain((0..2 * BATCHES_AHEAD).map(full));
    let mut fetch = Fetch::start("logins", Script::of(steps)).unwrap();
    assert_eq!(wait_for(|| figures(&fetch)), (7, false));
    assert_eq!(next_batch(&mut fetch), format!("0:{BATCH_BYTES}"));
}

#[test]
fn figures_do_not_count_what_the_worker_has_no_room_for_as_handed_over() {
    let script = Script::default();
    let mut fetch = Fetch::start("logins", script.clone()).unwrap();
    for _ in 0..BATCHES_AHEAD {
        script.add(Step::Record(vec![0; BATCH_BYTES]));
    }
    script.add(Step::Record(vec![0; 10]));
    wait_for(|| script.is_over().then_some(()));
    script.add(Step::Figures(7));
    assert_eq!(wait_for(|| figures(&fetch)), (7, false));
    next_batch(&mut fetch);
    script.add(Step::Figures(8));
    assert_eq!(wait_for(|| figures(&fetch)).0, 8);
}

#[test]
fn small_batches_are_filled_further_while_the_worker_does_not_take_them() {
    let script = Script::default();
    let mut fetch = Fetch::start("logins", script.clone()).unwrap();
    let count = 5 * BATCHES_AHEAD;
    for _ in 0..count {
        script.add(Step::Record(vec![0; 10]));
        wait_for(|| script.is_over().then_some(()));
        // Long enough for the thread to look, find nothing, and hand over what it has.
        thread::sleep(Duration::from_millis(3));
    }
    let (mut batches, mut records) = (0, 0);
    while records < count {
        records += next_batch(&mut fetch).split(' ').count();
        batches += 1;
    }
    assert!(batches <= BATCHES_AHEAD + 1, "{batches} batches of {count} records");
}

#[test]
fn a_panic_of_the_thread_is_an_error_of_the_reader_after_what_came_before() {
    let script = Script::of([Step::Record(vec![0; BATCH_BYTES]), Step::Record(vec![0; 10]), Step::Panic]);
    let mut fetch = Fetch::start("logins", script).unwrap();
    assert_eq!(next_batch(&mut fetch), format!("0:{BATCH_BYTES}"));
    let error = wait_for(|| fetch.refill(&mut FetchedBatch::default()).err());
    assert_eq!(error.kind(), ErrorKind::Internal);
    let text = error.to_string();
    assert!(text.contains("source \"logins\" has ended") && text.contains("as the test wants it"), "{text}");
    assert!(fetch.refill(&mut FetchedBatch::default()).is_err(), "and it stays one");
}
