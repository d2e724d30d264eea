//! Why a broker cannot be talked to, in words, and what to do about it: made out of librdkafka's complaints, which name
//! properties and guesses. Texts are those of the version that is built in; one that nobody knows any more is passed on as it is.

use rdkafka::error::RDKafkaErrorCode;

/// What one broker's connection failed of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Its address.
    pub(super) broker: String,
    pub(super) cause: Cause,
    /// librdkafka's own words, without the address.
    pub(super) said: String,
}

/// Why a connection fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// No such host.
    NameNotFound,
    /// Nothing listens at the port.
    Refused,
    /// It does not answer in time.
    Silent,
    /// It answers, but not as a broker does.
    NotABroker,
    /// It wants TLS, and the client speaks without.
    WantsTls,
    /// The client wants TLS, and it speaks without.
    WithoutTls,
    /// Its certificate cannot be verified.
    Untrusted,
    /// Its certificate can be verified, but is made out to others.
    AnotherName,
    /// It wants a certificate of the client, or does not accept the one it gets.
    WantsCertificate,
    /// TLS fails for another reason.
    Tls,
    /// It does not accept user and password, or token.
    Login,
    /// It hangs up on who has not logged in, or it goes away.
    WantsLogin,
    /// It does not take this way to log in.
    Mechanism,
    /// The client has no token.
    NoToken,
    /// Something else.
    Other,
}

impl Complaint {
    /// What librdkafka means by an error; `None` if it is not about a broker.
    pub(super) fn of(code: Option<RDKafkaErrorCode>, reason: &str) -> Option<Self> {
        let cause = Cause::of(code, reason);
        let (broker, said) = match reason.split_once(": ") {
            // "sasl_ssl://host:port/bootstrap: …", or with the number of the broker.
            Some((node, said)) if node.contains(':') && !node.contains(' ') => (address(node), said),
            // Not about a broker, but before there can be one.
            _ if cause == Cause::NoToken => ("login", reason),
            _ => return None,
        };
        // How long after what, and advice in terms of properties, say nothing more.
        let said = said.split(" (after ").next().unwrap_or(said);
        let said = said.split(": broker certificate could not be verified").next().unwrap_or(said);
        Some(Complaint { broker: broker.to_owned(), cause, said: said.to_owned() })
    }

    /// Whether to try again helps only if somebody does something.
    pub(super) fn is_certain(&self) -> bool {
        // A broker that starts refuses connections, and names may be known later.
        !matches!(self.cause, Cause::NameNotFound | Cause::Refused | Cause::Silent | Cause::Other)
    }
}

/// `host:port`, without protocol and number.
fn address(node: &str) -> &str {
    let node = node.split_once("://").map_or(node, |(_, rest)| rest);
    node.split_once('/').map_or(node, |(address, _)| address)
}

impl Cause {
    fn of(code: Option<RDKafkaErrorCode>, reason: &str) -> Self {
        let says = |part: &str| reason.contains(part);
        if says("Failed to resolve") || code == Some(RDKafkaErrorCode::Resolve) {
            Cause::NameNotFound
        } else if says("Connection refused") {
            Cause::Refused
        } else if says("OAUTHBEARER token") {
            Cause::NoToken
        } else if says("SSL handshake failed") || code == Some(RDKafkaErrorCode::SSL) {
            Self::of_tls(reason)
        } else if says("not enabled in the server")
            || says("Unsupported SASL mechanism")
            || says("mechanism handshake failed")
        {
            Cause::Mechanism
        } else if code == Some(RDKafkaErrorCode::Authentication) || says("SASL authentication error") {
            Cause::Login
        } else if says("Invalid response size")
            || says("Protocol parse failure")
            || says("Protocol read buffer underflow")
        {
            Cause::NotABroker
        } else if says("SSL routines") {
            Self::of_tls(reason)
        } else if says("Disconnected") && says("in state APIVERSION_QUERY") {
            Cause::WantsTls
        } else if says("Disconnected") && says("in state UP") {
            Cause::WantsLogin
        } else if says("timed out") || says("Timed out") {
            Cause::Silent
        } else {
            Cause::Other
        }
    }

    fn of_tls(reason: &str) -> Self {
        let says = |part: &str| reason.contains(part);
        // Numbers are OpenSSL's: its texts are left out where it was built without them.
        if says("certificate verify failed") || says("0A000086") {
            Cause::Untrusted
        } else if says("wrong version number")
            || says("0A00010B")
            || says("PLAINTEXT broker listener")
            || says("packet length too long")
        {
            Cause::WithoutTls
        } else if says("certificate required")
            || says("bad certificate")
            || says("unexpected message")
            || says("unknown ca")
        {
            Cause::WantsCertificate
        } else {
            Cause::Tls
        }
    }

