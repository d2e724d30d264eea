//! A short name for what a configuration says, so that the processes of a cluster can tell whether theirs agree.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::settings::{Node, Value};

/// Bytes of the hash that are kept. It guards against mistakes, not against attackers.
const FINGERPRINT_BYTES: usize = 8;

/// Keys in which the processes of one cluster may differ.
const PER_PROCESS: [[&str; 2]; 4] =
    [["engine", "admin"], ["engine", "admin_hosts"], ["engine", "log"], ["engine", "log_format"]];

/// The hash of a merged configuration, in hexadecimal: the same for the same keys and values, wherever they were written.
///
/// `engine.admin`, `engine.admin_hosts`, `engine.log` and `engine.log_format` do not count: each host of a cluster may have its own. Of a secret,
/// only the name of its file or variable counts.
pub fn fingerprint(tree: &Node) -> String {
    let mut hash = Sha256::new();
    node(tree, &mut Vec::new(), &mut hash);
    let mut hex = String::new();
    for byte in hash.finalize().iter().take(FINGERPRINT_BYTES) {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
    }
    hex
}

/// Feeds a tag, a length where there is one, and the content, so that no two trees feed the same bytes.
fn node<'a>(tree: &'a Node, path: &mut Vec<&'a str>, hash: &mut Sha256) {
    let mut feed = |tag: u8, bytes: &[u8]| {
        hash.update([tag]);
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    match &tree.value {
        Value::String(s) => feed(b's', s.as_bytes()),
        Value::Integer(n) => feed(b'i', &n.to_be_bytes()),
        Value::Float(n) => feed(b'f', &n.to_bits().to_be_bytes()),
        Value::Bool(b) => feed(b'b', &[u8::from(*b)]),
        Value::Datetime(s) => feed(b'd', s.as_bytes()),
        Value::Array(items) => {
            feed(b'a', &(items.len() as u64).to_be_bytes());
            // No list holds a key of PER_PROCESS.
            path.push("");
            items.iter().for_each(|item| node(item, path, hash));
            path.pop();
        }
        Value::Table(_) => {
            feed(b't', &[]);
            for (key, entry) in tree.entries() {
                path.push(key);
                if !PER_PROCESS.iter().any(|skipped| skipped[..] == path[..]) {
                    hash.update([b'k']);
                    hash.update((key.len() as u64).to_be_bytes());
                    hash.update(key);
                    node(entry, path, hash);
                }
                path.pop();
            }
            hash.update([b'.']);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layers;
    use super::*;

    fn of(text: &str) -> String {
        fingerprint(&Layers::new("x").defaults(text).merge().unwrap())
    }

    #[test]
    fn order_and_place_do_not_count() {
        let one = of("a = 1\n[b]\nc = \"x\"\nd = [1, 2]\n");
        assert_eq!(one, of("b.d = [1, 2]\nb.c = 'x'\na = 0x1\n"));
        assert_eq!(one.len(), 2 * FINGERPRINT_BYTES);
        let set = Layers::new("other").set("b={d=[1,2]}").set("a=1").set("b.c=x").merge().unwrap();
        assert_eq!(one, fingerprint(&set));
    }

    #[test]
    fn every_other_difference_counts() {
        let texts = ["", "a=1", "a=1.0", "a='1'", "a=true", "a=[1]", "a=[[1]]", "a={}", "b=1", "a.b=1", "a={}\nb=1"];
        let mut all: Vec<String> = texts.iter().map(|text| of(text)).collect();
        all.extend([of("a=['b','c']"), of("a=['bc']"), of("a=['','bc']"), of("a=['b']\nc=''"), of("a=2017-01-01")]);
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn hosts_may_log_and_listen_as_they_like() {
        let one = of(
            "engine.tick='1s'\nengine.log='debug'\nengine.log_format='json'\nengine.admin='10.0.0.1:9740'\nengine.admin_hosts='node-1'",
        );
        assert_eq!(one, of("engine.tick='1s'"));
        assert_ne!(one, of("engine.tick='2s'"));
        assert_ne!(of("x.engine.log='debug'"), of("x.engine.log='info'"));
    }
}
