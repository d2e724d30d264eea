//! Query 0, which is not in the paper: every bid unchanged. It measures input and output.

use tidewatch::prelude::*;

use super::events::whole_bids;

pub fn q0(flow: &Flow, _: &NoParams) -> Result<()> {
    whole_bids(flow)?.sink("rows")
}
