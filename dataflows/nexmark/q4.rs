//! Query 4, average price for a category: of all auctions, what they sold for on average.

use tidewatch::flow::differential_dataflow::operators::CountTotal;
use tidewatch::prelude::*;

use super::events::Site;
use super::winning::{offers, open, winning};

/// The average price of a category's sales, without fractions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct AveragePrice {
    category: u64,
    price: u64,
}

pub fn q4(flow: &Flow, _: &NoParams) -> Result<()> {
    let site = Site::of(flow)?;
    let auctions = open(&site, |auction| auction.category);
    let averages = offers(&site).with_collection("averages", |offers| {
        // Sum and number are differences, too: a change of price changes the sum, and the sales need not be kept.
        let sales =
            winning(offers, auctions).explode(|((_, category), price)| Some((category, (price as isize, 1isize))));
        sales.count_total().map(|(category, (sum, sales))| AveragePrice { category, price: (sum / sales) as u64 })
    });
    averages.sink("rows")
}
