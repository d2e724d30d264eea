//! The two ways agree; what is refused, and why; what is written is read back.

mod tagged;

use proptest::prelude::*;

use super::fuzz::{Outcome, Sample};
use super::*;
use crate::Event;
use crate::record::{Ignored, Reason, Text};
use crate::time::EventTime;

/// A record in the declared order and compact form, as pairs of a key and a value in JSON.
fn fields() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    fn json(value: impl serde::Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }
    let outcome = prop_oneof![
        Just(Outcome::Success),
        Just(Outcome::Failure),
        proptest::collection::vec(any::<u32>(), 0..2).prop_map(Outcome::Other)
    ];
    let text = || prop_oneof!["[a-z0-9 ü€]{0,30}", ".{0,20}", "[\\n\"\\\\/\u{1}a-c]{0,6}"];
    let address = prop_oneof![any::<std::net::IpAddr>().prop_map(json), text().prop_map(json)];
    let first = (any::<i64>(), text(), address, text(), outcome.clone(), any::<u64>(), any::<i32>(), any::<f32>());
    let second = (any::<bool>(), any::<Option<u16>>(), proptest::option::of(text()), any::<u8>());
    let third = (proptest::option::of(outcome.clone()), any::<Option<u32>>(), outcome, text(), any::<[bool; 4]>());
    (first, second, third).prop_map(|(a, b, c)| {
        let here = c.4;
        let all = [
            ("ts", json(a.0 >> 8), true),
            ("host", json(a.1), true),
            ("source", a.2, true),
            ("user", json(a.3), true),
            ("outcome", json(a.4), true),
            ("bytes", json(a.5 >> 8), true),
            ("delta", json(a.6), true),
            ("ratio", json(a.7), true),
            ("admin", json(b.0), true),
            ("port", json(b.1), here[0]),
            ("note", json(b.2), here[1]),
            ("level", json(b.3), here[2]),
            ("hint", json(c.0), true),
            ("size", json(c.1), here[3]),
            ("k\\\"\\\\é", json(c.2), true),
            ("message", json(c.3), true),
        ];
        all.into_iter().filter(|(.., here)| *here).map(|(key, value, _)| (key, value)).collect()
    })
}

fn object(fields: &[(&str, String)], space: &str) -> String {
    let fields: Vec<_> = fields.iter().map(|(k, v)| format!("{space}\"{k}\"{space}:{space}{v}{space}")).collect();
    format!("{space}{{{}}}{space}", fields.join(","))
}

fn decode<T: JsonRecord + 'static>(bytes: impl AsRef<[u8]>) -> Result<T, Rejection> {
    JsonDecoder::new().decode(bytes.as_ref(), 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn both_ways_agree_on_records_and_on_damaged_records(
        fields in fields(),
        damage in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0..4u8, prop::sample::select(ODD_BYTES)),
            1..4,
        ),
    ) {
        let mut bytes = object(&fields, "").into_bytes();
        fuzz(&bytes);
        for (index, kind, byte) in damage {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(2)),
            }
            fuzz(&bytes);
        }
    }

    #[test]
    fn both_ways_agree_on_odd_values(
        mut fields in fields(),
        index in any::<prop::sample::Index>(),
        odd in prop::sample::select(ODD_VALUES),
    ) {
        let at = index.index(fields.len());
        fields[at].1 = odd.to_owned();
        fuzz(object(&fields, "").as_bytes());
        fields.remove(at);
        fuzz(object(&fields, "").as_bytes());
    }

    #[test]
    fn the_usual_form_is_never_left_to_the_general_parser(fields in fields()) {
        let text = object(&fields, "");
        let plain = fields.iter().all(|(_, value)| !value.contains('\\') && !value.starts_with('{'));
        if plain && decode::<Sample>(&text).is_ok() {
            prop_assert!(Sample::read_fast(&mut Cursor::new(&text)).is_some(), "{}", text);
        }
    }

    #[test]
    fn order_and_spaces_do_not_matter(
        fields in fields(),
        space in prop::sample::select(vec!["", " ", "\t\r\n "]),
        order in Just((0..16).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let expected = decode::<Sample>(object(&fields, ""));
        let shuffled: Vec<_> = order.into_iter().filter_map(|i| fields.get(i).cloned()).collect();
        let other = decode::<Sample>(object(&shuffled, space));
        prop_assert_eq!(expected.as_ref().map_err(|e| e.reason), other.as_ref().map_err(|e| e.reason));
    }

    #[test]
    fn what_is_written_is_what_was_read(fields in fields()) {
        if let Ok(record) = decode::<Sample>(object(&fields, "")) {
            let written: serde_json::Map<_, _> = serde_json::from_slice(&serde_json::to_vec(&record).unwrap()).unwrap();
            prop_assert!(!written.contains_key("message") && !written.contains_key("size"));
            for (key, value) in fields.iter().filter(|(key, _)| written.contains_key(*key) && *key != "ratio") {
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(value).unwrap(), &written[*key]);
            }
            prop_assert_eq!(across_processes(&record), record);
        }
    }
}

