//! The command line of another process of this very program.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::args::ConfigArgs;
use crate::error::{Error, ErrorKind, Result};
use crate::settings::path;

/// The very program that runs, even if its file was replaced or deleted since: processes of different builds refuse each
/// other, and a measurement is one of this build.
pub(super) fn this_program() -> Result<Command> {
    let path = std::env::current_exe()
        .map_err(|why| Error::new(ErrorKind::Mesh, "cannot find the program that runs").because(why))?;
    if !cfg!(target_os = "linux") {
        return Ok(Command::new(path));
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg0(path);
    Ok(command)
}

/// `--name=path`, written so that the other process expands it to this very path.
pub(super) fn path_option(name: &str, path: impl AsRef<Path>) -> OsString {
    let path = path.as_ref();
    path::literal(path).map_or_else(|| option(name, path), |literal| option(name, literal))
}

/// `--name=value`, so that a value may begin with a hyphen.
pub(super) fn option(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut option = OsString::from(name);
    option.push("=");
    option.push(value);
    option
}

impl ConfigArgs {
    /// Gives `command` the same configuration.
    pub(super) fn pass_on(&self, command: &mut Command) {
        let ConfigArgs { config, set, state, drain, replay } = self;
        command.args(config.iter().map(|file| path_option("--config", file)));
        command.args(set.iter().map(|set| option("--set", set)));
        command.args(drain.then_some("--drain"));
        command.args(state.iter().map(|state| path_option("--state", state)));
        command.args(replay.iter().map(|replay| option("--replay", replay.to_string())));
    }
}
