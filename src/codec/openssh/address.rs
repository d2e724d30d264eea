//! Where a login came from: an IP address nearly always, but sshd also writes names and `UNKNOWN`.
//!
//! What is no IP address keeps its text, so that such attempts can still be counted and keyed. In JSON both are text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Text;

/// An IP address, or the text that stands in its place.
///
/// Spellings of one IP address are equal. Serialises as text in formats for people, such as JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// Anything else: a host name, `UNKNOWN` for a connection that is no socket, an IPv6 address with a zone.
    Name(Text),
}

impl Address {
    /// The address that `text` spells, or `text` itself. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, which sshd writes if
    /// it listens on one socket for both) is the IPv4 address; zeros before the numbers of an IPv4 address (`192.000.002.001`)
    /// change nothing, since no log means octal ones.
    pub fn parse(text: &str) -> Self {
        match text.parse::<IpAddr>() {
            Ok(ip) => Address::Ip(ip.to_canonical()),
            Err(_) => padded(text).map_or_else(|| Address::Name(text.into()), |ip| Address::Ip(ip.into())),
        }
    }

    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Address::Ip(ip) => Some(*ip),
            Address::Name(_) => None,
        }
    }
}

/// An IPv4 address whose numbers have up to three digits, zeros before them included.
fn padded(text: &str) -> Option<Ipv4Addr> {
    let mut numbers = text.split('.').map(|number| {
        let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { number.parse::<u8>().ok() } else { None }
    });
    let mut next = || numbers.next().flatten();
    let ip = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    numbers.next().is_none().then_some(ip)
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Address::Ip(ip.to_canonical())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(ip) => ip.fmt(f),
            Address::Name(name) => name.fmt(f),
        }
    }
}

/// The form between workers, where parsing text again would cost time.
#[derive(Serialize, Deserialize)]
enum Compact {
    Ip(IpAddr),
    Name(Text),
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        match self {
            Address::Ip(ip) => Compact::Ip(*ip),
            Address::Name(name) => Compact::Name(name.clone()),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Text::deserialize(deserializer).map(|text| Address::parse(&text));
        }
        Ok(match Compact::deserialize(deserializer)? {
            Compact::Ip(ip) => Address::Ip(ip),
            Compact::Name(name) => Address::Name(name),
        })
    }
}
