//! Reads `security`, `tls` and `sasl`; every fault goes to the section.

use std::path::{Path, PathBuf};

use crate::connectors::kafka::security::{ClientCertificate, Mechanism, Protocol, Sasl, Security, Tls};
use crate::connectors::kafka::token::TokenFile;
use crate::settings::{Secret, Section, Setting, Value, regular};

/// Properties of librdkafka, and the setting that each of them is to be given as.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("security.protocol", "security"),
    ("ssl.ca.location", "tls.ca"),
    ("ssl.certificate.location", "tls.certificate"),
    ("ssl.key.location", "tls.key"),
    ("ssl.key.password", "tls.key_password"),
    ("ssl.endpoint.identification.algorithm", "tls.verify_hostname"),
    ("sasl.mechanism", "sasl.mechanism"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("sasl.username", "sasl.user"),
    ("sasl.password", "sasl.password"),
];

/// How much of a PEM file is looked at: the certificates of all public authorities are a fifth of it.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// How a client logs in, as it is configured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Password(Mechanism),
    Token,
}

const MECHANISMS: &[(&str, Option<By>)] = &[
    ("PLAIN", Some(By::Password(Mechanism::Plain))),
    ("SCRAM-SHA-256", Some(By::Password(Mechanism::ScramSha256))),
    ("SCRAM-SHA-512", Some(By::Password(Mechanism::ScramSha512))),
    ("OAUTHBEARER", Some(By::Token)),
];

/// How the client of the section is connected.
pub(super) fn security(section: &mut Section<'_>) -> Security {
    let names = Protocol::NAMES.iter().map(|(name, protocol)| (*name, Some(*protocol))).collect::<Vec<_>>();
    let written = section.node("security").is_some();
    let protocol = section.choice("security", &names, None);
    // What was meant by one that is faulty is not known, so nothing is said against the rest.
    let excluded = |is: fn(Protocol) -> bool| if written { protocol.is_some_and(|p| !is(p)) } else { true };
    let (no_tls, no_sasl) = (excluded(Protocol::is_tls), excluded(Protocol::is_sasl));
    if no_tls && section.node("tls").is_some() {
        section
            .fault("tls", "the connection is not encrypted: set security = \"tls\" or \"sasl_tls\", or leave this out");
    }
    if no_sasl && section.node("sasl").is_some() {
        let instead = if no_tls { "\"sasl_tls\" (or \"sasl_plaintext\")" } else { "\"sasl_tls\"" };
        section.fault("sasl", format!("nobody logs in: set security = {instead}, or leave this out"));
    }
    let tls = tls(section.section("tls"));
    let required = protocol.is_some_and(Protocol::is_sasl);
    let sasl = if section.node("sasl").is_some() {
        sasl(section.section("sasl"))
    } else {
        if required {
            section.missing("sasl", "expected { mechanism = \"…\", … }, since `security` says that the client logs in");
        }
        None
    };
    Security { protocol: protocol.unwrap_or_default(), tls, sasl }
}

fn tls(mut section: Section<'_>) -> Tls {
    let ca = pem(&mut section, "ca", "CERTIFICATE");
    let (has_certificate, has_key) = (section.node("certificate").is_some(), section.node("key").is_some());
    let certificate = pem(&mut section, "certificate", "CERTIFICATE");
    let key = pem(&mut section, "key", "PRIVATE KEY");
    let key_password = section.optional::<Secret>("key_password");
    if has_certificate && !has_key {
        section.missing("key", "expected the private key of `certificate`");
    }
    if has_key && !has_certificate {
        section.missing("certificate", "expected the certificate of `key`");
    }
    if !has_key && section.node("key_password").is_some() {
        section.fault("key_password", "there is no `key`");
    }
    let verify_hostname = section.or("verify_hostname", true);
    section.finish();
    let certificate = certificate.zip(key).map(|(chain, key)| ClientCertificate { chain, key, key_password });
    Tls { ca, certificate, verify_hostname }
}

fn sasl(mut section: Section<'_>) -> Option<Sasl> {
    let names: Vec<&str> = MECHANISMS.iter().map(|(name, _)| *name).collect();
    if section.node("mechanism").is_none() {
        section.missing("mechanism", &format!("expected one of {}", names.join(", ")));
    }
    let by = section.choice("mechanism", MECHANISMS, None);
    let read = match by {
        Some(By::Password(mechanism)) => {
            let user = section.required::<String>("user");
            let password = section.required::<Secret>("password");
            if section.node("token").is_some() {
                section.fault("token", "only OAUTHBEARER takes a token");
            }
            user.zip(password).map(|(user, password)| Sasl::Password { mechanism, user, password })
        }
        Some(By::Token) => {
            for key in ["user", "password"] {
                if section.node(key).is_some() {
                    section.fault(key, "OAUTHBEARER takes neither user nor password: the token says who it is");
                }
            }
            section.required::<TokenFile>("token").map(Sasl::Token)
        }
        None => {
            // Not faults: which of them belong there is not known.
            for key in ["user", "password", "token"] {
                section.node(key);
            }
            None
        }
    };
    section.finish();
    read
}

