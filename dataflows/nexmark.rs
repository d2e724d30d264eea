//! NEXMark, the benchmark by which stream engines are compared: queries over the people, auctions and bids of an
//! auction site.
//!
//! The queries are those of Tucker, Tufte, Papadimos and Maier, "NEXMark – A Benchmark for Queries over Data Streams"
//! (OGI/OHSU, 2002, revised 2008), in the form that Apache Beam and Flink have made common, with windows of seconds.
//! Queries about time (q5, q7, q8) are windows on streams; queries for a view of everything so far (q3, q4, q6) are
//! differential collections that are kept up to date, whose rows are changes. Prices are whole hundredths.
//!
//! All nine read the source `events` and write the sink `rows`, so that one configuration does for all.

mod events;
mod q0;
mod q1;
mod q2;
mod q3;
mod q4;
mod q5;
mod q6;
mod q7;
mod q8;
mod winning;

use tidewatch::flow::Dataflow;
use tidewatch::prelude::*;

/// How long the windows of q5, q7 and q8 are.
const WINDOW: Duration = Duration::from_secs(10);

/// The nine dataflows.
pub fn dataflows() -> Vec<Dataflow> {
    let all = [
        dataflow("nexmark-q0", q0::q0).about("NEXMark q0: every bid, as it is"),
        dataflow("nexmark-q1", q1::q1).about("NEXMark q1: every bid, in another currency"),
        dataflow("nexmark-q2", q2::q2).about("NEXMark q2: the bids on some auctions"),
        dataflow("nexmark-q3", q3::q3).about("NEXMark q3: who sells in some states (changes)"),
        dataflow("nexmark-q4", q4::q4).about("NEXMark q4: the average price of each category (changes)"),
        dataflow("nexmark-q5", q5::q5).about("NEXMark q5: the auctions with most bids in 10 s, every 2 s"),
        dataflow("nexmark-q6", q6::q6)
            .about("NEXMark q6: the average price of each seller's last 10 auctions (changes)"),
        dataflow("nexmark-q7", q7::q7).about("NEXMark q7: the highest bid of every 10 s"),
        dataflow("nexmark-q8", q8::q8).about("NEXMark q8: people who joined and sold within the same 10 s"),
    ];
    all.map(|dataflow| dataflow.defaults(include_str!("../config/nexmark.toml"))).into()
}
