//! The three kinds of event in the one source, and the streams of each.

use tidewatch::prelude::*;

/// An event with the columns that most queries need.
#[derive(Event)]
#[event(tag = "type", rename_all = "lowercase")]
pub enum Happening {
    Bid(Bid),
    Auction(Auction),
    Person(Person),
}

/// An event with all of a bid.
#[derive(Event)]
#[event(tag = "type", rename_all = "lowercase")]
pub enum Bidding {
    Bid(WholeBid),
    Auction(Auction),
    Person(Person),
}

/// Somebody who joins the site.
#[derive(Event)]
pub struct Person {
    pub id: u64,
    pub name: Text,
    email_address: Ignored<Text>,
    credit_card: Ignored<Text>,
    pub city: Text,
    pub state: Text,
    #[event(time)]
    pub date_time: EventTime,
    extra: Ignored<Text>,
}

/// An item that is put up for sale.
#[derive(Event)]
pub struct Auction {
    pub id: u64,
    item_name: Ignored<Text>,
    description: Ignored<Text>,
    initial_bid: Ignored<u64>,
    reserve: Ignored<u64>,
    #[event(time)]
    pub date_time: EventTime,
    pub expires: EventTime,
    pub seller: u64,
    pub category: u64,
    extra: Ignored<Text>,
}

/// An offer for an item.
#[derive(Event)]
pub struct Bid {
    pub auction: u64,
    bidder: Ignored<u64>,
    pub price: u64,
    #[event(time)]
    pub date_time: EventTime,
    extra: Ignored<Text>,
}

/// The same with all that is known of it.
#[derive(Event, PartialEq, Eq, PartialOrd, Ord)]
pub struct WholeBid {
    pub auction: u64,
    pub bidder: u64,
    pub price: u64,
    #[event(time)]
    pub date_time: EventTime,
    pub extra: Text,
}

/// What happens on the site.
pub struct Site<'s>(Source<'s, Happening>);

impl<'s> Site<'s> {
    pub fn of(flow: &Flow<'s>) -> Result<Self> {
        flow.source("events").map(Site)
    }

    pub fn people(&self) -> Stream<'s, Person> {
        self.0.flat_map("people", |happening| match happening {
            Happening::Person(person) => Some(person),
            _ => None,
        })
    }

    pub fn auctions(&self) -> Stream<'s, Auction> {
        self.0.flat_map("auctions", |happening| match happening {
            Happening::Auction(auction) => Some(auction),
            _ => None,
        })
    }

    pub fn bids(&self) -> Stream<'s, Bid> {
        self.0.flat_map("bids", |happening| match happening {
            Happening::Bid(bid) => Some(bid),
            _ => None,
        })
    }
}

/// All of every bid.
pub fn whole_bids<'s>(flow: &Flow<'s>) -> Result<Stream<'s, WholeBid>> {
    let bids = flow.source("events")?.flat_map("bids", |bidding| match bidding {
        Bidding::Bid(bid) => Some(bid),
        _ => None,
    });
    Ok(bids)
}
