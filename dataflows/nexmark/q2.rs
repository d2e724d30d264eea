//! Query 2, selection: the bids on one auction in 123.

use tidewatch::prelude::*;

use super::events::Site;

/// A price offered.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Offer {
    auction: u64,
    price: u64,
}

/// Which auctions are selected: those whose number it divides.
const EVERY: u64 = 123;

pub fn q2(flow: &Flow, _: &NoParams) -> Result<()> {
    let selected = Site::of(flow)?.bids().filter("selected", |bid| bid.auction.is_multiple_of(EVERY));
    selected.map("offer", |bid| Offer { auction: bid.auction, price: bid.price }).sink("rows")
}