/// Bytes that mean something to a parser, or must not.
const ODD_BYTES: &[u8] = b"\",:{}[]\\ -+.eE0129nultrf\x00\x1f\x7f\x80\xc3\xa9\r";

/// Values that one parser or another takes, or takes for something else.
const ODD_VALUES: &[&str] = &[
    "0",
    "-0",
    "00",
    "07",
    "-07",
    "+1",
    "1.",
    "1.0",
    ".5",
    "1e2",
    "1E+2",
    "-",
    "",
    "12345678901234567890",
    "65536",
    "999999999999999999",
    "1000000000000000000",
    "-9223372036854775808",
    "1e400",
    "NaN",
    "true",
    "tru",
    "truetrue",
    "null",
    "nulll",
    "\"\"",
    "\"",
    "\"\\\"\"",
    "\"\\/\"",
    "\"\\u0041\"",
    "\"\\ud800\"",
    "\"\\x\"",
    "\"\t\"",
    "\"\0\"",
    "\"success\"",
    "\"succ\\ess\"",
    "\"other\"",
    "{\"other\":[1]}",
    "{\"success\":null}",
    "[]",
    "{}",
    "\"1.2.3.4\"",
    "\"1.2.3.04\"",
    "\"1.2.3.256\"",
    "\"::1\"",
    "\"::ffff:1.2.3.4\"",
    "\"fe80::1%2\"",
    " 1",
    "1 ",
    "1,\"level\":2",
    "0x1",
];

/// Through the bytes that processes exchange.
fn across_processes<T: crate::record::Record>(record: &T) -> T {
    use timely::dataflow::channels::ContainerBytes;
    let mut bytes = Vec::new();
    vec![record.clone()].into_bytes(&mut bytes);
    let bytes = timely::bytes::arc::BytesMut::from(bytes).freeze();
    Vec::<T>::from_bytes(bytes).pop().expect("one record went in")
}

const USUAL: &str = concat!(
    r#"{"ts":1700000000123,"host":"h","source":"10.0.0.1","user":"ann","outcome":"failure","bytes":5,"delta":-1,"#,
    r#""ratio":0.5,"admin":true,"hint":null,"k\"\\é":"success","message":"a \"b\" \n"}"#
);

#[test]
fn the_usual_form_is_read_quickly() {
    let fast = Sample::read_fast(&mut Cursor::new(USUAL)).expect("in the usual form");
    assert_eq!(fast.event_time(), EventTime::from_millis(1_700_000_000_123));
    assert_eq!((fast.outcome, fast.delta, fast.ratio, fast.port, fast.level), (Outcome::Failure, -1, 0.5, None, 0));
    fuzz(USUAL.as_bytes());
}