    /// What happened.
    pub(super) fn what(self) -> &'static str {
        match self {
            Cause::NameNotFound => "there is no such host",
            Cause::Refused => "connection refused",
            Cause::Silent => "no answer in time",
            Cause::NotABroker => "what answers there is not a Kafka broker",
            Cause::WantsTls => "it hangs up on the first request: it expects TLS, or is not a Kafka broker",
            Cause::WithoutTls => "it does not speak TLS",
            Cause::Untrusted => {
                "its certificate cannot be verified: nobody that is trusted here signed it, or it has expired"
            }
            Cause::AnotherName => "its certificate is not made out to this name",
            Cause::WantsCertificate => "it wants a certificate of this client, or does not accept the one it has",
            Cause::Tls => "TLS failed",
            Cause::Login => "it refuses the login",
            Cause::WantsLogin => "it hangs up: it wants clients to log in, or it is going away",
            Cause::Mechanism => "it does not let clients log in this way",
            Cause::NoToken => "there is no token to log in with",
            Cause::Other => "the connection failed",
        }
    }

    /// What to do.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Cause::NameNotFound => "check the host name in `brokers`, and the one that the broker advertises",
            Cause::Refused => "check the port in `brokers`, and that the broker runs",
            Cause::Silent => {
                "check host and port in `brokers`: something accepts connections there and says nothing, as a broker that is stuck does, \
                 or a port of another protocol"
            }
            Cause::NotABroker => "check the port in `brokers`: another service listens there, perhaps one of HTTP",
            Cause::WantsTls => {
                "set `security` to \"tls\" or \"sasl_tls\", or take the port of the broker's listener without TLS"
            }
            Cause::WithoutTls => {
                "set `security` to \"plaintext\" or \"sasl_plaintext\", or take the port of the broker's listener with TLS"
            }
            Cause::Untrusted => "name the authority that signed the broker's certificate in `tls.ca`",
            Cause::AnotherName => {
                "use a name in `brokers` that the certificate has, and have the broker advertise it too; `tls.verify_hostname = false` \
                 lets anyone with a certificate of the same authority pass for the broker"
            }
            Cause::WantsCertificate => {
                "set `tls.certificate` and `tls.key` to those of this client, signed by an authority that the broker trusts"
            }
            Cause::Tls => "compare the TLS versions and ciphers of broker and client",
            Cause::Login => {
                "check `sasl.user` and `sasl.password`, or the token, and that the user exists for this mechanism"
            }
            Cause::WantsLogin => {
                "set `security` to \"sasl_tls\" or \"sasl_plaintext\" and `sasl` to a user of the broker"
            }
            Cause::Mechanism => {
                "set `sasl.mechanism` to one that the listener has enabled, and `security` to \"sasl_tls\" or \"sasl_plaintext\""
            }
            Cause::NoToken => "see to what writes the file that `sasl.token` names",
            Cause::Other => "check `brokers`, and that the addresses the brokers advertise can be reached from here",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What librdkafka 2.12 said to brokers and others of each kind.
    #[test]
    fn each_cause_is_known_by_its_words() {
        use RDKafkaErrorCode::{Authentication, BrokerTransportFailure, Resolve, SSL};
        let transport = Some(BrokerTransportFailure);
        let verify = "error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, verify that x";
        for (code, said, cause) in [
            (
                Some(Resolve),
                "Failed to resolve 'b:1': Name or service not known (after 0ms in state CONNECT)",
                Cause::NameNotFound,
            ),
            (
                transport,
                "Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
                Cause::Refused,
            ),
            (None, "Timed out ApiVersionRequest in flight (after 10009ms, timeout #0)", Cause::Silent),
            (
                transport,
                "Connection setup timed out in state SSL_HANDSHAKE (after 10001ms in state SSL_HANDSHAKE)",
                Cause::Silent,
            ),
            (
                None,
                "Receive failed: Invalid response size 1213486160 (0..100000000): increase x (after 0ms in state U)",
                Cause::NotABroker,
            ),
            (None, "Disconnected: connection closed by peer (after 0ms in state APIVERSION_QUERY)", Cause::WantsTls),
            (None, "Disconnected: connection closed by peer (after 1ms in state UP)", Cause::WantsLogin),
            (
                Some(SSL),
                &format!("SSL handshake failed: s.c:1889:f {verify} (after 6ms in state SSL_HANDSHAKE)"),
                Cause::Untrusted,
            ),
            (
                transport,
                "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? (after 5ms)",
                Cause::WithoutTls,
            ),
            (
                Some(SSL),
                "SSL handshake failed: s.c:350:f error:0A00010B:SSL routines::wrong version number (after 0ms)",
                Cause::WithoutTls,
            ),
            (
                None,
                "Receive failed: s.c:1:f error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42",
                Cause::WantsCertificate,
            ),
            (Some(SSL), "SSL handshake failed: s.c:1:f error:0A000102:SSL routines::unsupported protocol", Cause::Tls),
            (
                Some(Authentication),
                "SASL authentication error: Authentication failed: Invalid username or password (after 301ms)",
                Cause::Login,
            ),
            (
                Some(Authentication),
                "SASL PLAIN mechanism handshake failed: Broker: Request not valid: broker's supported mechanisms:  (after 0ms)",
                Cause::Mechanism,
            ),
            (None, "something new", Cause::Other),
        ] {
            let complaint = Complaint::of(code, &format!("sasl_ssl://b:1/bootstrap: {said}")).unwrap();
            assert_eq!((complaint.broker.as_str(), complaint.cause), ("b:1", cause), "{said}");
            assert!(!complaint.said.contains("(after") && !complaint.said.contains("verify that"), "{complaint:?}");
            assert!(!cause.what().is_empty() && !cause.hint().is_empty());
        }
        let token =
            Complaint::of(Some(Authentication), "Failed to acquire SASL OAUTHBEARER token: the token in \"f\" expired")
                .unwrap();
        assert_eq!((token.cause, token.is_certain()), (Cause::NoToken, true));
        for nobody in ["1/1 brokers are down", "", "no broker: at all", ": "] {
            assert_eq!(Complaint::of(transport, nobody), None, "{nobody}");
        }
        assert_eq!(Complaint::of(None, "[::1]:9/3: Connection refused").unwrap().broker, "[::1]:9");
    }
}
