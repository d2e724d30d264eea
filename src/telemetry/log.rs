//! Log lines on standard error, as text or JSON.
//!
//! In a cluster every line carries the index of its process: lines of several processes often end up in one place.

mod targets;

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Format, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

pub use targets::unknown_targets;

use crate::error::{Error, Result};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How a line looks.
    pub format: LogFormat,
    /// What to log: a level, or levels by module, such as `info` or `warn,tidewatch=debug`.
    pub filter: String,
    /// This process's index, if there are several.
    pub process: Option<usize>,
}

impl Default for LogOptions {
    /// Text at `info`, of a process on its own.
    fn default() -> Self {
        LogOptions { format: LogFormat::Text, filter: "info".into(), process: None }
    }
}

/// Begins to log to standard error. Only the first call of a process has an effect; the result says whether it was this.
///
/// # Errors
/// Of kind `Config`, if the filter is none.
pub fn init_log(options: &LogOptions) -> Result<bool> {
    let subscriber = subscriber(options, std::io::stderr, std::io::stderr().is_terminal())?;
    Ok(tracing::subscriber::set_global_default(subscriber).is_ok())
}

type BoxedSubscriber = Box<dyn Subscriber + Send + Sync>;

fn subscriber<W>(options: &LogOptions, writer: W, ansi: bool) -> Result<BoxedSubscriber>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&options.filter).map_err(|e| {
        Error::config(format!("cannot read log filter {:?}", options.filter))
            .because(e)
            .hint("a level such as \"info\", or levels by module such as \"warn,tidewatch=debug\"")
    })?;
    // A line that cannot be written is lost: told about on the very same standard error, it would end the process.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi)
        .log_internal_errors(false);
    let process = options.process;
    Ok(match options.format {
        LogFormat::Text => Box::new(
            builder
                .fmt_fields(DefaultFields::new())
                .event_format(OfProcess { process, json: false, line: Format::default() })
                .finish(),
        ),
        LogFormat::Json => {
            let line = Format::default().json().flatten_event(true).with_current_span(false).with_span_list(false);
            Box::new(
                builder.fmt_fields(JsonFields::new()).event_format(OfProcess { process, json: true, line }).finish(),
            )
        }
    })
}

/// Lines of another format, with the index of the process at the front.
struct OfProcess<F> {
    process: Option<usize>,
    json: bool,
    line: F,
}

impl<S, N, F> FormatEvent<S, N> for OfProcess<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(process) = self.process else { return self.line.format_event(context, writer, event) };
        if !self.json {
            write!(writer, "[{process}] ")?;
            return self.line.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.line.format_event(context, Writer::new(&mut line), event)?;
        let fields = line.strip_prefix('{').ok_or(fmt::Error)?;
        write!(writer, "{{\"process\":{process},{fields}")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(options: &LogOptions) -> String {
        let lines = Lines::default();
        let to = lines.clone();
        let subscriber = subscriber(options, move || to.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(source = "auth", lag = 3, "reading \"{}\"", "x");
            tracing::debug!("not at this level");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_names_the_process() {
        let text = logged(&LogOptions { process: Some(2), ..LogOptions::default() });
        assert!(text.starts_with("[2] "), "{text}");
        assert!(text.contains("reading \"x\"") && text.contains("lag=3"), "{text}");
        assert!(!text.contains("not at this level"), "{text}");
        assert!(!logged(&LogOptions::default()).starts_with('['));
    }

    #[test]
    fn json_is_one_object_a_line() {
        let json = logged(&LogOptions { format: LogFormat::Json, process: Some(1), ..LogOptions::default() });
        let line: serde_json::Value = serde_json::from_str(json.trim_end()).unwrap();
        assert_eq!((&line["process"], &line["lag"], &line["level"]), (&1.into(), &3.into(), &"INFO".into()));
        assert_eq!(line["message"], "reading \"x\"");
    }

    #[test]
    fn a_filter_that_is_none_is_a_configuration_error() {
        let options = LogOptions { filter: "tidewatch=loud".into(), ..LogOptions::default() };
        let error = init_log(&options).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Config);
        assert!(error.to_string().contains("tidewatch=loud"), "{error}");
    }

    #[test]
    fn the_first_call_wins() {
        let quiet = LogOptions { filter: "off".into(), ..LogOptions::default() };
        // Another test of this process may have been first.
        init_log(&quiet).unwrap();
        assert!(!init_log(&quiet).unwrap());
    }
}