#[test]
fn any_other_form_is_left_to_the_general_parser() {
    let changes = [
        ("\"user\":\"ann\"", "\"user\":\"a\\u006en\""),
        ("\"bytes\":5", "\"bytes\": 5"),
        ("\"bytes\":5", "\"bytes\":5,\"more\":{}"),
        ("\"hint\":null", "\"hint\":{\"other\":[]}"),
        ("\"a \\\"b\\\" \\n\"", "\"\\u00e9\""),
        ("\"user\":\"ann\"", "\"user\":\"0123456789\\n\""),
    ];
    for (from, to) in changes {
        let text = USUAL.replace(from, to);
        assert_ne!(text, USUAL, "{from}");
        assert!(Sample::read_fast(&mut Cursor::new(&text)).is_none(), "{text}");
        assert!(decode::<Sample>(&text).is_ok(), "{text}");
    }
}

fn refused(from: &str, to: &str) -> (Reason, String) {
    let text = USUAL.replacen(from, to, 1);
    assert_ne!(text, USUAL, "{from}");
    let e = decode::<Sample>(text).unwrap_err();
    (e.reason, e.detail)
}

#[test]
fn refusals_name_the_field() {
    let (reason, detail) = refused("\"bytes\":5,", "");
    assert_eq!(reason, Reason::Malformed);
    assert!(detail.contains("missing field `bytes`"), "{detail}");
    let (_, detail) = refused("\"bytes\":5", "\"bytes\":5,\"bytes\":5");
    assert!(detail.contains("duplicate field `bytes`"), "{detail}");
    let (_, detail) = refused("\"bytes\":5", "\"bytes\":\"5\"");
    assert!(detail.starts_with("field `bytes`: invalid type: string \"5\", expected u64 at line 1"), "{detail}");
    let (_, detail) = refused("\"host\":\"h\"", "\"host\":7");
    assert!(detail.starts_with("field `host`: invalid type"), "{detail}");
    let (_, detail) = refused("\"host\":\"h\",", "");
    assert!(detail.contains("missing field `host`"), "{detail}");
    let (_, detail) = refused("\"message\":\"a", "\"message\":\"\\ud800");
    assert!(detail.contains("surrogate") || detail.contains("hex escape"), "{detail}");
}

#[test]
fn one_object_and_nothing_else_is_a_record() {
    for text in ["", " ", "null", "7", "[1,\"h\"]", "{}", "{", "}", &format!("{USUAL}{USUAL}"), &format!("{USUAL} x")] {
        assert_eq!(decode::<Sample>(text).unwrap_err().reason, Reason::Malformed, "{text}");
    }
}

