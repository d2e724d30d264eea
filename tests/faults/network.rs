//! The network between two processes of a mesh goes away without a word. As root only: each process is in a network
//! namespace of its own, behind a bridge in a third one, whose port is shut.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::{Ended, PATIENCE, Process, tidewatch};

/// How long a process may take to notice.
const NOTICED: Duration = Duration::from_secs(15);

/// Two hosts and what is between them, gone when this is dropped.
struct Network {
    /// The hosts, and then the bridge.
    namespaces: Vec<String>,
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().map_err(|why| why.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

fn address(host: usize) -> String {
    format!("10.77.0.{}", host + 1)
}

impl Network {
    /// `None`, and a line that says so, if that is not allowed here.
    fn lay() -> Option<Self> {
        let name = |part: &str| format!("tw{}{part}", std::process::id());
        let network = Network { namespaces: ["a", "b", "br"].map(name).into() };
        let [a, b, bridge] = &network.namespaces[..] else { panic!("there are three") };
        if let Err(why) = ip(&format!("netns add {bridge}")) {
            // Past the test harness, which hides what a test that passes says.
            let _ = writeln!(std::io::stderr(), "left out: {why}");
            return None;
        }
        ip(&format!("-n {bridge} link add br0 type bridge")).unwrap();
        ip(&format!("-n {bridge} link set br0 up")).unwrap();
        for (host, namespace) in [a, b].into_iter().enumerate() {
            ip(&format!("netns add {namespace}")).unwrap();
            ip(&format!("link add eth0 netns {namespace} type veth peer name port{host} netns {bridge}")).unwrap();
            ip(&format!("-n {bridge} link set port{host} master br0 up")).unwrap();
            ip(&format!("-n {namespace} addr add {}/24 dev eth0", address(host))).unwrap();
            ip(&format!("-n {namespace} link set eth0 up")).unwrap();
            ip(&format!("-n {namespace} link set lo up")).unwrap();
        }
        Some(network)
    }

    /// Starts process `host` of an endless dataflow on its host.
    fn start(&self, host: usize, folder: &Path) -> Process {
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let program = tidewatch(&[]).get_program().to_owned();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespaces[host]]).arg(program);
        command.args(["run", "auth-windows", "--process", &host.to_string(), "--hosts", &file("hosts")]);
        command.args(["--secret-file", &file("secret"), "--set", "sources.events.kind=generator"]);
        command.args(["--set", "sources.events.rate=20000", "--set", "sources.events.partitions=2"]);
        command.args([
            "--set",
            "sinks.windows.kind=null",
            "--set",
            "sinks.alerts.kind=null",
            "--set",
            "engine.admin=off",
        ]);
        Process::start(&mut command)
    }

    /// Shuts the second host off, so that what is sent to it or by it vanishes; or lets it in again.
    fn connected(&self, yes: bool) {
        ip(&format!("-n {} link set port1 {}", self.namespaces[2], if yes { "up" } else { "down" })).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let _ = ip(&format!("netns del {namespace}"));
        }
    }
}

#[test]
fn hosts_that_are_cut_off_from_each_other_notice_and_stop() {
    let Some(network) = Network::lay() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hosts"), format!("{}:2101\n{}:2101\n", address(0), address(1))).unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "only for this test, of course").unwrap();
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let start = || [0, 1].map(|host| network.start(host, folder.path()));

    let mut both = start();
    both.iter_mut().for_each(|process| process.wait_for("running", 1));
    std::thread::sleep(Duration::from_secs(1));
    assert!(both.iter_mut().all(Process::is_running));
    network.connected(false);
    let since = Instant::now();
    let ended = both.map(|process| process.end_within(PATIENCE));
    let took = since.elapsed();
    assert!(took < NOTICED, "it took {took:?}");
    for (host, Ended { status, stderr, .. }) in ended.into_iter().enumerate() {
        assert_eq!(status.code(), Some(6), "{stderr}");
        let other = format!("lost process {} ({}:2101)", 1 - host, address(1 - host));
        assert!(stderr.contains(&other), "{stderr}");
    }

    network.connected(true);
    let mut both = start();
    both.iter_mut().for_each(|process| process.wait_for("running", 1));
    std::thread::sleep(Duration::from_secs(1));
    assert!(both.iter_mut().all(Process::is_running));
}
