//! Query 3, local item suggestion: who sells items of one category in three states, and which.
//!
//! A person and an auction are joined whichever comes first, however long before the other.

use tidewatch::prelude::*;

use super::events::Site;

/// Somebody nearby who sells something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Seller {
    name: Text,
    city: Text,
    state: Text,
    auction: u64,
}

const CATEGORY: u64 = 10;
const STATES: [&str; 3] = ["OR", "ID", "CA"];

pub fn q3(flow: &Flow, _: &NoParams) -> Result<()> {
    let site = Site::of(flow)?;
    let auctions = site.auctions().filter("in-category", |auction| auction.category == CATEGORY);
    let auctions = auctions.map("by-seller", |auction| (auction.seller, auction.id)).into_collection();
    let people = site.people().filter("nearby", |person| STATES.contains(&person.state.as_str()));
    let people = people.map("by-id", |person| (person.id, (person.name, person.city, person.state)));
    let sellers = people.with_collection("sellers", |people| {
        people.join_map(auctions, |_, (name, city, state), auction| Seller {
            name: name.clone(),
            city: city.clone(),
            state: state.clone(),
            auction: *auction,
        })
    });
    sellers.sink("rows")
}
