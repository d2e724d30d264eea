//! The steps of a scripted partition.

use serde::Serialize;

use crate::connectors::script;

/// One step of a scripted partition. Text is a step, too: `"a line"` is `line("a line")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub(super) action: Action,
    /// Whether the record must turn out to be late.
    pub(super) late: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Record(Vec<u8>),
    Pause,
    Eof,
    Stop,
}

impl Step {
    fn new(action: Action) -> Self {
        Step { action, late: false }
    }

    /// The step for the connector; `None` for what the run itself does.
    pub(super) fn script(&self) -> Option<script::ScriptStep> {
        match &self.action {
            Action::Record(bytes) => Some(script::ScriptStep::Bytes(bytes.clone())),
            Action::Pause => Some(script::ScriptStep::CaughtUp),
            Action::Eof => Some(script::ScriptStep::Eof),
            Action::Stop => None,
        }
    }
}

/// A record: `value` as JSON.
///
/// # Panics
/// If `value` cannot be written as JSON, such as a map whose keys are no text.
pub fn item(value: impl Serialize) -> Step {
    bytes(serde_json::to_vec(&value).expect("an item can be written as JSON"))
}

/// A record: a line of text, without its end.
pub fn line(text: impl Into<String>) -> Step {
    bytes(text.into())
}

/// A record: any bytes, also bytes that no decoder accepts.
pub fn bytes(bytes: impl Into<Vec<u8>>) -> Step {
    Step::new(Action::Record(bytes.into()))
}

/// The same record, which must turn out to be late: the run fails if the dataflow accepts it, as it fails if a record
/// that is not marked is late.
pub fn late(record: impl Into<Step>) -> Step {
    Step { late: true, ..record.into() }
}

/// Nothing to read for one epoch: a fetch that comes back empty. After `idle_after` of pauses a partition is idle, and
/// the watermark advances without it.
pub fn pause() -> Step {
    Step::new(Action::Pause)
}

/// The partition ends. Every script ends after its last step, so this is only needed to make it explicit.
pub fn eof() -> Step {
    Step::new(Action::Eof)
}

/// The run is stopped from outside at the end of this epoch, as by Ctrl-C: what was read is still processed, and
/// windows that are open then stay unfinished and give no row.
pub fn stop() -> Step {
    Step::new(Action::Stop)
}

impl From<&str> for Step {
    fn from(text: &str) -> Self {
        line(text)
    }
}

impl From<String> for Step {
    fn from(text: String) -> Self {
        line(text)
    }
}
