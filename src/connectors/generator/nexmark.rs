//! The profile `nexmark`: people, auctions and bids of an auction site, each of which can be generated without earlier
//! ones.
//!
//! The events are those of NEXMark (Tucker, Tufte, Papadimos, Maier: "NEXMark – A Benchmark for Queries over Data
//! Streams", OGI/OHSU, 2002, revised 2008). What the paper leaves open (proportions, hot keys, prices, lengths, sizes)
//! has the default values of its implementation in Apache Beam (`sdks/java/testing/nexmark`), which Flink's and others'
//! share. Two things are ours: texts are random letters, and sizes are those of the values, as there, to which JSON
//! adds names.
//!
//! The number of an event counts over all partitions, so the events are the same however many partitions share them.

mod ids;
mod prices;

use std::ops::Range;

use self::ids::{ACTIVE_AUCTIONS, AUCTIONS, CYCLE, EventKind, EventPosition};
use self::prices::Prices;
use super::GeneratorConfig;
use super::random::{Random, RandomPurpose};
use crate::time::millis;

const CATEGORIES: Range<u64> = 10..15;

const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] =
    ["Bend", "Boise", "Cheyenne", "Kent", "Los Angeles", "Phoenix", "Portland", "Redmond", "San Francisco", "Seattle"];

/// How many bytes the values of an event have on average, a number counting as eight.
const PERSON_BYTES: usize = 200;
const AUCTION_BYTES: usize = 500;
const BID_BYTES: usize = 100;

/// The longest text.
const LETTERS_MAX: usize = 600;
/// Where a text may begin among the letters.
const LETTERS_STARTS: usize = 2048;

/// Writes events by number.
#[derive(Debug)]
pub(super) struct Nexmark {
    config: GeneratorConfig,
    prices: Prices,
    /// Every text is a slice of these.
    letters: Vec<u8>,
}

/// The line being written, and the random numbers that decide its content.
struct LineWriter<'a> {
    random: Random,
    line: &'a mut Vec<u8>,
    letters: &'a [u8],
    /// The bytes of the values so far.
    size: usize,
}

impl Nexmark {
    /// `config` is in range.
    pub fn new(config: &GeneratorConfig) -> Self {
        let mut random = Random::new(config.seed, RandomPurpose::NexmarkLetters, 0, 0);
        let letters = (0..LETTERS_STARTS + LETTERS_MAX).map(|_| b'a' + random.below(26) as u8).collect();
        Nexmark { config: config.clone(), prices: Prices::new(), letters }
    }

    /// Replaces `line` by the record `index` of `partition`, without a line break.
    pub fn write(&self, partition: u32, index: u64, line: &mut Vec<u8>) {
        line.clear();
        let nth = u128::from(index) * u128::from(self.config.partitions) + u128::from(partition);
        // Beyond 2^64 the numbers wrap around; at the highest rate that is after centuries.
        let number = nth as u64;
        let random = Random::new(self.config.seed, RandomPurpose::NexmarkEvent, number, 0);
        let mut writer = LineWriter { random, line, letters: &self.letters, size: 0 };
        let malformed = self.config.malformed > 0.0 && writer.random.chance(self.config.malformed);
        let at = self.time(nth, &mut writer.random);
        let place = EventPosition::of(number);
        match place.kind {
            EventKind::Person => writer.person(place, at),
            EventKind::Auction => writer.auction(place, at, self.open_ms(nth), &self.prices),
            EventKind::Bid => writer.bid(place, at, &self.prices),
        }
        if malformed {
            // Cut short: no longer an object, and still a line.
            let keep = writer.random.between(1, line.len() as u64 - 1);
            line.truncate(keep as usize);
        }
    }

    /// How long an auction is open, on average: until this many others have begun.
    fn open_ms(&self, nth: u128) -> u64 {
        let later = nth + u128::from(ACTIVE_AUCTIONS * CYCLE / AUCTIONS);
        (self.config.time_of(later) - self.config.time_of(nth)).unsigned_abs()
    }

    fn time(&self, nth: u128, random: &mut Random) -> i64 {
        let at = self.config.time_of(nth);
        match millis(self.config.disorder) {
            0 => at,
            disorder => at.saturating_sub(random.between(0, disorder as u64) as i64).max(self.config.start.millis()),
        }
    }
}

