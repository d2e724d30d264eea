//! The mesh over real sockets on loopback: it forms, strangers do not disturb it, misfits end it, the missing are
//! named.

mod loss;
mod strangers;
mod timely;

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::*;

/// What a process logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The lines that contain `text`.
    fn lines(&self, text: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(text)).map(str::to_string).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn identity() -> Identity {
    let [cluster, build, config] = ["test", "0.1.0-aa", "cafe"].map(str::to_string);
    Identity { cluster, build, config, generation: 7 }
}

fn secret() -> Secret {
    Secret::new("the secret of the tests").unwrap()
}

/// Configurations of all processes of a cluster with a secret and a deadline that fits tests.
fn configs(processes: usize) -> Vec<MeshConfig> {
    let addresses = free_loopback_addresses(processes).unwrap();
    (0..processes)
        .map(|index| {
            let mut config = MeshConfig::new(addresses.clone(), index, 2, identity());
            config.secret = Some(secret());
            config.deadline = Duration::from_secs(30);
            config
        })
        .collect()
}

type Formed = (Result<Vec<Option<TcpStream>>>, Duration, Log);

/// Runs `form` as a process would, in a thread that has a log of its own.
fn start(config: MeshConfig) -> JoinHandle<Formed> {
    thread::spawn(move || {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).without_time().finish();
        let start = Instant::now();
        let outcome = tracing::subscriber::with_default(subscriber, || form(&config));
        (outcome, start.elapsed(), log)
    })
}

fn form_all(configs: Vec<MeshConfig>) -> Vec<Formed> {
    let processes: Vec<_> = configs.into_iter().map(start).collect();
    processes.into_iter().map(|process| process.join().unwrap()).collect()
}

/// Checks that every pair of processes shares a connection, both ways.
fn assert_connected(formed: Vec<Formed>) {
    let mut rows: Vec<_> = formed.into_iter().map(|(outcome, ..)| outcome.unwrap()).collect();
    for (i, row) in rows.iter_mut().enumerate() {
        for (j, stream) in row.iter_mut().enumerate() {
            assert_eq!(stream.is_none(), i == j);
            if let Some(stream) = stream {
                stream.write_all(&[i as u8, j as u8]).unwrap();
            }
        }
    }
    for (i, row) in rows.iter_mut().enumerate() {
        for (j, stream) in row.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            let mut bytes = [0; 2];
            std::io::Read::read_exact(stream.as_mut().unwrap(), &mut bytes).unwrap();
            assert_eq!(bytes, [j as u8, i as u8]);
        }
    }
}

#[test]
fn processes_form_in_any_order_of_starting() {
    for order in [[0, 1, 2], [2, 1, 0]] {
        let configs = configs(3);
        let processes: Vec<_> = order
            .iter()
            .map(|i| {
                thread::sleep(Duration::from_millis(100));
                (*i, start(configs[*i].clone()))
            })
            .collect();
        let mut formed: Vec<_> = processes.into_iter().map(|(i, process)| (i, process.join().unwrap())).collect();
        formed.sort_by_key(|(i, _)| *i);
        assert_connected(formed.into_iter().map(|(_, formed)| formed).collect());
    }
}

#[test]
fn the_port_is_closed_afterwards_and_the_sockets_are_ready_for_timely() {
    let configs = configs(2);
    let address = configs[0].addresses[0].clone();
    let formed = form_all(configs);
    assert!(TcpStream::connect(address).is_err(), "the listener is gone");
    let stream = formed[1].0.as_ref().unwrap()[0].as_ref().unwrap();
    assert!(stream.nodelay().unwrap());
    assert_eq!((stream.read_timeout().unwrap(), stream.write_timeout().unwrap()), (None, None));
}

#[test]
fn one_process_needs_no_mesh() {
    let config = MeshConfig::new(vec!["198.51.100.1:2101".to_string()], 0, 1, identity());
    assert_eq!(form(&config).unwrap().len(), 1);
}

#[test]
fn without_a_secret_loopback_still_forms_and_still_compares() {
    let mut processes = configs(2);
    processes.iter_mut().for_each(|config| config.secret = None);
    let mut misfits = configs(2);
    misfits.iter_mut().for_each(|config| config.secret = None);
    assert_connected(form_all(processes));
    misfits[1].identity.config = "beef".to_string();
    let error = form_all(misfits).remove(0).0.unwrap_err().to_string();
    assert!(error.contains("config \"cafe\" here but \"beef\" there"), "{error}");
}

#[test]
fn other_addresses_need_a_secret() {
    for address in ["10.0.0.1:2101", "node-1:2101", "[2001:db8::1]:2101", "0.0.0.0:2101"] {
        let addresses = vec!["127.0.0.1:2101".to_string(), address.to_string()];
        let mut config = MeshConfig::new(addresses, 0, 1, identity());
        let error = form(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(address) && error.to_string().contains("--secret-file"), "{error}");
        assert!(config.check().is_err());
        config.insecure = true;
        assert!(config.check().is_ok());
        config.insecure = false;
        config.secret = Some(secret());
        assert!(config.check().is_ok());
    }
    let local = ["127.0.0.1:1", "127.8.8.8:1", "localhost:1", "[::1]:1"].map(str::to_string);
    let mut config = MeshConfig::new(local.to_vec(), 0, 1, identity());
    assert!(config.check().is_ok());
    config.bind = Some("0.0.0.0:1".parse().unwrap());
    assert!(config.check().is_err(), "where it listens counts, not only what it is called");
}

