use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::*;
use crate::error::ErrorKind;

const LOOPBACK: &str = "127.0.0.1:0";

struct Server {
    admin: Admin,
    readiness: Readiness,
    _io: IoThread,
}

fn server(limits: AdminLimits) -> Server {
    let io = IoThread::start().unwrap();
    let readiness = Readiness::default();
    let hosts = vec!["node-1".to_owned()];
    let options = AdminOptions { address: LOOPBACK.parse().unwrap(), explicit: true, hosts, limits };
    let metrics = Metrics::new("flow");
    metrics.source("logins", 0).partition("0").read(3, 30);
    let admin = Admin::start(&io, options, metrics, readiness.clone()).unwrap();
    Server { admin, readiness, _io: io }
}

impl Server {
    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.admin.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    fn send(&self, request: &[u8]) -> String {
        let mut socket = self.connect();
        socket.write_all(request).unwrap();
        read_all(&mut socket)
    }

    fn get(&self, path: &str) -> (u16, String) {
        let response = self.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes());
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {response:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

/// What comes until the server closes the connection.
fn read_all(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(e) if e.kind() == IoErrorKind::ConnectionReset => {}
        Err(e) => panic!("{e}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn routes() {
    let server = server(AdminLimits::default());
    let (status, text) = server.get("/metrics");
    assert_eq!(status, 200);
    assert!(
        text.contains("tidewatch_source_records_total{source=\"logins\",worker=\"0\",dataflow=\"flow\"} 3"),
        "{text}"
    );
    assert!(text.contains("process_resident_memory_bytes{dataflow=\"flow\"}"), "{text}");
    let (status, json) = server.get("/dataflow?pretty");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (status, &json["dataflow"], &json["totals"]["sources"]["logins"]["read"]),
        (200, &"flow".into(), &3.into())
    );
    assert_eq!(server.get("/healthz").0, 200);
    assert_eq!(server.get("/").0, 200);
    for path in ["/nothing", "/metrics/", "/../../etc/passwd", "/%2e%2e/etc/passwd", "//metrics"] {
        let (status, body) = server.get(path);
        assert_eq!(status, 404, "{path}");
        for route in ["/metrics", "/dataflow", "/healthz", "/readyz"] {
            assert!(body.contains(route), "{path}: {body}");
        }
    }
}

#[test]
fn ready_only_between_start_and_shutdown() {
    let server = server(AdminLimits::default());
    assert_eq!(server.get("/readyz"), (503, "starting\n".into()));
    server.readiness.running();
    assert_eq!(server.get("/readyz"), (200, "running\n".into()));
    server.readiness.stopping();
    assert_eq!(server.get("/readyz"), (503, "stopping\n".into()));
    server.readiness.running();
    assert!(!server.readiness.is_ready(), "a late start does not undo a shutdown");
    assert_eq!(server.get("/healthz").0, 200);
}

#[test]
fn only_get_and_head_and_no_bodies() {
    let server = server(AdminLimits::default());
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let response = server.send(format!("{method} /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes());
        assert!(response.starts_with("HTTP/1.1 405"), "{method}: {response}");
        assert!(response.to_lowercase().contains("\r\nallow: get, head\r\n"), "{method}: {response}");
    }
    // A body is announced and never sent: the answer does not wait for it.
    let response = server.send(b"POST /metrics HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
    assert!(response.starts_with("HTTP/1.1 405"), "{response}");
    let response = server.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n");
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    // One request per connection, so nothing comes of sending more at once.
    let response = server.send(&b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(50));
    assert_eq!(response.matches("HTTP/1.1 200").count(), 1, "{response}");
    let response = server.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(!response.contains("200"), "{response}");
}

#[test]
fn headers_have_a_limit() {
    let server = server(AdminLimits::default());
    let request =
        |bytes: usize| format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\na: {}\r\n\r\n", "x".repeat(bytes));
    assert!(server.send(request(15 * 1024).as_bytes()).starts_with("HTTP/1.1 200"));
    let mut socket = server.connect();
    // The server may close before all of it is written.
    let _ = socket.write_all(request(1024 * 1024).as_bytes());
    let response = read_all(&mut socket);
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 431"), "{response}");
    assert_eq!(server.get("/healthz").0, 200);
}

#[test]
fn a_slow_request_is_cut_off() {
    let limits = AdminLimits { header_timeout: Duration::from_millis(300), ..AdminLimits::default() };
    let server = server(limits);
    let start = Instant::now();
    let mut silent = server.connect();
    let mut slow = server.connect();
    let dribble = std::thread::spawn(move || {
        for byte in b"GET /metrics HTTP/1.1\r\nhost: ".iter().chain(std::iter::repeat(&b'x')) {
            if slow.write_all(&[*byte]).is_err() {
                return start.elapsed();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        unreachable!("the loop ends when the server hangs up");
    });
    assert_eq!(read_all(&mut silent), "");
    assert!(start.elapsed() < Duration::from_secs(5), "silence: {:?}", start.elapsed());
    let slow = dribble.join().unwrap();
    assert!(slow < Duration::from_secs(5), "dribble: {slow:?}");
    assert_eq!(AdminLimits::default().header_timeout, Duration::from_secs(10));
}

#[test]
fn a_head_is_that_of_get_without_its_body() {
    let server = server(AdminLimits::default());
    for path in ["/healthz", "/metrics", "/dataflow", "/nothing"] {
        let of = |method: &str| server.send(format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes());
        let (head, get) = (of("HEAD"), of("GET"));
        assert!(head.ends_with("\r\n\r\n") && head.contains("content-length: "), "{head}");
        assert_eq!(head.lines().next(), get.lines().next(), "{path}");
    }
    assert!(server.send(b"HEAD /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n").starts_with("HTTP/1.1 503"));
}

#[test]
fn what_a_page_of_another_site_sends_is_refused() {
    let server = server(AdminLimits::default());
    let of = |headers: &str| server.send(format!("GET /metrics HTTP/1.1\r\n{headers}\r\n\r\n").as_bytes());
    assert!(of("host: node-1:9740").starts_with("HTTP/1.1 200"));
    let response = of("host: attacker.example");
    assert!(response.starts_with("HTTP/1.1 421") && response.contains("engine.admin_hosts"), "{response}");
    assert!(!response.contains("tidewatch_source"), "{response}");
    let response = of("host: localhost\r\norigin: http://attacker.example");
    assert!(response.starts_with("HTTP/1.1 403") && !response.contains("tidewatch_source"), "{response}");
    assert!(server.send(b"GET /healthz HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200"));
}

#[test]
fn slow_connections_keep_nobody_out() {
    let server = server(AdminLimits::default());
    let mut idle: Vec<TcpStream> = (0..64).map(|_| server.connect()).collect();
    for slow in &mut idle[32..] {
        slow.write_all(b"GET /metrics HTTP/1.1\r\nhost: ").unwrap();
    }
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(server.get("/healthz").0, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // The first one that came had to make room.
    assert_eq!(read_all(&mut idle[0]), "");
}

#[test]
fn a_taken_address() {
    let taken = TcpListener::bind(LOOPBACK).unwrap();
    let address = taken.local_addr().unwrap();
    let io = IoThread::start().unwrap();
    let start = |explicit| {
        let options = AdminOptions { address, explicit, hosts: Vec::new(), limits: AdminLimits::default() };
        Admin::start(&io, options, Metrics::new("flow"), Readiness::default())
    };
    let error = start(true).err().expect("the address is taken");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains(&address.to_string()) && error.to_string().contains("hint"), "{error}");
    let admin = start(false).unwrap();
    assert_eq!(admin.address().ip(), address.ip());
    assert_ne!(admin.address().port(), address.port());
}

#[test]
fn stopping_closes_the_port_and_open_connections() {
    let io = IoThread::start().unwrap();
    let (address, hosts) = (LOOPBACK.parse().unwrap(), Vec::new());
    let options = AdminOptions { address, explicit: true, hosts, limits: AdminLimits::default() };
    let admin = Admin::start(&io, options, Metrics::new("flow"), Readiness::default()).unwrap();
    let address = admin.address();
    let mut open = TcpStream::connect(address).unwrap();
    open.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    admin.stop();
    assert_eq!(read_all(&mut open), "");
    assert!(TcpStream::connect(address).is_err());
    let (say, heard) = std::sync::mpsc::channel();
    io.handle().spawn(async move { say.send(std::thread::current().name().map(str::to_owned)).unwrap() });
    assert_eq!(heard.recv_timeout(Duration::from_secs(5)).unwrap().as_deref(), Some("tidewatch-io"));
    io.stop();
}