impl LineWriter<'_> {
    fn person(&mut self, place: EventPosition, at: i64) {
        self.raw(b"{\"type\":\"person\",\"id\":");
        self.number(place.person());
        self.raw(b",\"name\":\"");
        self.text(3, 9);
        self.raw(b" ");
        self.text(3, 10);
        self.raw(b"\",\"email_address\":\"");
        self.text(3, 6);
        self.raw(b"@");
        self.text(3, 4);
        self.raw(b".com\",\"credit_card\":\"");
        for group in 0..4 {
            self.raw(if group > 0 { b" " } else { b"" });
            // The first digit of five is cut off, which keeps the zeros behind it.
            let digits = 10_000 + self.random.below(10_000);
            self.raw(&itoa::Buffer::new().format(digits).as_bytes()[1..]);
        }
        self.size += 16;
        self.raw(b"\",\"city\":\"");
        self.name(&CITIES);
        self.raw(b"\",\"state\":\"");
        self.name(&STATES);
        self.raw(b"\",\"date_time\":");
        self.time(at);
        self.rest(PERSON_BYTES);
    }

    fn auction(&mut self, place: EventPosition, at: i64, open_ms: u64, prices: &Prices) {
        self.raw(b"{\"type\":\"auction\",\"id\":");
        self.number(place.auction());
        self.raw(b",\"item_name\":\"");
        self.text(3, 19);
        self.raw(b"\",\"description\":\"");
        self.text(3, 99);
        let initial_bid = prices.next(&mut self.random);
        self.raw(b"\",\"initial_bid\":");
        self.number(initial_bid);
        self.raw(b",\"reserve\":");
        let above = prices.next(&mut self.random);
        self.number(initial_bid + above);
        self.raw(b",\"date_time\":");
        self.time(at);
        self.raw(b",\"expires\":");
        let expires = at + 1 + self.random.below((2 * open_ms).max(1)) as i64;
        self.time(expires);
        self.raw(b",\"seller\":");
        let seller = place.seller(&mut self.random);
        self.number(seller);
        self.raw(b",\"category\":");
        let category = self.random.between(CATEGORIES.start, CATEGORIES.end - 1);
        self.number(category);
        self.rest(AUCTION_BYTES);
    }

    fn bid(&mut self, place: EventPosition, at: i64, prices: &Prices) {
        let (auction, bidder) = (place.bid_on(&mut self.random), place.bidder(&mut self.random));
        let price = prices.next(&mut self.random);
        self.raw(b"{\"type\":\"bid\",\"auction\":");
        self.number(auction);
        self.raw(b",\"bidder\":");
        self.number(bidder);
        self.raw(b",\"price\":");
        self.number(price);
        self.raw(b",\"date_time\":");
        self.time(at);
        self.rest(BID_BYTES);
    }

    /// The last field, which pads the values to `mean` bytes on average, and the end.
    fn rest(&mut self, mean: usize) {
        let more = mean.saturating_sub(self.size);
        let spread = more / 5;
        self.raw(b",\"extra\":\"");
        self.text(more - spread, more + spread);
        self.raw(b"\"}");
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        self.line.extend_from_slice(bytes);
    }

    #[inline]
    fn number(&mut self, number: u64) {
        self.raw(itoa::Buffer::new().format(number).as_bytes());
        self.size += size_of::<u64>();
    }

    #[inline]
    fn time(&mut self, at: i64) {
        self.raw(itoa::Buffer::new().format(at).as_bytes());
        self.size += size_of::<i64>();
    }

    fn name(&mut self, names: &[&str]) {
        let name = self.random.pick(names);
        self.raw(name.as_bytes());
        self.size += name.len();
    }

    /// From `least` to `most` letters.
    #[inline]
    fn text(&mut self, least: usize, most: usize) {
        let length = self.random.between(least as u64, most as u64) as usize;
        let start = self.random.below(LETTERS_STARTS as u64) as usize;
        self.raw(&self.letters[start..start + length]);
        self.size += length;
    }
}

#[cfg(test)]
mod tests;
