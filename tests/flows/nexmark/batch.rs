//! The results of NEXMark's queries, computed over all events at once with loops and sorts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Clone, Deserialize, Serialize)]
pub struct Person {
    id: u64,
    name: String,
    city: String,
    state: String,
    date_time: i64,
}

#[derive(Clone, Deserialize, Serialize)]
pub struct Auction {
    id: u64,
    date_time: i64,
    expires: i64,
    seller: u64,
    category: u64,
}

#[derive(Clone, Deserialize, Serialize)]
pub struct Bid {
    auction: u64,
    bidder: u64,
    price: u64,
    date_time: i64,
    extra: String,
}

/// Everything that happened.
#[derive(Default)]
pub struct Events {
    pub people: Vec<Person>,
    pub auctions: Vec<Auction>,
    pub bids: Vec<Bid>,
    /// Lines that are not events.
    pub malformed: usize,
}

impl Events {
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a String>) -> Self {
        let mut events = Events::default();
        for line in lines {
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                events.malformed += 1;
                continue;
            };
            match event["type"].as_str().unwrap() {
                "person" => events.people.push(serde_json::from_value(event).unwrap()),
                "auction" => events.auctions.push(serde_json::from_value(event).unwrap()),
                "bid" => events.bids.push(serde_json::from_value(event).unwrap()),
                other => panic!("a {other}"),
            }
        }
        events
    }

    /// The rows of a query, or for q3, q4 and q6 those of its collection.
    pub fn answer(&self, query: usize) -> Vec<Value> {
        match query {
            0 => self.bids.iter().map(|bid| json!(bid)).collect(),
            1 => self.bids.iter().map(|bid| json!(Bid { price: bid.price * 908 / 1000, ..bid.clone() })).collect(),
            2 => {
                let selected = self.bids.iter().filter(|bid| bid.auction % 123 == 0);
                selected.map(|bid| json!({ "auction": bid.auction, "price": bid.price })).collect()
            }
            3 => self.local_items(),
            4 => {
                let sales =
                    self.auctions.iter().filter_map(|auction| Some((auction.category, self.sold_for(auction)?)));
                averages(sales, "category")
            }
            5 => self.hot_items(),
            6 => {
                let mut by_end: Vec<&Auction> = self.auctions.iter().collect();
                by_end.sort_by_key(|auction| (auction.expires, auction.id));
                let mut sales: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
                for auction in by_end {
                    if let Some(price) = self.sold_for(auction) {
                        sales.entry(auction.seller).or_default().push(price);
                    }
                }
                let last = sales
                    .into_iter()
                    .flat_map(|(seller, prices)| prices.into_iter().rev().take(10).map(move |price| (seller, price)));
                averages(last, "seller")
            }
            7 => {
                let ends = |bid: &Bid| bid.date_time - bid.date_time % 10_000;
                let beaten = |bid: &Bid| self.bids.iter().any(|b| ends(b) == ends(bid) && b.price > bid.price);
                self.bids.iter().filter(|bid| !beaten(bid)).map(|bid| json!(bid)).collect()
            }
            8 => self.new_sellers(),
            other => panic!("there is no query {other}"),
        }
    }

    fn local_items(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for person in self.people.iter().filter(|person| matches!(person.state.as_str(), "OR" | "ID" | "CA")) {
            for auction in self.auctions.iter().filter(|auction| auction.seller == person.id && auction.category == 10)
            {
                let Person { name, city, state, .. } = person;
                rows.push(json!({ "name": name, "city": city, "state": state, "auction": auction.id }));
            }
        }
        rows
    }

    /// The highest price bid while the auction was open.
    fn sold_for(&self, auction: &Auction) -> Option<u64> {
        let valid = self.bids.iter().filter(|bid| {
            bid.auction == auction.id && bid.date_time >= auction.date_time && bid.date_time <= auction.expires
        });
        valid.map(|bid| bid.price).max()
    }

    fn hot_items(&self) -> Vec<Value> {
        let times = self.bids.iter().map(|bid| bid.date_time);
        let (first, last) = (times.clone().min().unwrap(), times.max().unwrap());
        let mut rows = Vec::new();
        for start in (first - first % 2_000 - 8_000..=last).step_by(2_000) {
            let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
            for bid in self.bids.iter().filter(|bid| (start..start + 10_000).contains(&bid.date_time)) {
                *counts.entry(bid.auction).or_default() += 1;
            }
            let most = counts.values().max().copied();
            let hottest = counts.into_iter().filter(|(_, bids)| Some(*bids) == most);
            rows.extend(
                hottest.map(|(auction, bids)| json!({ "window_start": start, "auction": auction, "bids": bids })),
            );
        }
        rows
    }

    fn new_sellers(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for person in &self.people {
            let start = person.date_time - person.date_time % 10_000;
            let sells = |auction: &Auction| auction.seller == person.id && auction.date_time - start < 10_000;
            if self.auctions.iter().any(|auction| sells(auction) && auction.date_time >= start) {
                rows.push(json!({ "window_start": start, "person": person.id, "name": person.name }));
            }
        }
        rows
    }
}

/// The mean price of each group, rounded down.
fn averages(sales: impl IntoIterator<Item = (u64, u64)>, group: &str) -> Vec<Value> {
    let mut groups: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    sales.into_iter().for_each(|(key, price)| groups.entry(key).or_default().push(price));
    let mean = |prices: Vec<u64>| prices.iter().sum::<u64>() / prices.len() as u64;
    groups.into_iter().map(|(key, prices)| json!({ group: key, "price": mean(prices) })).collect()
}
