use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::super::{Profile, START_DEFAULT};
use super::*;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Event {
    Person {
        id: u64,
        name: String,
        email_address: String,
        credit_card: String,
        city: String,
        state: String,
        date_time: i64,
        extra: String,
    },
    Auction {
        id: u64,
        item_name: String,
        description: String,
        initial_bid: u64,
        reserve: u64,
        date_time: i64,
        expires: i64,
        seller: u64,
        category: u64,
        extra: String,
    },
    Bid {
        auction: u64,
        bidder: u64,
        price: u64,
        date_time: i64,
        extra: String,
    },
}

fn config() -> GeneratorConfig {
    GeneratorConfig::of(Profile::Nexmark)
}

/// The first `count` lines of partition `partition`.
fn lines(config: &GeneratorConfig, partition: u32, count: u64) -> Vec<Vec<u8>> {
    let nexmark = Nexmark::new(config);
    let line = |index| {
        let mut line = b"left over".to_vec();
        nexmark.write(partition, index, &mut line);
        line
    };
    (0..count).map(line).collect()
}

fn events(count: u64) -> Vec<Event> {
    lines(&config(), 0, count).iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn events_never_change() {
    let digest = lines(&config(), 0, 1_000).iter().fold(Sha256::new(), |digest, line| digest.chain_update(line));
    let head = u64::from_be_bytes(*digest.finalize().first_chunk().unwrap());
    assert_eq!(head, 0x21c6_4d75_9a4b_41f9, "{head:#x}");
}

#[test]
fn there_are_46_bids_and_3_auctions_to_a_person() {
    let mut counts = [0; 3];
    for (i, event) in events(10_000).into_iter().enumerate() {
        let at = START_DEFAULT.millis() + i as i64 / 10;
        match event {
            Event::Person { id, name, email_address, credit_card, city, state, date_time, .. } => {
                assert_eq!((id, date_time), (FIRST + counts[0], at));
                assert!(name.contains(' ') && email_address.ends_with(".com") && credit_card.len() == 19);
                assert!(CITIES.contains(&city.as_str()) && STATES.contains(&state.as_str()));
                counts[0] += 1;
            }
            Event::Auction { id, initial_bid, reserve, date_time, expires, category, .. } => {
                assert_eq!((id, date_time), (FIRST + counts[1], at));
                assert!(initial_bid < reserve && CATEGORIES.contains(&category));
                // 100 auctions take 166 ms at this rate.
                assert!((1..=334).contains(&(expires - at)), "open for {} ms", expires - at);
                counts[1] += 1;
            }
            Event::Bid { price, date_time, .. } => {
                assert_eq!(date_time, at);
                assert!((100..=100_000_000).contains(&price));
                counts[2] += 1;
            }
        }
    }
    assert_eq!(counts, [200, 600, 9_200]);
}

const FIRST: u64 = ids::FIRST_ID;

#[test]
fn references_are_to_hot_ones_or_to_new_ones() {
    let (mut people, mut auctions) = (0, 0);
    let (mut bids, mut hot_bids, mut hot_bidders, mut sales, mut hot_sales, mut ahead) = (0.0, 0.0, 0.0, 0.0, 0.0, 0);
    for event in events(100_000) {
        let hot = |newest: u64| FIRST + newest - newest % 100;
        match event {
            Event::Person { .. } => people += 1,
            Event::Auction { seller, .. } => {
                auctions += 1;
                sales += 1.0;
                hot_sales += f64::from(seller == hot(people - 1));
                assert!(
                    seller == hot(people - 1) || (people.saturating_sub(1000)..people + 10).contains(&(seller - FIRST))
                );
            }
            Event::Bid { auction, bidder, .. } => {
                bids += 1.0;
                hot_bids += f64::from(auction == hot(auctions - 1));
                hot_bidders += f64::from(bidder == hot(people - 1) + 1);
                ahead += u64::from(auction >= FIRST + auctions);
                let newest: u64 = auctions - 1;
                assert!(
                    auction == hot(newest) || (newest.saturating_sub(100)..auctions + 10).contains(&(auction - FIRST))
                );
            }
        }
    }
    let shares = [hot_bids / bids, hot_bidders / bids, hot_sales / sales];
    // One in two, three in four and three in four, and the few that are hot by chance.
    assert!((0.5..0.51).contains(&shares[0]) && shares[1..].iter().all(|s| (0.74..0.76).contains(s)), "{shares:?}");
    assert!((3_000..6_000).contains(&ahead), "{ahead} bids on auctions to come");
}

#[test]
fn values_have_the_sizes_of_the_benchmark() {
    let mut sizes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let lines = lines(&config(), 0, 50_000);
    for line in &lines {
        let (kind, size) = match serde_json::from_slice(line).unwrap() {
            Event::Person { name, email_address, credit_card, city, state, extra, .. } => {
                // As in Beam, whose sizes leave out what separates the parts of a name.
                ("person", 16 + [name, email_address, credit_card, city, state, extra].concat().len())
            }
            Event::Auction { item_name, description, extra, .. } => {
                ("auction", 56 + [item_name, description, extra].concat().len())
            }
            Event::Bid { extra, .. } => ("bid", 32 + extra.len()),
        };
        let (count, bytes) = sizes.entry(kind).or_default();
        (*count, *bytes) = (*count + 1, *bytes + size);
    }
    let mean = |kind: &str| sizes[kind].1 / sizes[kind].0;
    let means = (mean("person"), mean("auction"), mean("bid"));
    assert!(
        (195..=215).contains(&means.0) && (490..=510).contains(&means.1) && (98..=102).contains(&means.2),
        "{means:?}"
    );
    let line = lines.iter().map(Vec::len).sum::<usize>() / lines.len();
    assert!((180..=220).contains(&line), "{line} bytes per line");
}

#[test]
fn partitions_share_the_same_events() {
    let five = GeneratorConfig { partitions: 5, ..config() };
    let mut shared: Vec<_> = (0..5).flat_map(|partition| lines(&five, partition, 200)).collect();
    let mut alone = lines(&config(), 0, 1_000);
    shared.sort();
    alone.sort();
    assert_eq!(shared, alone);
    assert_ne!(lines(&config(), 0, 50), lines(&GeneratorConfig { seed: 43, ..config() }, 0, 50));
}

#[test]
fn disorder_and_malformed_lines_are_what_was_asked_for() {
    let config = GeneratorConfig { disorder: Duration::from_millis(500), malformed: 0.1, ..config() };
    let (mut malformed, mut newest, mut behind) = (0, i64::MIN, 0);
    for line in lines(&config, 0, 10_000) {
        let at = match serde_json::from_slice(&line) {
            Ok(Event::Person { date_time, .. } | Event::Auction { date_time, .. } | Event::Bid { date_time, .. }) => {
                date_time
            }
            Err(_) => {
                malformed += 1;
                assert!(!line.is_empty());
                continue;
            }
        };
        newest = newest.max(at);
        behind = behind.max(newest - at);
    }
    assert!((900..1_100).contains(&malformed), "{malformed} malformed");
    assert!((400..=500).contains(&behind), "{behind} ms behind");
}
