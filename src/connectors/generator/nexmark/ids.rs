//! The person, auction or bid that an event is, and the ones that it refers to.
//!
//! Identifiers count up from [`FIRST_ID`]. A reference goes to a hot one most of the time, otherwise to any of the
//! newest ones, or to one of the next few that do not exist yet, as if two events had changed places.

use super::super::random::Random;

/// Events after which the kinds repeat: first a person, then the auctions, then the bids.
pub(super) const CYCLE: u64 = 50;
pub(super) const AUCTIONS: u64 = 3;

/// The identifier of the first person and of the first auction.
pub(super) const FIRST_ID: u64 = 1000;

/// One in this many references is not to a hot one.
const HOT_AUCTION_RATIO: u64 = 2;
const HOT_SELLER_RATIO: u64 = 4;
const HOT_BIDDER_RATIO: u64 = 4;
/// One in this many can be hot: the first, or of bidders the second, so that hot bidders are not hot sellers.
const HOT_EVERY: u64 = 100;
const HOT_BIDDER: u64 = 1;

/// The newest people that take part.
const ACTIVE_PEOPLE: u64 = 1000;
/// Auctions that are open at a time, on average, and the newest that bids are for.
pub(super) const ACTIVE_AUCTIONS: u64 = 100;
/// How many of those that do not exist yet may be referred to.
const LEAD: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EventKind {
    Person,
    Auction,
    Bid,
}

/// The kind of an event, and the newest person and auction when it happens, itself included, counted from 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventPosition {
    pub kind: EventKind,
    person: u64,
    auction: u64,
}

impl EventPosition {
    /// The event with that number.
    #[inline]
    pub fn of(number: u64) -> EventPosition {
        let (cycle, step) = (number / CYCLE, number % CYCLE);
        let kind = match step {
            0 => EventKind::Person,
            1..=AUCTIONS => EventKind::Auction,
            _ => EventKind::Bid,
        };
        EventPosition { kind, person: cycle, auction: (cycle * AUCTIONS + step.min(AUCTIONS)).saturating_sub(1) }
    }

    /// The identifier of this person.
    pub fn person(self) -> u64 {
        FIRST_ID + self.person
    }

    /// The identifier of this auction.
    pub fn auction(self) -> u64 {
        FIRST_ID + self.auction
    }

    /// The seller of this auction.
    pub fn seller(self, random: &mut Random) -> u64 {
        FIRST_ID + refer(random, self.person, HOT_SELLER_RATIO, 0, ACTIVE_PEOPLE - 1)
    }

    /// The bidder of this bid.
    #[inline]
    pub fn bidder(self, random: &mut Random) -> u64 {
        FIRST_ID + refer(random, self.person, HOT_BIDDER_RATIO, HOT_BIDDER, ACTIVE_PEOPLE - 1)
    }

    /// The auction that this bid is for.
    #[inline]
    pub fn bid_on(self, random: &mut Random) -> u64 {
        FIRST_ID + refer(random, self.auction, HOT_AUCTION_RATIO, 0, ACTIVE_AUCTIONS)
    }
}

/// The hot one, or any from `back` before `newest` on.
#[inline]
fn refer(random: &mut Random, newest: u64, hot_ratio: u64, hot: u64, back: u64) -> u64 {
    if random.below(hot_ratio) > 0 {
        newest - newest % HOT_EVERY + hot
    } else {
        random.between(newest.saturating_sub(back), newest + LEAD)
    }
}
