//! Makes dead letters of a source's records.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::record::{DEAD_LETTER_BYTES_MAX, DeadLetter, Reason, Rejection};
use crate::telemetry::SourceMetrics;

/// How many dead letters of each reason are made where nobody takes them but the log.
pub const SAMPLES_MAX: usize = 3;

/// Dead letters to send on.
pub(super) struct Letters {
    source: String,
    metrics: SourceMetrics,
    /// How many more of each reason are made, whose number is that in [`Reason::ALL`]; `None` if all are.
    samples: Option<[usize; Reason::ALL.len()]>,
    pub(super) ready: Vec<DeadLetter>,
}

impl Letters {
    /// None yet, of the source `source`. Unless they are `wanted`, only a few of each reason are made; all are counted.
    pub(super) fn new(source: &str, metrics: SourceMetrics, wanted: bool) -> Self {
        let samples = (!wanted).then_some([SAMPLES_MAX; Reason::ALL.len()]);
        Letters { source: source.to_owned(), metrics, samples, ready: Vec::new() }
    }

    /// A record is refused: `bytes` is at least its head, and `size` how many it has.
    #[cold]
    pub(super) fn refuse(&mut self, partition: &str, offset: u64, size: u64, bytes: &[u8], rejection: Rejection) {
        self.metrics.dead_letters(rejection.reason, 1);
        if let Some(samples) = &mut self.samples {
            match &mut samples[rejection.reason as usize] {
                0 => return,
                left => *left -= 1,
            }
        }
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
