//! Query 6, average selling price by seller: what the last ten auctions of each seller sold for on average.

use tidewatch::prelude::*;

use super::events::Site;
use super::winning::{offers, open, winning};

/// The average price of a seller's last sales, without fractions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct AveragePrice {
    seller: u64,
    price: u64,
}

/// How many sales are averaged.
const LAST: usize = 10;

pub fn q6(flow: &Flow, _: &NoParams) -> Result<()> {
    let site = Site::of(flow)?;
    let auctions = open(&site, |auction| (auction.seller, auction.expires));
    let averages = offers(&site).with_collection("averages", |offers| {
        let sales = winning(offers, auctions);
        // The last ones are those that end last; of those that end together, those with the greatest identifiers.
        let by_seller = sales.map(|((auction, (seller, ends)), price)| (seller, (ends, auction, price)));
        let averages = by_seller.reduce(|_, sales, averages| {
            let last = &sales[sales.len().saturating_sub(LAST)..];
            let sum: u64 = last.iter().map(|((_, _, price), _)| price).sum();
            averages.push((sum / last.len() as u64, 1));
        });
        averages.map(|(seller, price)| AveragePrice { seller, price })
    });
    averages.sink("rows")
}
