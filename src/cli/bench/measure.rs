//! One measurement: fresh processes of this program, so that their time and memory are their own.

use std::fs::File;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::results::Combination;
use crate::cli::args::ConfigArgs;
use crate::cli::child::{path_option, this_program};
use crate::cli::report::RunReport;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::supervise::StopRequests;

/// How often a running measurement is checked.
const POLL: Duration = Duration::from_millis(10);

/// Runs the dataflow once, with what it writes in `folder`; `None` if it was interrupted.
pub(super) fn measure(
    dataflow: &str,
    combination: Combination,
    config: &ConfigArgs,
    folder: &Path,
    requests: &StopRequests,
) -> Result<Option<RunReport>> {
    let (said, report) = (folder.join("stderr"), folder.join("report"));
    let failed = |why| Error::new(ErrorKind::Internal, format!("cannot measure {dataflow:?}")).because(why);
    let Combination { processes, workers } = combination;
    let mut command = this_program()?;
    match processes {
        1 => command.arg("run").arg(dataflow),
        _ => command.arg("cluster").arg(dataflow).arg("--processes").arg(processes.to_string()),
    };
    command.arg("--workers").arg(workers.to_string()).arg(path_option("--report", &report));
    config.pass_on(&mut command);
    // A file, not a pipe: nothing has to read it while the measurement runs.
    let stderr = File::create(&said).map_err(failed)?;
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().map_err(failed)?;
    let status = wait(child, requests).map_err(failed)?;
    if requests.count() > 0 {
        return Ok(None);
    }
    if !status.success() {
        return Err(not_finished(dataflow, combination, status, &std::fs::read_to_string(&said).unwrap_or_default()));
    }
    let text = std::fs::read(&report).map_err(failed)?;
    serde_json::from_slice(&text).map(Some).map_err(|why| {
        Error::new(ErrorKind::Internal, format!("a run of {dataflow:?} left a report that cannot be read")).because(why)
    })
}

/// Waits for the end of a run, and passes on requests to end it: the first one lets it finish, the second one does not.
fn wait(mut child: Child, requests: &StopRequests) -> std::io::Result<ExitStatus> {
    let mut told = 0;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let asked = requests.count();
        if asked > told {
            told = asked;
            let signal = if asked == 1 { Signal::TERM } else { Signal::KILL };
            // It may exit by itself at this moment; then there is nothing to signal.
            let _ = Pid::from_raw(child.id().cast_signed()).map(|pid| kill_process(pid, signal));
        }
        thread::sleep(POLL);
    }
}

/// Why a run failed, by its own error message.
fn not_finished(dataflow: &str, combination: Combination, status: ExitStatus, said: &str) -> Error {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let kind = code.and_then(ErrorKind::of_exit_code).unwrap_or(ErrorKind::Internal);
    let error = Error::new(kind, format!("a run of {dataflow:?} ({combination}) failed with {status}"));
    let why: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("error:")).collect();
    match why.is_empty() {
        true => error.because(said.lines().last().unwrap_or("it said nothing").to_owned()),
        false => error.because(why.join("\n").trim_start_matches("error: ").to_owned()),
    }
}
