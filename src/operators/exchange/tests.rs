//! What every format must keep: the rows and their number, in a process and across processes.

use std::fmt::Debug;
use std::sync::mpsc;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use timely::bytes::arc::BytesMut;
use timely::container::ContainerBuilder;
use timely::dataflow::operators::{Input, Inspect, Probe};
use timely::{CommunicationConfig, Config, WorkerConfig};

use super::*;
use crate::record::Text;
use crate::time::EventTime;

/// What a process would receive of `rows`.
pub(super) fn message<F: Format>(rows: Vec<F::Row>) -> Vec<u8> {
    let batch: Batch<F> = rows.into();
    let (length, mut wire) = (batch.length_in_bytes(), Vec::new());
    batch.into_bytes(&mut wire);
    assert_eq!((wire.len(), length % 8), (length, 0), "timely sends what was announced, in words");
    wire
}

pub(super) fn received<F: Format>(wire: Vec<u8>) -> Batch<F> {
    Batch::from_bytes(BytesMut::from(wire).freeze())
}

/// A batch has its rows where it was made, and where it was received, also for a second reader.
pub(super) fn assert_survives<F: Format<Row: PartialEq + Debug>>(rows: &[F::Row]) {
    let here: Batch<F> = rows.to_vec().into();
    let there = received::<F>(message::<F>(rows.to_vec()));
    for mut batch in [here.clone(), there.clone(), here, there] {
        assert_eq!(batch.record_count(), rows.len() as i64);
        let drained: Vec<_> = batch.drain().map(Cow::into_owned).collect();
        assert_eq!(drained, rows);
    }
}

/// Rows reach the worker they are routed to, each once, on two workers in each way that timely connects them.
pub(super) fn assert_exchanged<F: Format<Row: PartialEq + Debug + Sync>>(
    rows: &[F::Row],
    route: impl Fn(&F::Row) -> u64 + Copy + Send + Sync + 'static,
) {
    for communication in [CommunicationConfig::Process(2), CommunicationConfig::ProcessBinary(2)] {
        let mut missing = rows.to_vec();
        for (worker, row) in exchange_with::<F>(communication, rows, route) {
            assert_eq!(route(&row) % 2, worker as u64, "{row:?}");
            let at = missing.iter().position(|sent| *sent == row).expect("nothing arrives that was not sent");
            missing.swap_remove(at);
        }
        assert!(missing.is_empty(), "did not arrive: {missing:?}");
    }
}

/// What two workers, which send every other row each, get.
fn exchange_with<F: Format<Row: Sync>>(
    communication: CommunicationConfig,
    rows: &[F::Row],
    route: impl Fn(&F::Row) -> u64 + Copy + Send + Sync + 'static,
) -> Vec<(usize, F::Row)> {
    let (to, from) = mpsc::channel();
    let config = Config { communication, worker: WorkerConfig::default() };
    let sent = rows.to_vec();
    let workers = timely::execute(config, move |worker| {
        let (to, index) = (to.clone(), worker.index());
        let (mut input, probe) = worker.dataflow(|scope| {
            let (input, stream) = scope.new_input::<Vec<F::Row>>();
            let arrived = exchange::<F>("to-owner", stream, route);
            let (probe, _) = arrived.inspect(move |row| to.send((index, row.clone())).unwrap()).probe();
            (input, probe)
        });
        for row in sent.iter().skip(index).step_by(2) {
            input.send(row.clone());
        }
        input.close();
        worker.step_while(|| !probe.done());
    });
    for worker in workers.unwrap().join() {
        worker.unwrap();
    }
    from.into_iter().collect()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    at: EventTime,
    key: Text,
    values: Vec<(u64, Option<String>)>,
}

impl KeyedRow for Row {
    type Key = Text;
    type Value = Vec<(u64, Option<String>)>;

    fn columns(&self) -> (EventTime, &Self::Key, &Self::Value) {
        (self.at, &self.key, &self.values)
    }

    fn of_columns(at: EventTime, key: Self::Key, values: Self::Value) -> Self {
        Row { at, key, values }
    }
}

fn row() -> impl Strategy<Value = Row> {
    let values = prop::collection::vec((any::<u64>(), any::<Option<String>>()), 0..4);
    (any::<i64>(), ".{0,40}", values).prop_map(|(at, key, values)| Row {
        at: EventTime::from_millis(at),
        key: key.into(),
        values,
    })
}

fn row_of(i: usize) -> Row {
    Row { at: EventTime::from_millis(i as i64), key: format!("k{}", i % 37).into(), values: vec![(i as u64, None)] }
}

proptest! {
    #[test]
    fn columns_are_what_was_sent(rows in prop::collection::vec(row(), 0..20)) {
        assert_survives::<Columns<Row>>(&rows);
    }
}

#[test]
fn rows_are_exchanged_as_columns() {
    let rows: Vec<_> = (0..2_000).map(row_of).collect();
    assert_exchanged::<Columns<Row>>(&rows, |row| row.values[0].0);
}

/// A value that cannot be written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Here;

impl Serialize for Here {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it was to be moved"))
    }
}

impl KeyedRow for Here {
    type Key = Here;
    type Value = ();

    fn columns(&self) -> (EventTime, &Here, &()) {
        (EventTime::MIN, self, &())
    }

    fn of_columns(_: EventTime, key: Here, (): ()) -> Self {
        key
    }
}

#[test]
fn within_a_process_rows_are_moved() {
    let arrived = exchange_with::<Columns<Here>>(CommunicationConfig::Process(2), &[Here, Here], |_| 1);
    assert_eq!(arrived, [(1, Here), (1, Here)]);
    assert!(std::panic::catch_unwind(|| message::<Columns<Here>>(vec![Here])).is_err(), "this row can be written");
}

#[test]
fn a_builder_cuts_batches_and_loses_no_row() {
    let mut builder: BatchBuilder<Columns<Row>> = BatchBuilder::default();
    let (mut batches, mut rows) = (0, Vec::new());
    let mut take = |batch: Option<&mut Batch<Columns<Row>>>| {
        let taken = batch.map(|batch| rows.extend(batch.drain().map(Cow::into_owned)));
        batches += usize::from(taken.is_some());
        taken.is_some()
    };
    for i in 0..1_000 {
        builder.push_into(Cow::Owned(row_of(i)));
        take(builder.extract());
    }
    while take(builder.finish()) {}
    assert_eq!(rows, (0..1_000).map(row_of).collect::<Vec<_>>());
    assert!(batches > 1, "{batches}");
}

#[test]
#[should_panic(expected = "a batch of 2 rows, with 6 bytes of keys and 6 of values, has 64 bytes")]
fn columns_that_were_cut_short_are_not_read() {
    let mut wire = message::<Columns<Row>>(vec![row_of(0), row_of(1)]);
    wire.truncate(wire.len() - 8);
    received::<Columns<Row>>(wire);
}

#[test]
#[should_panic(expected = "a process of the same build has written it")]
fn a_column_whose_ends_lie_outside_it_is_not_read() {
    let mut wire = message::<Columns<Row>>(vec![row_of(0)]);
    wire[4 * 8] = 200;
    received::<Columns<Row>>(wire).drain().for_each(drop);
}
