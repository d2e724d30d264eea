//! Two streams side by side, against the windows of each.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use tidewatch::prelude::*;
use tidewatch::testing::oracle::{self, assert_lawful};
use tidewatch::testing::{TestRun, difference, item};

#[derive(Event)]
struct Order {
    #[event(time)]
    at: EventTime,
    user: u8,
}

#[derive(Event)]
struct Payment {
    #[event(time)]
    at: EventTime,
    payer: u8,
    amount: u32,
}

const WINDOW: Duration = Duration::from_millis(40);
/// The two sources may be out of order by different amounts, so one watermark is ahead of the other.
const OUT_OF_ORDER: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(25)];

fn amounts() -> impl Aggregate<Payment, Output = u64> {
    Sum::of(|payment: &Payment| payment.amount)
}

fn run(orders: &[Vec<Order>], payments: &[Vec<Payment>]) -> TestRun {
    let flow = dataflow("both", |flow: &Flow, _: &NoParams| {
        let orders = flow.source::<Order>("orders")?;
        let payments = flow.source::<Payment>("payments")?;
        orders
            .key_by(|order| order.user)
            .cogroup(payments.key_by(|payment| payment.payer))
            .window("per-user", Tumbling::of(WINDOW))
            .aggregate(Sides(Count, amounts()))
            .sink("rows")
    });
    let [first, second] = OUT_OF_ORDER.map(|time| time.as_millis());
    TestRun::new(flow)
        .set(format!("sources.orders.out_of_order=\"{first}ms\""))
        .set(format!("sources.payments.out_of_order=\"{second}ms\""))
        .partitions("orders", orders.iter().map(|orders| orders.iter().map(item)))
        .partitions("payments", payments.iter().map(|payments| payments.iter().map(item)))
        .allow_late()
}

/// Times that advance with some disorder, keys and numbers.
fn parts() -> impl Strategy<Value = Vec<(EventTime, u8, u32)>> {
    let part = |(i, (jitter, key, number)): (usize, (i64, u8, u32))| {
        (EventTime::from_millis(i as i64 * 5 + jitter), key, number)
    };
    prop::collection::vec((-30i64..30, 0u8..4, 0u32..100), 0..40)
        .prop_map(move |parts| parts.into_iter().enumerate().map(part).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn each_side_is_what_its_own_windows_say(
        orders in prop::collection::vec(parts(), 2),
        payments in prop::collection::vec(parts(), 1),
        workers in 1usize..4,
        batch in 1usize..20,
    ) {
        let order = |(at, user, _): (EventTime, u8, u32)| Order { at, user };
        let payment = |(at, payer, amount): (EventTime, u8, u32)| Payment { at, payer, amount };
        let orders: Vec<Vec<_>> = orders.into_iter().map(|parts| parts.into_iter().map(order).collect()).collect();
        let payments: Vec<Vec<_>> = payments.into_iter().map(|parts| parts.into_iter().map(payment).collect()).collect();

        let (left, late_left) = oracle::on_time(&orders, OUT_OF_ORDER[0]);
        let (right, late_right) = oracle::on_time(&payments, OUT_OF_ORDER[1]);
        let mut expected: BTreeMap<(i64, u8), (Option<u64>, Option<u64>)> = BTreeMap::new();
        for window in oracle::windows(left, Tumbling::of(WINDOW), |order| order.user, &Count) {
            expected.entry((window.start.millis(), window.key)).or_default().0 = Some(window.value);
        }
        for window in oracle::windows(right, Tumbling::of(WINDOW), |payment| payment.payer, &amounts()) {
            expected.entry((window.start.millis(), window.key)).or_default().1 = Some(window.value);
        }
        let rows = expected.into_iter().map(|((start, key), value)| {
            json!({ "key": key, "start": start, "end": start + WINDOW.as_millis() as i64, "value": value })
        });

        let results = run(&orders, &payments).workers(workers).batch(batch).run().unwrap();
        let difference = difference(rows, results.json("rows"));
        prop_assert!(difference.is_none(), "{}", difference.unwrap());
        prop_assert_eq!(results.dead_letters().len(), late_left.len() + late_right.len());
    }
}

#[test]
fn aggregates_of_both_sides_are_lawful() {
    use tidewatch::operators::aggregate::Side;
    let at = EventTime::from_millis(1);
    let left = |user: u8| Side::Left(Order { at, user });
    let right = |amount: u32| Side::Right(Payment { at, payer: 0, amount });
    let largest = MaxBy::of(|payment: &(u32, u8)| payment.0);
    assert_lawful(&Sides(Count, amounts()), &[left(1), right(5), left(2), right(7), left(3)]);
    assert_lawful(&Sides(Count, amounts()), &[right(5), right(7)]);
    assert_lawful(&largest, &[(5, 1), (7, 3), (7, 2), (1, 9), (7, 2)]);
}

#[test]
fn who_has_no_record_on_one_side_says_none_of_it() {
    let at = EventTime::from_millis;
    let orders = vec![Order { at: at(1), user: 1 }, Order { at: at(2), user: 2 }];
    let payments = vec![Payment { at: at(3), payer: 2, amount: 9 }, Payment { at: at(4), payer: 3, amount: 8 }];
    let results = run(&[orders], &[payments]).everywhere().unwrap();
    type Values = (Option<u64>, Option<u64>);
    let rows: Vec<Window<u8, Values>> = results.rows("rows");
    let values: Vec<_> = rows.iter().map(|row| (row.key, row.value)).collect();
    assert_eq!(values, [(1, (Some(1), None)), (2, (Some(1), Some(9))), (3, (None, Some(8)))]);
}
