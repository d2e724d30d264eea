//! Query 0, which is not in the paper: every bid as it is. What is measured is the way in and out.

use tidewatch::prelude::*;

use super::events::whole_bids;

pub fn q0(flow: &Flow, _: &NoParams) -> Result<()> {
    whole_bids(flow)?.sink("rows")
}
