//! The winning bid of each auction, which q4 and q6 have in common: the highest price bid while the auction was open.
//!
//! Of the bids of an auction only the highest counts, and none is ever retracted. So a bid's price is not part of the
//! row but its *difference*: two bids on an auction add up to the higher one, and differential keeps one instead of
//! both.

use std::fmt::Debug;
use std::hash::Hash;

use tidewatch::flow::differential_dataflow::VecCollection;
use tidewatch::flow::differential_dataflow::difference::{IsZero, Multiply, Semigroup};
use tidewatch::flow::differential_dataflow::operators::CountTotal;
use tidewatch::prelude::*;
use tidewatch::time::Epoch;

use super::events::{Auction, Site};

/// The highest of the prices that were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Highest(u64);

impl IsZero for Highest {
    fn is_zero(&self) -> bool {
        false
    }
}

impl Semigroup for Highest {
    #[inline]
    fn plus_equals(&mut self, other: &Self) {
        self.0 = self.0.max(other.0);
    }
}

/// A bid on an auction with a multiplicity above one is as high as on one.
impl Multiply<isize> for Highest {
    type Output = Highest;

    #[inline]
    fn multiply(self, _: &isize) -> Self {
        self
    }
}

type Collection<'s, D> = VecCollection<'s, Epoch, D, isize>;

/// A bid by its auction: its time and price.
type Offer = (u64, (EventTime, u64));

/// An auction by its identifier: when it opens and ends, and the columns that a query needs.
type Open<A> = (u64, (EventTime, EventTime, A));

/// The bids, for [`winning`].
pub fn offers<'s>(site: &Site<'s>) -> Stream<'s, Offer> {
    site.bids().map("offers", |bid| (bid.auction, (bid.date_time, bid.price)))
}

/// The auctions, for [`winning`].
pub fn open<'s, A: Record + Ord + Debug>(site: &Site<'s>, of: fn(&Auction) -> A) -> Collection<'s, Open<A>> {
    let open = move |auction: Auction| (auction.id, (auction.date_time, auction.expires, of(&auction)));
    site.auctions().map("open", open).into_collection()
}

/// Every auction with a valid bid, with the columns that a query needs, and its highest price.
///
/// A view has no current time, so it does not wait for an auction to end: until then the highest bid so far counts.
pub fn winning<'s, A>(offers: Collection<'s, Offer>, open: Collection<'s, Open<A>>) -> Collection<'s, ((u64, A), u64)>
where
    A: Record + Ord + Hash + Debug,
{
    let offers = offers.explode(|(auction, (at, price))| Some(((auction, at), Highest(price))));
    let valid = offers.join_core(open.arrange_by_key(), |id, at, (from, until, auction)| {
        (from..=until).contains(&at).then(|| (*id, auction.clone()))
    });
    // The "count" of an auction is what its differences add up to.
    valid.count_total().map(|(auction, Highest(price))| (auction, price))
}
