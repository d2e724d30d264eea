use differential_dataflow::input::InputSession;
use differential_dataflow::trace::implementations::spine_fueled::SpineBatch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::operator::Operator as _;
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::{Capability, Exchange, Probe};
use timely::dataflow::{InputHandleVec, ProbeHandle};
use timely::progress::frontier::Antichain;

use super::*;
use crate::telemetry::graph::{Frontier, Operator};

fn named<'a>(graph: &'a WorkerGraph, name: &str) -> &'a Operator {
    let names = || graph.operators.iter().map(|o| &o.name).collect::<Vec<_>>();
    graph
        .operators
        .iter()
        .find(|o| o.name == name)
        .unwrap_or_else(|| panic!("no operator {name:?} among {:?}", names()))
}

#[test]
fn records_are_exact_on_two_workers() {
    const RECORDS: u64 = 10_000;
    let metrics = Metrics::new("test");
    let shared = metrics.clone();
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let mut log = WorkerLog::register(worker, &shared);
        let mut input: InputHandleVec<u64, u64> = InputHandleVec::new();
        let probe = ProbeHandle::new();
        worker.dataflow_named::<u64, _, _>("flow", |scope| {
            let exchanged = input.to_stream(scope).exchange(|n| *n);
            let thirds = exchanged.clone().filter(|n| n % 3 == 0).probe_with(&probe);
            drop(thirds);
            exchanged.map(|n| n + 1).probe_with(&probe);
        });
        for n in 0..RECORDS {
            input.send(n);
            if n % 1000 == 999 {
                input.advance_to(n);
                worker.step();
            }
        }
        input.close();
        while !probe.done() {
            worker.step_or_park(None);
        }
        log.publish();
        log.publish();
    })
    .unwrap();
    guards.join().into_iter().for_each(|worker| worker.unwrap());

    let graphs = metrics.graph();
    assert_eq!(graphs.iter().map(|g| g.worker).collect::<Vec<_>>(), [0, 1]);
    let sum = |name, figure: fn(&Operator) -> u64| graphs.iter().map(|g| figure(named(g, name))).sum::<u64>();
    let both = 2 * RECORDS;
    assert_eq!(sum("Input", |o| o.records_out), both);
    assert_eq!((sum("Exchange", |o| o.records_in), sum("Exchange", |o| o.records_out)), (both, both));
    let thirds = 2 * RECORDS.div_ceil(3);
    assert_eq!((sum("Filter", |o| o.records_in), sum("Filter", |o| o.records_out)), (both, thirds));
    assert_eq!((sum("FlatMap", |o| o.records_in), sum("FlatMap", |o| o.records_out)), (both, both));
    for graph in &graphs {
        let map = named(graph, "FlatMap");
        assert!(map.activations > 0 && map.busy_seconds > 0.0, "{map:?}");
        assert_eq!(map.frontier, Frontier::Closed);
        assert!(named(graph, "flow").scope);
        let into_map = graph.channels.iter().find(|c| c.target.0 == Some(map.id)).unwrap();
        assert_eq!(into_map.source.0, Some(named(graph, "Exchange").id));
        assert_eq!(into_map.received, map.records_in);
    }
    let text = metrics.render().unwrap();
    let map = named(&graphs[1], "FlatMap").records_in;
    let series = "tidewatch_operator_records_in_total{operator=\"FlatMap\",worker=\"1\",dataflow=\"test\"}";
    assert!(text.contains(&format!("{series} {map}\n")), "publishing twice counts once");
    assert!(!text.contains("operator=\"flow\""), "scopes are left out");
}

#[test]
fn frontiers_follow_what_can_still_arrive() {
    timely::execute_directly(|worker| {
        let metrics = Metrics::new("test");
        let mut log = WorkerLog::register(worker, &metrics);
        let mut input: InputHandleVec<u64, u64> = InputHandleVec::new();
        worker.dataflow_named::<u64, _, _>("flow", |scope| {
            input
                .to_stream(scope)
                .map(|n| n)
                .unary_frontier::<CapacityContainerBuilder<Vec<u64>>, _, _, _>(
                    timely::dataflow::channels::pact::Pipeline,
                    "hold",
                    |_, _| {
                        // Holds back its first epoch until the input is at 100.
                        let mut held: Option<Capability<u64>> = None;
                        let mut first = true;
                        move |(input, frontier), _output| {
                            input.for_each(|time, _| {
                                if std::mem::take(&mut first) {
                                    held = time.retain_least(0);
                                }
                            });
                            if !frontier.less_than(&100) {
                                held = None;
                            }
                        }
                    },
                )
                .filter(|_| true)
                .probe();
        });
        let mut check = |worker: &mut Worker, map, hold, filter| {
            for _ in 0..20 {
                worker.step();
            }
            log.publish();
            let graph = &metrics.graph()[0];
            let found = ["FlatMap", "hold", "Filter"].map(|name| named(graph, name).frontier);
            assert_eq!(found, [map, hold, filter]);
        };
        input.advance_to(40);
        check(worker, Frontier::At(40), Frontier::At(40), Frontier::At(40));
        input.send(1);
        input.advance_to(60);
        check(worker, Frontier::At(60), Frontier::At(60), Frontier::At(40));
        input.advance_to(100);
        check(worker, Frontier::At(100), Frontier::At(100), Frontier::At(100));
        input.close();
        check(worker, Frontier::Closed, Frontier::Closed, Frontier::Closed);
    });
}

#[test]
fn an_arrangement_is_measured() {
    timely::execute_directly(|worker| {
        let metrics = Metrics::new("test");
        let mut log = WorkerLog::register(worker, &metrics);
        let mut input = InputSession::<u64, (u64, u64), isize>::new();
        let probe = ProbeHandle::new();
        let mut trace = worker.dataflow_named::<u64, _, _>("flow", |scope| {
            let arranged = input.to_collection(scope).arrange_by_key_named("logins");
            arranged.stream.probe_with(&probe);
            arranged.trace
        });
        trace.set_logical_compaction(Antichain::new().borrow());
        trace.set_physical_compaction(Antichain::new().borrow());
        let measured = trace.clone();
        log.measure_bytes("logins", move || arrangement_bytes(&measured));
        for round in 0..50 {
            for n in 0..200 {
                input.update((n % 40, round * 1000 + n), 1);
            }
            input.advance_to(round + 1);
            input.flush();
            while probe.less_than(input.time()) {
                worker.step();
            }
        }
        log.publish();
        let (mut records, mut batches) = (0, 0);
        trace.map_spans(|span| {
            if let Some(batch) = &span.inner {
                records += batch.len() as u64;
            }
            batches += 1;
        });
        let found = named(&metrics.graph()[0], "logins").arrangement.unwrap();
        assert_eq!((found.records, found.batches), (records, batches));
        assert_eq!(records, 10_000);
        let bytes = found.bytes.unwrap();
        assert!((10_000 * 8..10_000 * 120).contains(&bytes), "{bytes} bytes for 10 000 updates, 8 bytes of value each");
        let text = metrics.render().unwrap();
        let series = "tidewatch_arrangement_records{operator=\"logins\",worker=\"0\",dataflow=\"test\"}";
        assert!(text.contains(&format!("{series} 10000\n")), "{text}");
    });
}
