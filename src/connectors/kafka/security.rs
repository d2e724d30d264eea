//! How client and broker convince each other of who they are, and whether others can read along: as configured, and in
//! librdkafka's properties.

use std::path::{Path, PathBuf};

use rdkafka::config::ClientConfig;

use super::token::TokenFile;
use crate::settings::Secret;

/// What a connection to a broker is protected by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Nothing.
    #[default]
    Plaintext,
    /// TLS.
    Tls,
    /// The client logs in, over a connection that others can read.
    SaslPlaintext,
    /// The client logs in, over TLS.
    SaslTls,
}

impl Protocol {
    /// Every choice by its name, as it is configured.
    pub const NAMES: &[(&str, Protocol)] = &[
        ("plaintext", Protocol::Plaintext),
        ("tls", Protocol::Tls),
        ("sasl_plaintext", Protocol::SaslPlaintext),
        ("sasl_tls", Protocol::SaslTls),
    ];

    /// Whether the connection is encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Tls | Protocol::SaslTls)
    }

    /// Whether the client logs in.
    pub fn is_sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslTls)
    }

    fn property(self) -> &'static str {
        match self {
            Protocol::Plaintext => "plaintext",
            Protocol::Tls => "ssl",
            Protocol::SaslPlaintext => "sasl_plaintext",
            Protocol::SaslTls => "sasl_ssl",
        }
    }
}

/// How a TLS connection is judged, and what the client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file with the certificates that may sign a broker's. Default: those of the operating system.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and its key, for brokers that ask for one. Default: none.
    pub certificate: Option<ClientCertificate>,
    /// Whether the broker's certificate must be made out to the host name, or address, that is connected to. Default: yes.
    pub verify_hostname: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Tls { ca: None, certificate: None, verify_hostname: true }
    }
}

/// A client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// A PEM file: the certificate, then those that lead to an authority.
    pub chain: PathBuf,
    /// A PEM file: its private key.
    pub key: PathBuf,
    /// The password of the key's file, if it has one.
    pub key_password: Option<Secret>,
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The broker is shown the password.
    Plain,
    /// It is shown that the client knows it, by way of SHA-256.
    ScramSha256,
    /// As much, by way of SHA-512.
    ScramSha512,
}

impl Mechanism {
    fn property(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How the client logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sasl {
    /// As a user with a password.
    Password {
        /// How it is proved.
        mechanism: Mechanism,
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// OAUTHBEARER: with a token that something else writes to a file, again and again.
    Token(TokenFile),
}

/// How a client is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// What protects the connection. Default: nothing.
    pub protocol: Protocol,
    /// How TLS is used, where the protocol has it.
    pub tls: Tls,
    /// How the client logs in, where the protocol has that.
    pub sasl: Option<Sasl>,
}

impl Security {
    /// Writes it as properties of librdkafka.
    pub(super) fn apply(&self, config: &mut ClientConfig) {
        config.set("security.protocol", self.protocol.property());
        let file = |path: &Path| path.to_string_lossy().into_owned();
        if self.protocol.is_tls() {
            // Not the folder that OpenSSL was built for: in a build with an OpenSSL of its own nothing is there.
            config.set("ssl.ca.location", self.tls.ca.as_deref().map_or_else(|| "probe".to_owned(), file));
            let algorithm = if self.tls.verify_hostname { "https" } else { "none" };
            config.set("ssl.endpoint.identification.algorithm", algorithm);
            if let Some(ClientCertificate { chain, key, key_password }) = &self.tls.certificate {
                config.set("ssl.certificate.location", file(chain)).set("ssl.key.location", file(key));
                if let Some(password) = key_password {
                    config.set("ssl.key.password", password.expose());
                }
            }
        }
        match self.sasl.as_ref().filter(|_| self.protocol.is_sasl()) {
            Some(Sasl::Password { mechanism, user, password }) => {
                config.set("sasl.mechanism", mechanism.property());
                config.set("sasl.username", user).set("sasl.password", password.expose());
            }
            Some(Sasl::Token(_)) => {
                config.set("sasl.mechanism", "OAUTHBEARER");
            }
            None => {}
        }
    }

    /// Where the client's token comes from, if it logs in with one.
    pub(super) fn token(&self) -> Option<TokenFile> {
        match self.sasl.as_ref().filter(|_| self.protocol.is_sasl()) {
            Some(Sasl::Token(file)) => Some(file.clone()),
            _ => None,
        }
    }

    /// What others between here and `brokers` could read, as a sentence; `None` if nothing that matters.
    pub(super) fn exposes(&self, brokers: &str) -> Option<String> {
        if self.protocol != Protocol::SaslPlaintext || brokers.split(',').all(is_loopback) {
            return None;
        }
        let what = match self.sasl.as_ref()? {
            Sasl::Password { mechanism: Mechanism::Plain, .. } => "the password crosses the network unencrypted",
            Sasl::Password { .. } => "who listens can guess the password offline, and all records are unencrypted",
            Sasl::Token(_) => "the token crosses the network unencrypted",
        };
        Some(what.to_owned())
    }
}

/// Whether `broker`, a `host:port`, is this machine.
fn is_loopback(broker: &str) -> bool {
    let broker = broker.trim();
    let broker = broker.split_once("://").map_or(broker, |(_, rest)| rest);
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host).trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(mechanism: Mechanism) -> Security {
        let sasl = Sasl::Password { mechanism, user: "u".into(), password: Secret::new("hunter2") };
        Security { protocol: Protocol::SaslPlaintext, tls: Tls::default(), sasl: Some(sasl) }
    }

    #[test]
    fn a_password_over_plaintext_is_noticed_unless_it_stays_on_this_machine() {
        let plain = password(Mechanism::Plain);
        for near in [
            "localhost:9092",
            "127.0.0.1:9092",
            "[::1]:9092",
            "127.0.0.2:1, LOCALHOST:2",
            "SASL_PLAINTEXT://localhost:1",
        ] {
            assert_eq!(plain.exposes(near), None, "{near}");
        }
        for far in ["broker:9092", "localhost:1,10.0.0.1:2", "localhost.example.org:1", "[2001:db8::1]:9092"] {
            assert!(plain.exposes(far).unwrap().contains("password"), "{far}");
        }
        assert!(password(Mechanism::ScramSha512).exposes("broker:1").unwrap().contains("offline"));
        let over_tls = Security { protocol: Protocol::SaslTls, ..plain };
        assert_eq!(over_tls.exposes("broker:1"), None);
    }

    #[test]
    fn nothing_shows_a_password() {
        let mut security = password(Mechanism::ScramSha256);
        let key_password = Some(Secret::new("hunter3"));
        let own = ClientCertificate { chain: "c".into(), key: "k".into(), key_password };
        security.tls = Tls { ca: Some("ca".into()), certificate: Some(own), verify_hostname: false };
        security.protocol = Protocol::SaslTls;
        let mut config = ClientConfig::new();
        security.apply(&mut config);
        for shown in [format!("{security:?}"), format!("{config:?}")] {
            assert!(!shown.contains("hunter"), "{shown}");
        }
        for (property, value) in [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", "u"),
            ("sasl.password", "hunter2"),
            ("ssl.ca.location", "ca"),
            ("ssl.certificate.location", "c"),
            ("ssl.key.location", "k"),
            ("ssl.key.password", "hunter3"),
            ("ssl.endpoint.identification.algorithm", "none"),
        ] {
            assert_eq!(config.get(property), Some(value), "{property}");
        }
    }
}
