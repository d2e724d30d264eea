//! From bytes to records: JSON by the reader that the derive makes and by the general parser behind it, and OpenSSH lines.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use tidewatch::codec::json::JsonDecoder;
use tidewatch::codec::openssh::{AuthLine, AuthOptions};
use tidewatch::prelude::*;
use tidewatch::record::{Decode, Decoder};

/// The record of `dataflows/auth_windows.rs`.
#[derive(Event)]
pub struct AuthEvent {
    #[event(time)]
    pub ts: EventTime,
    pub host: Ignored<Text>,
    pub src_ip: Text,
    pub user: Text,
    pub action: Ignored<Text>,
    pub outcome: Outcome,
    pub bytes: u32,
    pub message: Ignored<Text>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Success,
    Failure,
}

const LINES: usize = 1_000;

/// An event as programs write it, about 220 bytes; `between` stands behind each comma.
fn json(i: usize, between: &str) -> String {
    let (user, host, port) = (i * 7 % 10_000, i % 200, 1_024 + i * 31 % 60_000);
    let (address, bytes) = (format!("10.{}.{}.{}", i % 200 + 20, i * 7 % 250, i * 13 % 250), i * 97 % 50_000);
    let (outcome, verb) = if i.is_multiple_of(8) { ("failure", "Failed") } else { ("success", "Accepted") };
    [
        format!(r#"{{"ts":{}"#, 1_767_225_600_000 + i),
        format!(r#""host":"web-{host:03}.prod.example""#),
        format!(r#""src_ip":"{address}""#),
        format!(r#""user":"u{user:05}""#),
        r#""action":"login""#.to_owned(),
        format!(r#""outcome":"{outcome}""#),
        format!(r#""bytes":{bytes}"#),
        format!(r#""message":"sshd[{i}]: {verb} password for u{user:05} from {address} port {port} ssh2"}}"#),
    ]
    .join(&format!(",{between}"))
}

fn openssh(i: usize) -> String {
    let (user, port) = (["root", "admin", "ann"][i % 3], 1_024 + i * 31 % 60_000);
    let what = match i % 4 {
        0 => "Accepted publickey for",
        1 => "Failed password for invalid user",
        _ => "Failed password for",
    };
    let (minute, second) = (i / 60 % 60, i % 60);
    format!(
        "Nov 26 10:{minute:02}:{second:02} web-{} sshd[{i}]: {what} {user} from 192.0.2.{} port {port} ssh2",
        i % 9,
        i % 250
    )
}

fn measure<T>(c: &mut Criterion, name: &str, lines: &[String], mut decoder: impl Decoder<T>) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(lines.iter().map(String::len).sum::<usize>() as u64));
    group.bench_function(name, |b| {
        b.iter(|| {
            for line in lines {
                black_box(
                    decoder.decode(line.as_bytes(), 1_800_000_000_000).unwrap_or_else(|why| panic!("{why:?}: {line}")),
                );
            }
        });
    });
}

pub fn bench(c: &mut Criterion) {
    let lines = |line: &dyn Fn(usize) -> String| (0..LINES).map(line).collect::<Vec<_>>();
    measure::<AuthEvent>(c, "json", &lines(&|i| json(i, "")), JsonDecoder::new());
    // Spaces are not what the quick reader expects: it gives up at the first, and the general parser reads the line.
    measure::<AuthEvent>(c, "json-general", &lines(&|i| json(i, " ")), JsonDecoder::new());
    measure::<AuthLine>(
        c,
        "openssh",
        &lines(&openssh),
        AuthLine::decoder(&AuthOptions { year: Some(2026), zone: None }),
    );
}
