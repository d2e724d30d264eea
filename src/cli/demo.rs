//! `demo`: brute-force detection end to end, with nothing installed.
//!
//! An embedded broker, a log in a Kafka topic, the shipped dataflow over it with alerts to a topic *and* to files, and
//! the topic read back and compared with what was planted in the log. Everything between is what `run` runs.

mod log;
mod report;

use std::time::Duration;

use self::log::DemoLog;
use super::args::{ConfigArgs, DemoArgs};
use super::prepare::prepare;
use super::run::RunSession;
use super::summary;
use crate::connectors::kafka::{Connection, client, embedded::Embedded};
use crate::detect::alert::Alert;
use crate::error::{Error, ErrorKind, Result};
use crate::flow::Dataflow;
use crate::runtime::panic;
use crate::settings::path;

/// The dataflow that the demo runs.
pub(super) const DATAFLOW: &str = "ssh-brute-force";

const LINES: &str = "auth";
const ALERTS: &str = "alerts";
const ALERT_PARTITIONS: u32 = 2;

/// How long the embedded broker may take for all lines, or all alerts.
const BROKER_DEADLINE: Duration = Duration::from_secs(120);

pub(super) fn demo(dataflow: &Dataflow, args: &DemoArgs) -> Result<()> {
    let log = match &args.log {
        Some(file) => DemoLog::read(file, args.year)?,
        None => DemoLog::generate(args.seed),
    };
    let broker = Embedded::start(1)?;
    let brokers = broker.bootstrap();
    broker.create_topic(LINES, log.partitions)?;
    broker.create_topic(ALERTS, ALERT_PARTITIONS)?;
    show!("A broker in this process listens on {brokers}.");
    let produced = log.produce(&Connection::new(&brokers, LINES), BROKER_DEADLINE)?;
    show!("Topic \"{LINES}\" holds {produced} lines: {}.", log.about);

    let prepared = prepare(dataflow, &configuration(args, &log, &brokers))?;
    panic::install(Vec::new());
    let mut session = RunSession::start(&prepared, None, None)?;
    let workers = usize::from(args.workers);
    show!("Dataflow \"{DATAFLOW}\" runs over it on {workers} workers.\n");
    let run = session.run(prepared, workers, None);
    run.result?;

    let rows = client::consume_to_end(&Connection::new(&brokers, ALERTS), BROKER_DEADLINE)?;
    let alerts =
        rows.iter().map(|row| serde_json::from_slice(row)).collect::<Result<Vec<Alert>, _>>().map_err(|why| {
            Error::new(ErrorKind::Internal, format!("topic \"{ALERTS}\" holds a row that is no alert")).because(why)
        })?;
    report::print(&alerts, &log.planted);

    show!("");
    summary::print(DATAFLOW, &run.finished, run.stopped);
    show!("Alerts and rows as JSON lines: {}", args.out.display());
    if let Some(admin) = session.admin() {
        show!("Metrics, health and the graph were at http://{admin}/ while it ran (see --serve).");
    }
    if args.serve && !session.stopped() {
        show!("\nThe broker on {brokers} and the metrics stay up until Ctrl-C. To read the alerts from outside:");
        show!("  kcat -b {brokers} -t {ALERTS} -C -e");
        session.wait();
    }
    Ok(())
}

/// The configuration of the demo, as one would type it.
fn configuration(args: &DemoArgs, log: &DemoLog, brokers: &str) -> ConfigArgs {
    let text = |text: &str| toml::Value::from(text).to_string();
    let folder = |name: &str| {
        let path = args.out.join(name);
        text(&path::literal(&path).unwrap_or_else(|| path.to_string_lossy().into_owned()))
    };
    let brokers = text(brokers);
    let mut set = vec![
        format!(
            "sources.auth={{kind=\"kafka\", brokers={brokers}, topic=\"{LINES}\", until=\"end\", out_of_order=\"60s\"}}"
        ),
        format!("sinks.failures={{kind=\"file\", path={}}}", folder("failures")),
        format!("sinks.spraying={{kind=\"file\", path={}}}", folder("spraying")),
        format!(
            "sinks.alerts=[{{kind=\"kafka\", brokers={brokers}, topic=\"{ALERTS}\"}}, {{kind=\"file\", path={}}}]",
            folder("alerts")
        ),
        format!("dead_letters={{kind=\"file\", path={}}}", folder("dead-letters")),
        "engine.log=\"warn\"".to_owned(),
    ];
    if let Some(year) = log.year {
        set.push(format!("sources.auth.year={year}"));
    }
    ConfigArgs { set, ..ConfigArgs::default() }
}
