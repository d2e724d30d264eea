use super::*;
use crate::cli::bench::summary::tests::{results, run};

#[test]
fn ratios_are_of_medians_and_say_when_they_may_be_chance() {
    let a = results(vec![(1, 1, vec![run(1.0, 1.0), run(1.1, 1.0), run(1.2, 1.0)]), (1, 2, vec![run(1.0, 1.0)])]);
    let b = results(vec![(1, 1, vec![run(0.55, 2.0), run(0.5, 2.0), run(1.15, 2.0)]), (4, 1, vec![run(1.0, 1.0)])]);
    let text = render(&a, &b);
    let row = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(row("events/s").contains("909") && row("events/s").contains("1.8 k"), "{text}");
    assert!(row("events/s").contains("2.000") && row("events/s").contains("within the spread"), "{text}");
    assert!(row("CPU").contains("2.000") && !row("CPU").contains("within"), "{text}");
    assert!(!text.contains("p99"), "{text}");
    assert!(text.contains("only in A: 1 × 2\nonly in B: 4 × 1\n"), "{text}");
    assert!(!text.contains("not the same"), "{text}");
}

#[test]
fn what_else_differs_is_named() {
    let a = results(vec![(1, 1, vec![run(1.0, 1.0)])]);
    let mut b = a.clone();
    b.build = "0-1".into();
    b.rate = Some(5_000);
    b.set = vec!["engine.tick=10ms".into()];
    let text = render(&a, &b);
    for line in ["build: 0-0 and 0-1", "rate: as fast as possible and 5000/s", "settings: [] and [engine.tick=10ms]"] {
        assert!(text.contains(&format!("not the same: {line}\n")), "{text}");
    }
}

#[test]
fn results_are_read_as_they_were_written() {
    let written = results(vec![(1, 2, vec![run(1.0, 0.25)])]);
    let text = serde_json::to_string(&written).unwrap();
    assert_eq!(serde_json::from_str::<BenchResults>(&text).unwrap(), written);
    assert!(text.contains("\"processes\":1,\"workers\":2,\"runs\":[{\"seconds\":1.0"), "{text}");
}
