//! Records of several kinds: the same claims as for one kind.

use serde_json::json;

use super::super::fuzz::{Mixed, Ping};
use super::*;

/// A record of any kind in the usual form, as pairs of a key and a value in JSON.
fn mixed() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let tag = prop::sample::select(vec!["sample", "ping", "p\\\"\\\\é", "pong"]);
    (tag, fields(), any::<Option<i32>>()).prop_map(|(tag, fields, note)| {
        let tag = ("kind", format!("\"{tag}\""));
        match (tag.1.as_str(), note) {
            ("\"sample\"", _) => [vec![tag], fields].concat(),
            (_, Some(note)) => vec![tag, ("at", note.to_string()), ("note", format!("\"{note}\""))],
            (_, None) => vec![tag, ("at", "5".to_owned())],
        }
    })
}

fn kind_of(mixed: &Mixed) -> &'static str {
    match mixed {
        Mixed::Sample(_) => "sample",
        Mixed::Ping(_) => "ping",
        Mixed::OddPing(_) => "p\"\\é",
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn both_ways_agree_on_tagged_and_on_damaged_records(
        fields in mixed(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), prop::sample::select(ODD_BYTES)), 1..4),
    ) {
        let mut bytes = object(&fields, "").into_bytes();
        fuzz(&bytes);
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
            fuzz(&bytes);
        }
    }

    #[test]
    fn both_ways_agree_on_odd_tags_and_values(
        mut fields in mixed(),
        index in any::<prop::sample::Index>(),
        odd in prop::sample::select(ODD_VALUES),
    ) {
        let at = index.index(fields.len());
        fields[at].1 = odd.to_owned();
        fuzz(object(&fields, "").as_bytes());
        let twice = fields[at].clone();
        fields.push(twice);
        fuzz(object(&fields, "").as_bytes());
    }

    #[test]
    fn the_usual_form_is_never_left_to_the_general_parser_because_of_its_tag(fields in mixed()) {
        let text = object(&fields, "");
        let plain = fields[1..].iter().all(|(_, value)| !value.contains('\\') && !value.starts_with('{'));
        if plain && decode::<Mixed>(&text).is_ok() {
            prop_assert!(Mixed::read_fast(&mut Cursor::new(&text)).is_some(), "{}", text);
        }
    }

    #[test]
    fn the_place_of_the_tag_does_not_matter(fields in mixed(), space in prop::sample::select(vec!["", " "])) {
        let expected = decode::<Mixed>(object(&fields, ""));
        let last: Vec<_> = [&fields[1..], &fields[..1]].concat();
        let other = decode::<Mixed>(object(&last, space));
        prop_assert_eq!(expected.as_ref().map_err(|e| e.reason), other.as_ref().map_err(|e| e.reason));
        if let Ok(record) = expected {
            prop_assert_eq!(serde_json::to_string(kind_of(&record)).unwrap(), fields[0].1.as_str());
            prop_assert_eq!(across_processes(&record), record);
        }
    }
}

#[test]
fn a_tagged_record_is_its_struct_with_the_tag_before_it() {
    let ping = Ping { at: EventTime::from_millis(3), note: Some("n".into()) };
    for (mixed, tag) in [(Mixed::Ping(ping.clone()), "ping"), (Mixed::OddPing(ping.clone()), "p\"\\é")] {
        assert_eq!(mixed.event_time(), ping.at);
        let written = serde_json::to_string(&mixed).unwrap();
        assert!(written.starts_with("{\"kind\":"), "{written}");
        let value: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(value, json!({ "kind": tag, "at": 3, "note": "n" }));
        assert_eq!(Mixed::read_fast(&mut Cursor::new(&written)), Some(mixed.clone()));
        assert_eq!(serde_json::from_str::<Mixed>(&written).unwrap(), mixed);
        assert_eq!(mixed.clone(), mixed);
    }
    assert_eq!(format!("{:?}", Mixed::Ping(ping.clone())), format!("Ping({ping:?})"));
}

#[test]
fn refusals_name_the_tag_or_the_field() {
    let detail = |text: &str| decode::<Mixed>(text).unwrap_err().detail;
    assert!(detail(r#"{"at":1}"#).starts_with("missing field `kind`"), "{}", detail(r#"{"at":1}"#));
    let unknown = detail(r#"{"kind":"pong","at":1}"#);
    assert!(unknown.starts_with("field `kind`: unknown variant `pong`, expected one of `sample`, `ping`"), "{unknown}");
    let wrong = detail(r#"{"kind":"ping","at":"x"}"#);
    assert!(wrong.starts_with("field `at`: invalid type: string \"x\", expected i64 at line 1"), "{wrong}");
    assert!(detail(r#"{"kind":"ping","at":1,"kind":"ping"}"#).contains("duplicate field `kind`"));
    assert_eq!(decode::<Mixed>(r#"["ping",{"at":1}]"#).unwrap_err().reason, Reason::Malformed);
}
