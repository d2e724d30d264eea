//! A client for single questions: it reads no partition of its own accord, and nobody waits for what it is sent.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;

use super::connection::{Answer, Connection, ask};
use super::logs::Logs;
use super::token::{self, TokenFile};

/// How a client for questions identifies itself to brokers.
const CLIENT_ID: &str = "tidewatch-ask";

/// What such a client calls back.
pub(super) struct Asking {
    logs: Logs,
    token: Option<TokenFile>,
}

/// The client.
pub(super) struct AskingClient(pub(super) BaseConsumer<Asking>);

impl Asking {
    /// A client for `owner`: `sink "alerts"`, say.
    ///
    /// # Errors
    /// If librdkafka refuses the configuration.
    pub(super) fn client(connection: &Connection, owner: &str) -> Result<AskingClient, KafkaError> {
        Self::configured(connection, owner, &[])
    }

    /// As much, with properties of its own.
    ///
    /// # Errors
    /// If librdkafka refuses the configuration.
    pub(super) fn configured(
        connection: &Connection,
        owner: &str,
        fixed: &[(&str, &str)],
    ) -> Result<AskingClient, KafkaError> {
        let context =
            Asking { logs: Logs::new(owner.to_owned(), connection.is_verbose()), token: connection.security.token() };
        let mut config = connection.client(CLIENT_ID, &[], fixed);
        config.set("group.id", "tidewatch");
        config.create_with_context(context).map(AskingClient)
    }
}

impl AskingClient {
    /// What it had to say.
    pub(super) fn logs(&self) -> &Logs {
        &self.0.context().logs
    }

    /// Serves what the client calls back. Only while nothing is assigned: what came of a partition would be lost.
    pub(super) fn drain(&self) {
        drain(&self.0, self.logs());
    }

    /// What the cluster says of the connection's topic; waits for `timeout` at most.
    pub(super) fn asked(&self, connection: &Connection, timeout: Duration) -> Result<Answer, KafkaError> {
        self.drain();
        let answer = ask(self.0.client(), &connection.topic, timeout);
        self.drain();
        answer
    }
}

/// Serves what a consumer calls back that has nothing assigned.
pub(super) fn drain<C: ConsumerContext>(consumer: &BaseConsumer<C>, logs: &Logs) {
    loop {
        let events = logs.events();
        if consumer.poll(Duration::ZERO).is_none() && logs.events() == events {
            return;
        }
    }
}

impl ClientContext for Asking {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // A sink's properties are for producers, and this is none.
        if facility != "CONFWARN" {
            self.logs.log(level, facility, message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logs.error(&error, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.logs.event();
        token::answer(self.token.as_ref())
    }
}

impl ConsumerContext for Asking {}