/// A path to a PEM file that holds a `what`; that it does not is a fault.
fn pem(section: &mut Section<'_>, key: &str, what: &str) -> Option<PathBuf> {
    let path = section.optional::<PathBuf>(key)?;
    if let Err(why) = look(&path, what) {
        section.fault(key, why);
        return None;
    }
    Some(path)
}

fn look(path: &Path, what: &str) -> Result<(), String> {
    let unreadable = |why: std::io::Error| format!("cannot read {path:?}: {why}");
    let bytes = regular::read(path, PEM_BYTES_MAX).map_err(unreadable)?;
    let end = format!("{what}-----");
    let begins = |line: &[u8]| line.starts_with(b"-----BEGIN ") && line.trim_ascii_end().ends_with(end.as_bytes());
    if bytes.split(|byte| *byte == b'\n').any(begins) {
        return Ok(());
    }
    Err(format!("{path:?} is not a PEM file with a {what} (a line \"-----BEGIN … {end}\")"))
}

impl Setting for TokenFile {
    const EXPECTED: &'static str = "{ file = \"/path\" }, a file that is written anew before the token expires";
    const SECRET: bool = true;

    fn read(value: &Value) -> Result<Self, String> {
        let Value::Table(entries) = value else {
            return Err(format!("a token is never written in a configuration: use {}", Self::EXPECTED));
        };
        let mut entries = entries.iter();
        let (Some((key, node)), None) = (entries.next(), entries.next()) else {
            return Err(format!("expected {}", Self::EXPECTED));
        };
        if key != "file" {
            return Err(format!("expected {}", Self::EXPECTED));
        }
        let file = TokenFile::new(PathBuf::read(&node.value).map_err(|_| "file must be a path".to_owned())?);
        // Not whether it has expired: it is read again when it is needed.
        Secret::from_file(file.path())?;
        Ok(file)
    }

    fn misfit(_: &Value, why: &str) -> String {
        why.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read, table, text};
    use super::super::{KafkaSink, KafkaSource};
    use super::*;
    use crate::settings::Node;

    fn node(entries: Vec<(&str, Node)>) -> Node {
        let mut all: Vec<(String, Node)> = vec![("brokers".into(), text("b:1")), ("topic".into(), text("t"))];
        all.extend(entries.into_iter().map(|(key, node)| (key.to_owned(), node)));
        Node::code(Value::Table(all.into_iter().collect()))
    }

    fn faults(entries: Vec<(&str, Node)>) -> Vec<String> {
        let node = node(entries);
        let (_, faults) = read(&node, KafkaSink::from_section);
        assert_eq!(faults.len(), read(&node, KafkaSource::from_section).1.len(), "source and sink agree");
        faults
    }

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    fn path(file: &tempfile::NamedTempFile) -> Node {
        text(file.path().to_str().unwrap())
    }

