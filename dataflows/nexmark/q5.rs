//! Query 5, hot items: every two seconds, the auctions with the most bids in the last ten.

use tidewatch::prelude::*;

use super::WINDOW;
use super::events::Site;

/// An auction with a greatest number of bids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct HotItem {
    window_start: EventTime,
    auction: u64,
    bids: u64,
}

const EVERY: Duration = Duration::from_secs(2);

pub fn q5(flow: &Flow, _: &NoParams) -> Result<()> {
    let bids = Site::of(flow)?.bids();
    let counts =
        bids.key_by(|bid| bid.auction).window("bids-per-auction", Hopping::of(WINDOW).every(EVERY)).aggregate(Count);
    // A row is an event in the last millisecond of its window, and the windows end every two seconds: those that end
    // together are in one window of two seconds.
    let hottest = counts
        .key_by(|_| ())
        .window("hottest", Tumbling::of(EVERY))
        .aggregate(MaxBy::of(|counted: &Window<u64, u64>| counted.value));
    hottest
        .flat_map("hot-items", |hottest| hottest.value)
        .map("row", |counted| HotItem { window_start: counted.start, auction: counted.key, bids: counted.value })
        .sink("rows")
}
