//! Makes dead letters of a source's records.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::record::{DEAD_LETTER_BYTES_MAX, DeadLetter, Rejection};
use crate::telemetry::SourceMetrics;

/// Dead letters to send on.
pub(super) struct Letters {
    source: String,
    metrics: SourceMetrics,
    pub(super) ready: Vec<DeadLetter>,
}

impl Letters {
    /// None yet, of the source `source`.
    pub(super) fn new(source: &str, metrics: SourceMetrics) -> Self {
        Letters { source: source.to_owned(), metrics, ready: Vec::new() }
    }

    /// A record is refused: `bytes` is at least its head, and `size` how many it has.
    #[cold]
    pub(super) fn refuse(&mut self, partition: &str, offset: u64, size: u64, bytes: &[u8], rejection: Rejection) {
        self.metrics.dead_letters(rejection.reason, 1);
        let (text, base64) = match std::str::from_utf8(bytes) {
            Ok(text) => (Some(text[..text.floor_char_boundary(DEAD_LETTER_BYTES_MAX)].to_owned()), None),
            Err(_) => (None, Some(BASE64.encode(&bytes[..bytes.len().min(DEAD_LETTER_BYTES_MAX)]))),
        };
        self.ready.push(DeadLetter {
            reason: rejection.reason,
            detail: rejection.detail,
            source: self.source.clone(),
            partition: partition.to_owned(),
            offset,
            size,
            text,
            base64,
        });
    }
}