#[test]
fn faulty_configurations_are_told() {
    let good = configs(2).remove(0);
    let fails = |change: &dyn Fn(&mut MeshConfig), what: &str| {
        let mut config = good.clone();
        change(&mut config);
        let error = form(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(what), "{error}");
    };
    fails(&|c| c.index = 2, "index 2");
    fails(&|c| c.threads = 0, "0 workers");
    fails(&|c| c.addresses[1] = c.addresses[0].clone(), "two processes");
    fails(&|c| c.addresses[1] = "nowhere".to_string(), "no port");
    fails(&|c| c.identity.cluster = "x".repeat(TEXT_BYTES_MAX + 1), "257 bytes");
    fails(&|c| c.addresses = (0..=PROCESSES_MAX).map(|i| format!("127.0.0.1:{}", i + 1)).collect(), "limit of 1024");
}

#[test]
fn misfits_fail_at_once_on_both_sides_with_both_values() {
    type Change = fn(&mut MeshConfig);
    let cases: [(Change, [&str; 2]); 6] = [
        (|c| c.identity.build = "0.1.0-bb".to_string(), ["build \"0.1.0-aa\"", "\"0.1.0-bb\""]),
        (|c| c.identity.config = "beef".to_string(), ["config \"cafe\"", "\"beef\""]),
        (|c| c.identity.generation = 8, ["generation 7", "8"]),
        (|c| c.identity.cluster = "other".to_string(), ["cluster \"test\"", "\"other\""]),
        (|c| c.threads = 3, ["workers per process 2", "3"]),
        (|c| c.addresses.push("127.0.0.1:1".to_string()), ["processes 2", "3"]),
    ];
    for (change, [here, there]) in cases {
        let mut configs = configs(2);
        change(&mut configs[1]);
        let formed = form_all(configs);
        let told = formed.into_iter().map(|(outcome, time, _)| {
            assert!(time < Duration::from_secs(5), "{time:?}");
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Mesh);
            error.to_string()
        });
        let told: Vec<String> = told.collect();
        assert!(told[0].contains(&format!("{here} here but {there} there")), "{}", told[0]);
        assert!(told[1].contains(there) && told[1].contains(here.rsplit(' ').next().unwrap()), "{}", told[1]);
    }
}

#[test]
fn the_missing_are_named_with_address_and_reason() {
    let mut config = configs(3).remove(1);
    config.deadline = Duration::from_millis(500);
    let addresses = config.addresses.clone();
    let (outcome, time, _) = start(config).join().unwrap();
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mesh);
    let error = error.to_string();
    assert!(time >= Duration::from_millis(500) && time < Duration::from_secs(3), "{time:?}");
    assert!(error.contains(&format!("process 0 ({}): cannot be reached: Connection refused", addresses[0])), "{error}");
    assert!(error.contains(&format!("process 2 ({}): has not connected", addresses[2])), "{error}");
    assert!(error.contains("within 0.5 s"), "{error}");
}

#[test]
fn another_secret_is_told_on_both_sides_when_the_time_is_up() {
    let mut configs = configs(2);
    configs.iter_mut().for_each(|config| config.deadline = Duration::from_secs(1));
    configs[1].secret = Some(Secret::new("some other secret").unwrap());
    let formed = form_all(configs);
    for (outcome, ..) in &formed {
        let error = outcome.as_ref().unwrap_err().to_string();
        assert!(error.contains("another secret") && !error.contains("some other"), "{error}");
    }
    assert!(!formed[0].2.lines("uses another secret").is_empty());
}

#[test]
fn an_address_in_use_is_waited_for_and_then_told() {
    let mut config = configs(2).remove(0);
    let holder = TcpListener::bind(&config.addresses[0]).unwrap();
    config.deadline = Duration::from_millis(200);
    let error = form(&config).unwrap_err().to_string();
    assert!(error.contains(&format!("cannot listen on {:?}", config.addresses[0])), "{error}");

    let mut configs = configs_at(&config.addresses);
    let waiting = start(configs.remove(0));
    thread::sleep(Duration::from_millis(200));
    drop(holder);
    let formed = [start(configs.remove(0)).join().unwrap(), waiting.join().unwrap()];
    assert!(formed.iter().all(|(outcome, ..)| outcome.is_ok()));
}

fn configs_at(addresses: &[String]) -> Vec<MeshConfig> {
    let mut configs = configs(addresses.len());
    configs.iter_mut().for_each(|config| config.addresses = addresses.to_vec());
    configs
}

#[test]
fn a_process_that_restarts_while_the_mesh_forms_is_taken_again() {
    let configs = configs(3);
    let zero = start(configs[0].clone());
    // This process 1 reaches process 0, waits in vain for process 2, and leaves.
    let mut short = configs[1].clone();
    short.deadline = Duration::from_millis(500);
    let error = form(&short).unwrap_err().to_string();
    assert!(error.contains("process 2") && !error.contains("process 0 "), "{error}");
    let (one, two) = (start(configs[1].clone()), start(configs[2].clone()));
    let formed = [zero, one, two].map(|process| process.join().unwrap());
    assert!(!formed[0].2.lines("a process left while the mesh formed").is_empty());
    assert_connected(formed.into());
}
