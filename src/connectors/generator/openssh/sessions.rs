//! What sshd, PAM, logind, sudo and cron write about one connection or one job, in the words of OpenSSH 9 on Debian 12.

use std::net::IpAddr;

use super::super::random::Random;
use super::plan::Attempt;

/// A future line: its time, process and message.
#[derive(Debug)]
pub(super) struct PlannedLine {
    pub at_ms: i64,
    pub program: &'static str,
    pub pid: Option<u64>,
    pub message: String,
}

/// Collects the lines of one session.
pub(super) struct SshSession<'a> {
    pub random: &'a mut Random,
    pub said: &'a mut Vec<PlannedLine>,
    pub now_ms: i64,
    /// The process of sshd or cron.
    pub pid: u64,
}

/// Who comes from where.
#[derive(Clone, Copy)]
pub(super) struct SshClient<'a> {
    pub user: &'a str,
    pub ip: IpAddr,
    pub port: u64,
}

impl SshSession<'_> {
    fn say(&mut self, program: &'static str, pid: Option<u64>, message: String) {
        self.said.push(PlannedLine { at_ms: self.now_ms, program, pid, message });
    }

    fn sshd(&mut self, message: String) {
        self.say("sshd", Some(self.pid), message);
    }

    fn pass(&mut self, low_ms: u64, high_ms: u64) {
        self.now_ms += self.random.between(low_ms, high_ms) as i64;
    }

    /// `failures` wrong passwords, at most 3, in less than 10 s.
    pub fn failures(&mut self, client: SshClient<'_>, known: bool, failures: u64) {
        let SshClient { user, ip, port } = client;
        let (invalid, of_user) = if known { ("", format!("  user={user}")) } else { ("invalid user ", String::new()) };
        if !known {
            self.sshd(format!("Invalid user {user} from {ip} port {port}"));
            self.sshd("pam_unix(sshd:auth): check pass; user unknown".into());
        }
        self.sshd(format!(
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}{of_user}"
        ));
        self.pass(500, 2_500);
        let failed = format!("Failed password for {invalid}{user} from {ip} port {port} ssh2");
        self.sshd(failed.clone());
        if failures == 3 {
            self.pass(2_000, 5_000);
            self.sshd(format!("message repeated 2 times: [ {failed}]"));
        } else if failures == 2 {
            self.pass(1_000, 3_000);
            self.sshd(failed);
        }
    }

    /// A guess of an attacker: failures and the end of the connection, or a success. Takes less than 15 s.
    pub fn attempt(&mut self, attempt: &Attempt, port: u64) {
        let client = SshClient { user: &attempt.user, ip: attempt.source_ip, port };
        if attempt.succeeds {
            self.accepted(client, "password", "");
            self.pass(2_000, 9_000);
            self.logout(client);
            return;
        }
        self.failures(client, attempt.known_user(), attempt.failures);
        self.pass(50, 1_500);
        let SshClient { user, ip, port } = client;
        let whose = if attempt.known_user() { "authenticating" } else { "invalid" };
        if attempt.failures == 3 {
            self.sshd(format!(
                "Disconnecting {whose} user {user} {ip} port {port}: Too many authentication failures [preauth]"
            ));
        } else {
            self.sshd(format!("Connection closed by {whose} user {user} {ip} port {port} [preauth]"));
        }
    }

    fn accepted(&mut self, client: SshClient<'_>, method: &str, tail: &str) {
        let SshClient { user, ip, port } = client;
        self.sshd(format!("Accepted {method} for {user} from {ip} port {port} ssh2{tail}"));
        self.pass(1, 40);
        self.sshd(format!("pam_unix(sshd:session): session opened for user {user}(uid={}) by (uid=0)", uid(user)));
        self.pass(1, 40);
        self.say("systemd-logind", Some(612), format!("New session {} of user {user}.", self.pid));
    }

    fn logout(&mut self, client: SshClient<'_>) {
        let SshClient { user, ip, port } = client;
        self.sshd(format!("Received disconnect from {ip} port {port}:11: disconnected by user"));
        self.sshd(format!("Disconnected from user {user} {ip} port {port}"));
        self.sshd(format!("pam_unix(sshd:session): session closed for user {user}"));
        self.pass(1, 40);
        self.say(
            "systemd-logind",
            Some(612),
            format!("Session {} logged out. Waiting for processes to exit.", self.pid),
        );
        self.say("systemd-logind", Some(612), format!("Removed session {}.", self.pid));
    }

    /// An ordinary login, after `mistypes` wrong passwords, for at most `stay_ms`.
    pub fn login(&mut self, client: SshClient<'_>, by_key: bool, mistypes: u64, stay_ms: u64) {
        if mistypes > 0 {
            self.failures(client, true, mistypes);
            self.pass(500, 4_000);
        }
        if by_key {
            let print: String = (0..43).map(|_| self.random.pick(BASE64) as char).collect();
            self.accepted(client, "publickey", &format!(": ED25519 SHA256:{print}"));
        } else {
            self.accepted(client, "password", "");
        }
        self.pass(0, stay_ms / 2);
        if self.random.below(3) == 0 {
            self.sudo(client.user);
        }
        self.pass(0, stay_ms / 2);
        self.logout(client);
    }

    fn sudo(&mut self, user: &str) {
        let command = self.random.pick(&[
            "/usr/bin/systemctl restart nginx",
            "/usr/bin/apt-get update",
            "/usr/bin/journalctl -u postgresql",
            "/usr/bin/tail -n 50 /var/log/auth.log",
        ]);
        let tty = format!("{user:>8} : TTY=pts/0 ; PWD=/home/{user} ; USER=root"); // tidy: sample
        self.say("sudo", None, format!("{tty} ; COMMAND={command}"));
        let by = format!("session opened for user root(uid=0) by {user}(uid={})", uid(user));
        self.say("sudo", None, format!("pam_unix(sudo:session): {by}"));
        self.pass(20, 3_000);
        self.say("sudo", None, "pam_unix(sudo:session): session closed for user root".into());
    }

    /// A job of cron.
    pub fn cron(&mut self) {
        let user = self.random.pick(&["root", "root", "www-data", "backup"]);
        let opened = format!("session opened for user {user}(uid={}) by (uid=0)", uid(user));
        self.say("CRON", Some(self.pid), format!("pam_unix(cron:session): {opened}"));
        self.pass(10, 2_000);
        self.say("CRON", Some(self.pid), format!("pam_unix(cron:session): session closed for user {user}"));
    }

    /// Someone on the internet who connects without trying to log in.
    pub fn probe(&mut self, ip: IpAddr, port: u64) {
        match self.random.below(3) {
            0 => self.sshd(format!("Connection closed by {ip} port {port} [preauth]")),
            1 => {
                self.say(
                    "sshd",
                    Some(self.pid),
                    "error: kex_exchange_identification: Connection closed by remote host".into(),
                );
                self.sshd(format!("Connection closed by {ip} port {port}"));
            }
            _ => self.sshd(format!("banner exchange: Connection from {ip} port {port}: invalid format")),
        }
    }

    /// Someone on the internet who tries one user once.
    pub fn stray(&mut self, client: SshClient<'_>) {
        self.failures(client, false, 1);
        let SshClient { user, ip, port } = client;
        self.pass(50, 1_500);
        self.sshd(format!("Connection closed by invalid user {user} {ip} port {port} [preauth]"));
    }
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn uid(user: &str) -> u64 {
    match user {
        "root" => 0,
        "www-data" => 33,
        "backup" => 34,
        _ => 1000 + user.bytes().fold(0, |sum, byte| (sum * 31 + u64::from(byte)) % 500),
    }
}
