//! Query 7, highest bid: the highest bids of every ten seconds.

use tidewatch::prelude::*;

use super::WINDOW;
use super::events::{WholeBid, whole_bids};

pub fn q7(flow: &Flow, _: &NoParams) -> Result<()> {
    let highest = whole_bids(flow)?
        .key_by(|_| ())
        .window("highest", Tumbling::of(WINDOW))
        .aggregate(MaxBy::of(|bid: &WholeBid| bid.price));
    highest.flat_map("highest-bids", |highest| highest.value).sink("rows")
}