#[test]
fn byte_order_mark_and_carriage_return_are_dropped() {
    let framed = format!("\u{feff}{USUAL}\r");
    assert_eq!(decode::<Sample>(framed), decode::<Sample>(USUAL));
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_wherever_they_are() {
    for place in ["h\"", "\"user", "failure", "success"] {
        let at = USUAL.find(place).unwrap();
        let mut bytes = USUAL.as_bytes().to_vec();
        bytes[at] = 0xFF;
        let e = decode::<Sample>(bytes).unwrap_err();
        assert_eq!((e.reason, e.detail), (Reason::NotUtf8, format!("not UTF-8 at byte {at} of {}", USUAL.len())));
    }
}

#[test]
fn nesting_is_limited_in_declared_and_in_other_fields() {
    use crate::codec::limits::NESTING_MAX;

    #[derive(Event)]
    struct Any {
        #[event(default)]
        value: serde_json::Value,
    }
    for field in ["value", "other"] {
        let nested = |depth: usize| format!("{{\"{field}\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let deepest: Any = decode(nested(NESTING_MAX - 1)).unwrap();
        assert_eq!(deepest.value.is_array(), field == "value");
        assert_eq!(decode::<Any>(nested(NESTING_MAX)).unwrap_err().reason, Reason::TooDeep, "{field}");
        assert_eq!(decode::<Any>(nested(100_000)).unwrap_err().reason, Reason::TooDeep, "{field}");
    }
    let wide = format!("{{\"value\":[{}[]],\"other\":\"{}\"}}", "[],".repeat(1_000), "[\\\"".repeat(1_000));
    assert!(decode::<Any>(wide).is_ok());
}

#[test]
fn records_cross_processes_without_what_they_ignore() {
    #[derive(Event, PartialEq)]
    struct Nothing {
        a: Ignored<u64>,
        b: Ignored<Text>,
    }
    let nothing: Nothing = decode(r#"{"a":1,"b":"x"}"#).unwrap();
    assert_eq!(across_processes(&nothing), nothing);
    assert_eq!(serde_json::to_string(&nothing).unwrap(), "{}");
    assert_eq!(size_of::<Nothing>(), 0);
    assert_eq!(format!("{nothing:?}"), "Nothing { a: Ignored, b: Ignored }");
}

#[test]
fn struct_attributes_and_raw_names_reach_json() {
    #[derive(Event, PartialEq)]
    #[event(rename_all = "camelCase")]
    struct Named {
        r#type: Text,
        source_ip: Option<u8>,
    }
    #[derive(Event, PartialEq)]
    struct Empty {}

    let named: Named = decode(r#"{"type":"t","sourceIp":3}"#).unwrap();
    assert_eq!(serde_json::to_string(&named).unwrap(), r#"{"type":"t","sourceIp":3}"#);
    assert_eq!(crate::record::Decode::time(&named), None);
    assert_eq!(decode::<Empty>("{\"a\":1}"), Ok(Empty {}));
    assert!(decode::<Empty>("}").is_err());
}

#[test]
fn an_integer_may_be_written_as_a_fraction() {
    #[derive(Event)]
    struct Counted {
        #[event(time)]
        at: EventTime,
        bytes: u32,
        ratio: f64,
        list: Vec<u8>,
    }
    let read = |text: &str| decode::<Counted>(text).map(|c| (c.at.millis(), c.bytes, c.ratio, c.list));
    let right = Ok((1_777_636_800_000, 1, 1.0, vec![1, 20]));
    assert_eq!(read(r#"{"at":1777636800000.0,"bytes":1.0,"ratio":1.0,"list":[1.0,2e1]}"#), right);
    assert_eq!(read("{\n\"list\": [1e0, 2E+1],\n\"ratio\": 1,\n\"bytes\": 10e-1,\n\"at\": 1.7776368e12 }"), right);
    for (text, field) in [
        (r#"{"at":1777636800000.5,"bytes":1,"ratio":1,"list":[]}"#, "field `at`: invalid type: floating point"),
        (r#"{"at":1,"bytes":1.5,"ratio":1,"list":[]}"#, "field `bytes`"),
        (r#"{"at":1,"bytes":5e9,"ratio":1,"list":[]}"#, "field `bytes`: invalid value"),
        (r#"{"at":1,"bytes":1.0,"ratio":1,"list":[1.0,-1.0]}"#, "field `list[1]`: invalid value"),
        (r#"{"at":1e17,"bytes":1,"ratio":1,"list":[]}"#, "field `at`: invalid type: floating point"),
    ] {
        let refused = read(text).unwrap_err();
        assert!(refused.detail.starts_with(field), "{text}: {}", refused.detail);
    }
}

#[test]
fn a_refusal_names_the_field_wherever_it_is() {
    #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
    struct Inner {
        deep: Vec<u8>,
    }
    #[derive(Event)]
    struct Outer {
        first: u8,
        inner: Inner,
    }
    let says = |text: &str| decode::<Outer>(text).unwrap_err().detail;
    assert!(says(r#"{"first":"x","inner":{"deep":[]}}"#).starts_with("field `first`: invalid type"));
    assert!(
        says(r#"{ "more" : [{"a":"]"}], "first":1, "inner" : {"x":"\"{", "deep" : [1, 2, "y"]}}"#)
            .starts_with("field `inner.deep[2]`")
    );
    assert!(says("{\n\"first\":1,\n\"inner\":{\n\"deep\":[300]}}").starts_with("field `inner.deep[0]`"));
    assert!(says(r#"{"first":1,"inner":{}}"#).starts_with("field `inner`: missing field `deep`"));
    assert!(says(r#"{"first":1}"#).starts_with("missing field `inner`"));
}
