//! Query 1, currency conversion: every bid with its price in euros instead of dollars.

use tidewatch::prelude::*;

use super::events::{WholeBid, whole_bids};

/// Thousandths of a euro for a dollar: the rate of the paper.
const EUROS_PER_1000_DOLLARS: u64 = 908;

pub fn q1(flow: &Flow, _: &NoParams) -> Result<()> {
    let euros = |dollars: u64| dollars * EUROS_PER_1000_DOLLARS / 1000;
    whole_bids(flow)?.map("in-euros", move |bid| WholeBid { price: euros(bid.price), ..bid }).sink("rows")
}
