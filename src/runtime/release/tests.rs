use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::codec::line::Line;
use crate::connectors::capture::Capture;
use crate::connectors::script::Script;
use crate::connectors::sink::{Delivery, SinkConnector, SinkContext, SinkWriter};
use crate::error::Result;
use crate::flow::launch::run;
use crate::flow::{Environment, Flow, NoParams, dataflow};
use crate::settings::Node;
use crate::telemetry::{Distribution, Metrics};
use crate::time::SystemClock;

const MS: Duration = Duration::from_millis(1);

fn reads() -> (Reads, SourceMetrics) {
    let metrics = Metrics::new("flow").source("in", 0);
    (Reads::new(metrics.clone()), metrics)
}

fn milliseconds(metrics: &SourceMetrics, q: f64) -> u128 {
    metrics.latency().quantile(q).unwrap().as_millis()
}

#[test]
fn a_record_is_under_way_until_its_epoch_is_released() {
    let (reads, metrics) = reads();
    let start = Instant::now();
    reads.read(100, start, 900);
    reads.read(100, start + 60 * MS, 90);
    reads.read(200, start + 100 * MS, 10);
    reads.released(100, start + 101 * MS);
    assert_eq!(metrics.latency().count(), 0, "the sinks are not done with epoch 100");
    reads.released(101, start + 110 * MS);
    assert_eq!(metrics.latency().count(), 990);
    assert_eq!((milliseconds(&metrics, 0.05), milliseconds(&metrics, 0.5)), (50, 110));
    reads.released(Epoch::MAX, start + 500 * MS);
    assert_eq!((metrics.latency().count(), milliseconds(&metrics, 1.0)), (1000, 400));
}

#[test]
fn what_is_remembered_does_not_grow_with_the_number_of_polls() {
    let (reads, metrics) = reads();
    let start = Instant::now();
    for poll in 0..100_000 {
        reads.read(100, start + poll * Duration::from_nanos(100), 1);
    }
    assert_eq!(reads.0.borrow().batches.len(), 100, "10 ms of reading");
    reads.read(200, start + 10 * MS, 1);
    assert_eq!(reads.0.borrow().batches.len(), 101, "another epoch is released at another time");
    reads.released(Epoch::MAX, start + 50 * MS);
    assert_eq!((metrics.latency().count(), milliseconds(&metrics, 1.0)), (100_001, 50));
    assert_eq!(milliseconds(&metrics, 0.0), 40);
}

/// A sink whose rows are durable only `after` they were all given.
struct Slow {
    after: Duration,
}

struct SlowWriter {
    after: Duration,
    sealed: VecDeque<(Instant, Epoch)>,
    durable: Option<Epoch>,
}

impl SinkConnector for Slow {
    fn open(&self, _: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(SlowWriter { after: self.after, sealed: VecDeque::new(), durable: None }))
    }

    fn delivery(&self) -> Delivery {
        Delivery::None
    }
}

impl SinkWriter for SlowWriter {
    fn write(&mut self, _: Option<&[u8]>, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.sealed.push_back((Instant::now(), epoch));
        Ok(())
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        while let Some((sealed, epoch)) = self.sealed.front()
            && sealed.elapsed() >= self.after
        {
            self.durable = Some(*epoch);
            self.sealed.pop_front();
        }
        Ok(self.durable)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The latency of one source with two sinks.
fn latency(workers: usize, second: Arc<dyn SinkConnector>) -> Distribution {
    fn copies(flow: &Flow, _: &NoParams) -> Result<()> {
        let lines = flow.source::<Line>("lines")?;
        lines.sink("first")?;
        lines.sink("second")
    }
    let tick = Duration::from_millis(10);
    let mut environment = Environment::with_clock("copies", Node::empty(), Arc::new(SystemClock), tick);
    let partitions = vec![vec!["a"; 50], vec!["b"; 30], vec!["c"; 20]];
    environment.sources.insert("lines".to_owned(), Arc::new(Script::of_records(partitions)));
    environment.sinks.insert("first".to_owned(), Arc::new(Capture::new()));
    environment.sinks.insert("second".to_owned(), second);
    let metrics = environment.metrics.clone();
    run(&dataflow("copies", copies), environment, workers, None).unwrap();
    metrics.latency().remove("lines").unwrap()
}

#[test]
fn the_slowest_sink_decides_and_no_record_is_forgotten() {
    for workers in [1, 2] {
        let quick = latency(workers, Arc::new(Capture::new()));
        let slow = latency(workers, Arc::new(Slow { after: 400 * MS }));
        assert_eq!((quick.count(), slow.count()), (100, 100), "{workers} workers");
        assert!(quick.quantile(0.0).unwrap() < 400 * MS, "{:?}", quick.quantile(0.0));
        assert!(slow.quantile(0.0).unwrap() >= 399 * MS, "{:?}", slow.quantile(0.0));
    }
}
