//! Brokers that want TLS, a login, or both, and everything that can be wrong with that: the error says what, and where.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidewatch::connectors::kafka::{
    ClientCertificate, Connection, KafkaSink, KafkaSource, Mechanism, Protocol, Sasl, Security, Tls, TokenFile, Until,
    client,
};
use tidewatch::connectors::sink::{Generation, SinkConnector, SinkContext};
use tidewatch::settings::Secret;

use super::broker::{Broker, PATIENCE, script};
use super::program::Program;
use super::reading::Reading;

/// The listeners of the broker, and what they want.
struct Listeners(BTreeMap<String, String>);

impl Listeners {
    fn path(&self, name: &str) -> PathBuf {
        self.0[name].as_str().into()
    }

    fn tls(&self, ca: &str) -> Tls {
        Tls { ca: Some(self.path(ca)), ..Tls::default() }
    }

    fn password(&self, mechanism: Mechanism, user: &str) -> Option<Sasl> {
        Some(Sasl::Password { mechanism, user: user.into(), password: Secret::new(&self.0["password"]) })
    }

    /// A connection to the listener `name`.
    fn at(&self, name: &str, topic: &str, protocol: Protocol, tls: Tls, sasl: Option<Sasl>) -> Connection {
        Connection { security: Security { protocol, tls, sasl }, ..Connection::new(&self.0[name], topic) }
    }

    fn with_certificate(&self, key: &str, key_password: Option<&str>) -> Tls {
        let certificate = Some(ClientCertificate {
            chain: self.path("certificate"),
            key: self.path(key),
            key_password: key_password.map(Secret::new),
        });
        Tls { certificate, ..self.tls("ca") }
    }
}

fn token(folder: &std::path::Path, expires_in_s: i64) -> TokenFile {
    let now = std::time::UNIX_EPOCH.elapsed().expect("it is later").as_secs().cast_signed();
    let claims = format!("{{\"sub\":\"tidewatch\",\"iat\":{},\"exp\":{}}}", now - 60, now + expires_in_s);
    let path = folder.join(format!("token{expires_in_s}"));
    let text = format!("{}.{}.", URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"), URL_SAFE_NO_PAD.encode(claims));
    std::fs::write(&path, text).unwrap();
    TokenFile::new(path)
}

#[test]
fn every_way_in_reads_and_writes() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, listeners, folder) = (broker.topic(1), Listeners(broker.secure()), tempfile::tempdir().unwrap());
    let ca = || listeners.tls("ca");
    let sasl = |mechanism| listeners.password(mechanism, "tidewatch");
    let unverified = Connection {
        // Its certificate is made out to 127.0.0.1 alone.
        brokers: listeners.0["tls"].replace("127.0.0.1", "localhost"),
        ..listeners.at("tls", &topic, Protocol::Tls, Tls { verify_hostname: false, ..ca() }, None)
    };
    let ways = [
        listeners.at("tls", &topic, Protocol::Tls, ca(), None),
        unverified,
        listeners.at("mutual_tls", &topic, Protocol::Tls, listeners.with_certificate("key", None), None),
        listeners.at(
            "mutual_tls",
            &topic,
            Protocol::Tls,
            listeners.with_certificate("encrypted_key", Some(&listeners.0["password"])),
            None,
        ),
        listeners.at("sasl_tls", &topic, Protocol::SaslTls, ca(), sasl(Mechanism::Plain)),
        listeners.at("sasl_tls", &topic, Protocol::SaslTls, ca(), sasl(Mechanism::ScramSha256)),
        listeners.at("sasl_tls", &topic, Protocol::SaslTls, ca(), sasl(Mechanism::ScramSha512)),
        listeners.at("sasl_plaintext", &topic, Protocol::SaslPlaintext, Tls::default(), sasl(Mechanism::ScramSha512)),
        listeners.at("sasl_tls", &topic, Protocol::SaslTls, ca(), Some(Sasl::Token(token(folder.path(), 600)))),
    ];
    for (written, connection) in (1..).zip(&ways) {
        client::produce(connection, [(None::<&str>, "row")], PATIENCE).expect("it can be written");
        let read = client::consume_to_end(connection, PATIENCE).expect("it can be read");
        assert_eq!(read.len(), written, "{connection:?}");
    }
}

