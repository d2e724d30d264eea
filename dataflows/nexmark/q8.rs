//! Query 8, monitor new users: who joined the site and put something up for sale within the same ten seconds.

use tidewatch::prelude::*;

use super::WINDOW;
use super::events::{Person, Site};

/// Somebody who is new and sells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NewSeller {
    window_start: EventTime,
    person: u64,
    name: Text,
}

pub fn q8(flow: &Flow, _: &NoParams) -> Result<()> {
    let site = Site::of(flow)?;
    let people_and_sellers = site
        .people()
        .key_by(|person| person.id)
        .cogroup(site.auctions().key_by(|auction| auction.seller))
        .window("people-and-sellers", Tumbling::of(WINDOW))
        .aggregate(Sides(Max::of(|person: &Person| person.name.clone()), Count));
    let new_sellers = people_and_sellers.flat_map("new-sellers", |window| match window.value {
        (Some(name), Some(_)) => Some(NewSeller { window_start: window.start, person: window.key, name }),
        _ => None,
    });
    new_sellers.sink("rows")
}
