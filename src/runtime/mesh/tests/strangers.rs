//! Everybody who is not one of us: refused, logged once, and no reason for the cluster to wait.

use std::io::Read;
use std::net::Shutdown;

use super::super::frame::{Greeting, Role};
use super::super::handshake::{HandshakeFailure, Local};
use super::*;

/// What the log says of those who neither proved nor disproved themselves.
const UNFINISHED: &str = "had not finished its handshake";

/// A connection to process 0, and where it comes from.
fn knock(address: &str) -> (TcpStream, String) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                let own = stream.local_addr().unwrap().to_string();
                return (stream, own);
            }
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("process 0 does not listen: {error}"),
        }
    }
}

/// Opens one connection per kind of stranger; gives for each its socket, its address and what the log says.
fn strangers(config: &MeshConfig) -> Vec<(TcpStream, String, &'static str)> {
    let address = &config.addresses[0];
    let mut all = Vec::new();
    let mut send = |bytes: &[u8], reason| {
        let (mut stream, own) = knock(address);
        stream.write_all(bytes).unwrap();
        all.push((stream, own, reason));
    };
    let greeting = |role, from| Greeting { role, from, to: 0, nonce: [1; 32] }.encode().to_vec();
    send(&[0xde; 100], "no greeting");
    send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP");
    send(b"", UNFINISHED);
    send(b"tide", UNFINISHED);
    send(&1u64.to_be_bytes(), "no greeting");
    send(&greeting(Role::Listener, 1), "greeted as role 2");
    send(&[greeting(Role::Connector, 1), vec![0xff; 10]].concat(), "announced an identity of 65535 bytes");
    // A proof made of nothing, from every index: our own, a real one, and one that does not exist.
    for from in [0, 1, 99, u32::MAX] {
        send(&[greeting(Role::Connector, from), vec![0, 0], vec![0; 32]].concat(), "another secret");
    }
    let (stream, own) = knock(address);
    stream.shutdown(Shutdown::Write).unwrap();
    all.push((stream, own, "closed the connection"));

    // They speak our protocol, but with another secret, or as somebody they cannot be.
    let mut speak = |change: &dyn Fn(&mut MeshConfig), reason| {
        let mut liar = config.clone();
        change(&mut liar);
        let (stream, own) = knock(address);
        assert!(Local::new(&liar).connect(&stream, 0).is_err());
        all.push((stream, own, reason));
    };
    speak(&|c| (c.index, c.secret) = (1, None), "another secret");
    speak(&|c| (c.index, c.secret) = (1, Some(Secret::generate().unwrap())), "another secret");
    speak(&|c| c.index = 0, "claims to be process 0");
    speak(&|c| c.index = 99, "claims to be process 99");
    // Those who said enough are refused now, and not only because the mesh has formed.
    for (stream, _, reason) in all.iter_mut().filter(|(_, _, reason)| *reason != UNFINISHED) {
        stream.set_read_timeout(Some(CANDIDATE_DEADLINE * 2)).unwrap();
        let end = stream.read_to_end(&mut Vec::new());
        let closed = end.as_ref().map_or_else(|e| e.kind() == std::io::ErrorKind::ConnectionReset, |_| true);
        assert!(closed, "{reason}: {end:?}");
    }
    all
}

#[test]
fn the_cluster_forms_among_strangers_and_logs_each_once() {
    let configs = configs(3);
    let begin = Instant::now();
    let zero = start(configs[0].clone());
    let mut others = strangers(&configs[0]);
    let one = start(configs[1].clone());
    thread::sleep(Duration::from_millis(100));
    // Once process 1 is in, nobody else can be.
    let (stream, own) = knock(&configs[0].addresses[0]);
    match Local::new(&configs[1]).connect(&stream, 0) {
        Err(HandshakeFailure::Refused { reason, .. }) => assert!(reason.contains("another connection"), "{reason}"),
        _ => panic!("two processes with one index"),
    }
    others.push((stream, own, "claims index 1, which is connected already"));
    others.extend(strangers(&configs[0]));
    let two = start(configs[2].clone());
    let formed = [zero, one, two].map(|process| process.join().unwrap());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let log = formed[0].2.clone();
    for (_, own, reason) in &others {
        let lines = log.lines(&format!("peer={own} "));
        assert_eq!(lines.len(), 1, "{own} {reason}: {lines:?}");
        assert!(lines[0].contains("WARN") && lines[0].contains(reason), "{reason}: {}", lines[0]);
    }
    assert_eq!(log.lines("refused a candidate").len(), others.len());
    assert_connected(formed.into());
}

#[test]
fn the_silent_are_sent_away_after_the_handshakes_deadline() {
    let mut config = configs(2).remove(0);
    config.deadline = CANDIDATE_DEADLINE + Duration::from_secs(2);
    let address = config.addresses[0].clone();
    let process = start(config);
    let (mut stream, own) = knock(&address);
    let begin = Instant::now();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!((2500..4500).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    let (_, _, log) = process.join().unwrap();
    let lines = log.lines(&own);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("silent until the handshake's deadline"), "{lines:?}");
}

#[test]
fn a_crowd_of_silent_strangers_keeps_nobody_out() {
    let configs = configs(2);
    let begin = Instant::now();
    let zero = start(configs[0].clone());
    let crowd: Vec<_> = (0..3 * form::CANDIDATES_MAX).map(|_| knock(&configs[0].addresses[0])).collect();
    let one = start(configs[1].clone());
    let formed = [zero, one].map(|process| process.join().unwrap());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(!formed[0].2.lines("newer candidates needed its place").is_empty());
    assert!(formed[0].2.lines("refused a candidate").len() <= crowd.len());
    assert_connected(formed.into());
}

#[test]
fn an_impostor_at_the_address_of_a_process_is_not_believed() {
    let mut configs = configs(2);
    let impostor = TcpListener::bind(&configs[0].addresses[0]).unwrap();
    let one = start(configs.remove(1));
    // It plays back our own frames, as the listener it pretends to be.
    let (mut stream, _) = impostor.accept().unwrap();
    let mut greeting = [0; 52];
    stream.read_exact(&mut greeting).unwrap();
    greeting[10] = Role::Listener as u8;
    let (from, to) = greeting[12..20].split_at_mut(4);
    from.swap_with_slice(to);
    stream.write_all(&greeting).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut rest = vec![0; usize::from(u16::from_be_bytes(length)) + 32];
    stream.read_exact(&mut rest).unwrap();
    stream.write_all(&[&[1], &length[..], &rest].concat()).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "refused");
    drop((stream, impostor));
    let zero = start(configs.remove(0)).join().unwrap();
    let one = one.join().unwrap();
    assert_eq!(one.2.lines("uses another secret").len(), 1);
    assert_connected(vec![zero, one]);
}