#[test]
fn what_is_wrong_is_named_with_the_address_and_what_to_do() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, listeners, folder) = (broker.topic(1), Listeners(broker.secure()), tempfile::tempdir().unwrap());
    let (ca, topic) = (|| listeners.tls("ca"), topic.as_str());
    let to = |address: &str, connection: Connection| Connection { brokers: address.to_owned(), ..connection };
    let plain = |address: &str| Connection::new(address, topic);
    let wrong =
        |mechanism| Some(Sasl::Password { mechanism, user: "tidewatch".into(), password: Secret::new("hunter2") });
    // A server of HTTP, one that says nothing, and a port where nobody is.
    let (http, silent) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let (http_at, silent_at) = (port(&http), port(&silent));
    let nobody_at = port(&TcpListener::bind("127.0.0.1:0").unwrap());
    thread::spawn(move || {
        for client in http.incoming().flatten() {
            let mut client = client;
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut other_name = to(
        &listeners.0["sasl_tls"].replace("127.0.0.1", "localhost"),
        listeners.at("sasl_tls", topic, Protocol::SaslTls, ca(), listeners.password(Mechanism::Plain, "tidewatch")),
    );
    other_name.properties.0.insert("broker.address.family".into(), "v4".into());
    let sasl_tls = |sasl| listeners.at("sasl_tls", topic, Protocol::SaslTls, ca(), sasl);
    let cases: Vec<(Connection, &str, &str)> = vec![
        (listeners.at("tls", topic, Protocol::Tls, listeners.tls("other_ca"), None), "cannot be verified", "tls.ca"),
        (listeners.at("tls", topic, Protocol::Tls, Tls::default(), None), "cannot be verified", "tls.ca"),
        (other_name, "not made out to this name", "tls.verify_hostname"),
        (listeners.at("mutual_tls", topic, Protocol::Tls, ca(), None), "wants a certificate", "tls.certificate"),
        (sasl_tls(wrong(Mechanism::Plain)), "refuses the login", "sasl.password"),
        (sasl_tls(wrong(Mechanism::ScramSha256)), "refuses the login", "sasl.password"),
        (sasl_tls(Some(Sasl::Token(token(folder.path(), -9)))), "no token to log in with", "sasl.token"),
        (
            listeners.at("tls", topic, Protocol::SaslTls, ca(), wrong(Mechanism::Plain)),
            "log in this way",
            "sasl.mechanism",
        ),
        (plain(&listeners.0["tls"]), "expects TLS", "`security`"),
        (plain(&listeners.0["sasl_plaintext"]), "wants clients to log in", "`sasl`"),
        (
            to(&broker.address, listeners.at("tls", topic, Protocol::Tls, ca(), None)),
            "does not speak TLS",
            "`security`",
        ),
        (plain(&http_at), "not a Kafka broker", "check the port"),
        (plain(&silent_at), "no answer in time", "accepts connections"),
        (
            to(&silent_at, listeners.at("tls", topic, Protocol::Tls, ca(), None)),
            "no answer in time",
            "accepts connections",
        ),
        (plain(&nobody_at), "connection refused", "that the broker runs"),
        (plain("no-such-host.invalid:9092"), "no such host", "host name"),
    ];
    let start = Instant::now();
    thread::scope(|scope| {
        for (connection, cause, hint) in &cases {
            scope.spawn(move || {
                let source = KafkaSource { until: Until::End, ..KafkaSource::new(connection.clone()) };
                let error = Reading::reopen(&source, &[]).err().expect("it cannot be reached").to_string();
                let (said, advice) = error.split_once("hint: ").expect("it says what to do");
                assert!(said.contains(cause) && advice.contains(hint), "expected {cause:?}, {hint:?}: {error}");
                let token = matches!(connection.security.sasl, Some(Sasl::Token(_)));
                assert!(said.contains(&format!(": {}: ", connection.brokers)) || token, "{error}");
                assert!(!error.contains("hunter2"), "{error}");
            });
        }
    });
    assert!(start.elapsed() < PATIENCE);
}

fn write_exactly_once(sink: &KafkaSink, context: &SinkContext) {
    let start = Instant::now();
    let mut writer = sink.open(context).expect("everything it needs is there");
    writer.write(None, b"row").unwrap();
    writer.seal(1).unwrap();
    while writer.durable().unwrap() != Some(1) {
        assert!(start.elapsed() < PATIENCE);
        thread::sleep(writer.poll_interval());
    }
    writer.finish().unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "something waited for its deadline: {:?}", start.elapsed());
}

#[test]
fn a_token_is_enough_to_write_exactly_once_but_not_to_create_a_topic() {
    let Some(broker) = Broker::shared() else { return };
    let (listeners, folder) = (Listeners(broker.secure()), tempfile::tempdir().unwrap());
    let (to, progress) = (broker.topic(1), broker.topic(1));
    let sasl = Some(Sasl::Token(token(folder.path(), 600)));
    let connection = listeners.at("sasl_tls", &to, Protocol::SaslTls, listeners.tls("ca"), sasl);
    let generation = Some(Generation { state: format!("s-{progress}"), number: 1 });
    let context = SinkContext { name: "rows".into(), shard: 0, shards: 1, run_ms: 0, generation };
    let sink = KafkaSink { progress_topic: Some(progress), ..KafkaSink::new(connection) };
    write_exactly_once(&sink, &context);
    assert_eq!(broker.foreign(&to), ["row"]);
    let error = KafkaSink { progress_topic: None, ..sink }.open(&context).err().expect("it cannot").to_string();
    assert!(
        error.contains("OAUTHBEARER cannot create it") && error.contains("hint: create a compacted topic"),
        "{error}"
    );
}

/// With exactly the rights that the connector's page lists, and a topic for its progress that somebody else has created.
#[test]
fn a_user_who_may_create_nothing_writes_exactly_once() {
    let Some(broker) = Broker::shared() else { return };
    let listeners = Listeners(broker.secure());
    let (from, to, progress) = (broker.topic(1), broker.topic(1), broker.topic(2));
    let user = ["--allow-principal", "User:limited"];
    let allow = |rights: &[&str]| script(&[&["acl"][..], &user, rights].concat());
    allow(&["--operation", "Read", "--operation", "Describe", "--topic", &from]);
    allow(&["--operation", "Write", "--operation", "Describe", "--topic", &to]);
    allow(&["--operation", "Read", "--operation", "Write", "--operation", "Describe", "--topic", &progress]);
    allow(&[
        "--operation",
        "Write",
        "--operation",
        "Describe",
        "--resource-pattern-type",
        "prefixed",
        "--transactional-id",
        "tidewatch-",
    ]);
    let connection = |topic: &str| {
        let sasl = listeners.password(Mechanism::ScramSha256, "limited");
        listeners.at("sasl_tls", topic, Protocol::SaslTls, listeners.tls("ca"), sasl)
    };
    broker.place(&from, [(0, "read")]);
    let source = KafkaSource { until: Until::End, ..KafkaSource::new(connection(&from)) };
    assert_eq!(Reading::to_end(&source).seen.values(), ["read"]);

    let generation = Generation { state: format!("s-{progress}"), number: 1 };
    let context = SinkContext { name: "rows".into(), shard: 0, shards: 2, run_ms: 0, generation: Some(generation) };
    let sink = KafkaSink { progress_topic: Some(progress), ..KafkaSink::new(connection(&to)) };
    write_exactly_once(&sink, &context);
    assert_eq!(broker.foreign(&to), ["row"]);

    // And without a topic of its own, or one that it may not see.
    for progress_topic in [None, Some("not-there".to_owned()), Some(broker.topic(2))] {
        let sink = KafkaSink { progress_topic, ..sink.clone() };
        let error = sink.open(&context).err().expect("it may not").to_string();
        assert!(error.contains("Authorization") && error.contains("Describe, Read and Write"), "{error}");
    }
    let unseen = KafkaSource { until: Until::End, ..KafkaSource::new(connection(&broker.topic(1))) };
    let error = Reading::reopen(&unseen, &[]).err().expect("it may not").to_string();
    assert!(error.contains("cannot use topic") && error.contains("allow the user Describe"), "{error}");
}

#[test]
fn the_program_logs_in_as_its_configuration_says_and_never_says_the_password() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, listeners, folder) = (broker.topic(2), Listeners(broker.secure()), tempfile::tempdir().unwrap());
    broker.place(&topic, [(0, "no event")]);
    let password = folder.path().join("password");
    std::fs::write(&password, format!("{}\n", listeners.0["password"])).unwrap();
    let settings = |user: &str| {
        [
            format!(
                "sources.events={{kind=\"kafka\", brokers=\"{}\", topic=\"{topic}\", until=\"end\", security=\"sasl_tls\", tls={{ca={:?}}}, \
                 sasl={{mechanism=\"SCRAM-SHA-512\", user=\"{user}\", password={{file={password:?}}}}}}}",
                listeners.0["sasl_tls"], listeners.0["ca"]
            ),
            "sinks.windows.kind=null".to_owned(),
            "sinks.alerts.kind=null".to_owned(),
            "engine.log=debug".to_owned(),
        ]
    };
    let well = Program::run("auth-windows", 2, &settings("tidewatch"));
    assert_eq!(well.counts(), (1, 0, 1), "{}", well.said);
    let badly = Program::start("auth-windows", 1, &settings("nobody")).ended();
    assert_eq!(badly.code, Some(3), "{}", badly.said);
    assert!(badly.said.contains("it refuses the login"), "{}", badly.said);
    assert!(![well.said, badly.said].iter().any(|said| said.contains(&listeners.0["password"])));
}