    #[test]
    fn every_setting_is_read() {
        let certificate = file("x\n-----BEGIN CERTIFICATE-----\r\n");
        let key = file("-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
        let secret = || table([("env", text("CARGO_PKG_NAME"))]);
        let tls = table([
            ("ca", path(&certificate)),
            ("certificate", path(&certificate)),
            ("key", path(&key)),
            ("key_password", secret()),
            ("verify_hostname", Node::code(Value::Bool(false))),
        ]);
        let sasl = table([("mechanism", text("SCRAM-SHA-512")), ("user", text("svc")), ("password", secret())]);
        let node = node(vec![("security", text("sasl_tls")), ("tls", tls), ("sasl", sasl)]);
        let (source, faults) = read(&node, KafkaSource::from_section);
        assert_eq!(faults, [""; 0]);
        let password = || Secret::new("tidewatch");
        let own = ClientCertificate {
            chain: certificate.path().into(),
            key: key.path().into(),
            key_password: Some(password()),
        };
        let expected = Security {
            protocol: Protocol::SaslTls,
            tls: Tls { ca: Some(certificate.path().into()), certificate: Some(own), verify_hostname: false },
            sasl: Some(Sasl::Password { mechanism: Mechanism::ScramSha512, user: "svc".into(), password: password() }),
        };
        let source = source.unwrap();
        assert_eq!(source.connection.security, expected);
        assert!(!format!("{source:?}").contains("Secret::new") && !format!("{source:?}").contains("\"tidewatch\""));
        assert_eq!(read(&node, KafkaSink::from_section).0.unwrap().connection.security, expected);
    }

    #[test]
    fn a_token_is_a_file() {
        let token = file("abc");
        let sasl = |token: Node| table([("mechanism", text("OAUTHBEARER")), ("token", token)]);
        let with = |token: Node| faults(vec![("security", text("sasl_plaintext")), ("sasl", sasl(token))]);
        assert_eq!(with(table([("file", path(&token))])), [""; 0]);
        for (wrong, why) in [
            (text("hunter2"), "never written"),
            (table([("env", text("CARGO_PKG_NAME"))]), "expected { file"),
            (table([("file", text("/no/such"))]), "/no/such"),
            (table([("file", text("/dev/null"))]), "not a regular file"),
        ] {
            let faults = with(wrong);
            assert!(faults.len() == 1 && faults[0].contains(why) && !faults[0].contains("hunter2"), "{faults:?}");
        }
    }

    #[test]
    fn what_does_not_belong_together_is_a_fault() {
        let ca = file("-----BEGIN CERTIFICATE-----\n");
        let secret = || table([("env", text("CARGO_PKG_NAME"))]);
        let plain = || table([("mechanism", text("PLAIN")), ("user", text("u")), ("password", secret())]);
        let tls = || table([("ca", path(&ca))]);
        type Case<'a> = (Vec<(&'a str, Node)>, &'a [&'a str]);
        let cases: Vec<Case<'_>> = vec![
            (vec![("tls", tls())], &["sources.x.tls: the connection is not encrypted"]),
            (vec![("sasl", plain())], &["sources.x.sasl: nobody logs in"]),
            (
                vec![("security", text("tls")), ("sasl", plain())],
                &["sources.x.sasl: nobody logs in: set security = \"sasl_tls\""],
            ),
            (
                vec![("security", text("sasl_plaintext")), ("sasl", plain()), ("tls", tls())],
                &["sources.x.tls: the connection"],
            ),
            (vec![("security", text("sasl_tls"))], &["sources.x.sasl: missing"]),
            // Only the first is wrong for certain.
            (
                vec![("security", text("ssl")), ("tls", tls()), ("sasl", plain())],
                &["sources.x.security: expected one of"],
            ),
            (
                vec![
                    ("security", text("tls")),
                    ("tls", table([("certificate", path(&ca)), ("key_password", secret())])),
                ],
                &["sources.x.tls.key: missing", "sources.x.tls.key_password: there is no `key`"],
            ),
            (
                vec![("security", text("tls")), ("tls", table([("key", path(&ca))]))],
                &["sources.x.tls.key: ", "sources.x.tls.certificate: missing"],
            ),
            (
                vec![("security", text("tls")), ("tls", table([("ca", text("/no/such"))]))],
                &["sources.x.tls.ca: cannot read"],
            ),
            (
                vec![("security", text("tls")), ("tls", table([("ca", text("/dev/null"))]))],
                &["sources.x.tls.ca: cannot read \"/dev/null\""],
            ),
            (vec![("security", text("sasl_tls")), ("sasl", table([]))], &["sources.x.sasl.mechanism: missing"]),
            (
                vec![("security", text("sasl_tls")), ("sasl", table([("mechanism", text("PLAIN"))]))],
                &["sources.x.sasl.user: missing", "sources.x.sasl.password: missing"],
            ),
            (
                vec![
                    ("security", text("sasl_tls")),
                    ("sasl", table([("mechanism", text("GSSAPI")), ("user", text("u"))])),
                ],
                &["sources.x.sasl.mechanism: expected one of"],
            ),
            (
                vec![
                    ("security", text("sasl_tls")),
                    ("sasl", table([("mechanism", text("PLAIN")), ("user", text("u")), ("password", text("hunter2"))])),
                ],
                &["sources.x.sasl.password: a secret is never written"],
            ),
            (
                vec![("properties", table([("sasl.password", secret())]))],
                &["sources.x.properties.\"sasl.password\": the setting `sasl.password` of the connector is for this"],
            ),
        ];
        for (entries, expected) in cases {
            let found = faults(entries);
            let as_expected = found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
            assert!(as_expected && !found.iter().any(|fault| fault.contains("hunter2")), "{found:#?}\n{expected:#?}");
        }
    }
}
