//! A client and servers that lie to it. Honest ones are met in the tests of `rings-host`.

use proptest::prelude::*;

use super::*;
use crate::store::link::MAX_EVENTS;
use std::collections::VecDeque;
use std::io;

/// Answers each request with bytes made up beforehand, then closes.
struct Liar {
    answers: VecDeque<Vec<u8>>,
    sent: Vec<u8>,
}

impl Transport for Liar {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent.extend_from_slice(bytes);
        Ok(())
    }

    fn recv(&mut self, buf: &mut [u8], _: Option<Duration>) -> io::Result<usize> {
        let Some(mut answer) = self.answers.pop_front() else { return Ok(0) };
        let rest = answer.split_off(answer.len().min(buf.len()));
        buf[..answer.len()].copy_from_slice(&answer);
        if !rest.is_empty() {
            self.answers.push_front(rest);
        }
        Ok(answer.len())
    }
}

fn message(r#type: u32, req_id: u32, tx_id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, XsdSockmsg { r#type, req_id, tx_id, len: 0 }, &[payload]).unwrap();
    bytes
}

fn client(answers: &[Vec<u8>]) -> XsClient<Liar> {
    XsClient::new(Liar { answers: answers.to_vec().into(), sent: Vec::new() })
}

const READ: u32 = 2;
const WRITE: u32 = 11;
const EVENT: u32 = 15;
const ERROR: u32 = 16;

#[test]
fn a_wrong_reply_is_an_error_and_the_end_of_the_connection() {
    let long = XsdSockmsg { r#type: READ, req_id: 1, tx_id: 0, len: 4097 };
    let lies = [
        message(READ, 2, 0, b"x"),
        message(READ, 1, 5, b"x"),
        message(WRITE, 1, 0, b"OK\0"),
        message(99, 1, 0, b"x"),
        message(ERROR, 1, 0, b"EWHAT\0"),
        message(ERROR, 1, 0, b"ENOENT"),
        message(ERROR, 1, 0, b""),
        message(EVENT, 0, 0, b"/path\0"),
        message(EVENT, 0, 0, b"/path\0token"),
        message(EVENT, 0, 0, b"/path\0token\0more\0"),
        zerocopy::IntoBytes::as_bytes(&long).to_vec(),
    ];
    for lie in lies {
        let mut client = client(&[lie.clone(), message(READ, 2, 0, b"x")]);
        let error = client.read("/x").unwrap_err();
        assert!(matches!(error, StoreError::Protocol(_)), "{lie:?}: {error}");
        assert!(matches!(client.read("/x"), Err(StoreError::Broken)));
        assert!(matches!(client.next_event(None), Err(StoreError::Broken)));
    }
}

#[test]
fn an_honest_error_carries_request_path_and_name() {
    let mut client = client(&[message(ERROR, 1, 0, b"EACCES\0"), message(READ, 2, 0, b"v")]);
    assert_eq!(client.read("/x").unwrap_err().to_string(), "xenstore: READ /x: EACCES");
    assert_eq!(client.read("/x").unwrap(), b"v", "the connection is good still");
}

#[test]
fn what_does_not_fit_a_message_is_not_sent() {
    let mut client = client(&[]);
    for (path, value) in [("/x", vec![0; 4094]), ("/x\0y", vec![])] {
        let error = client.write(path, value).unwrap_err();
        assert!(matches!(error, StoreError::Unsendable { .. }));
    }
    assert!(matches!(client.watch("/x", "a\0b"), Err(StoreError::Unsendable { .. })));
    assert!(client.transport().sent.is_empty());
}

#[test]
fn equal_events_are_kept_once_and_a_flood_is_thinned_to_one_for_each_watch() {
    let event = |n: usize| message(EVENT, 0, 0, format!("/{n}\0t\0").as_bytes());
    let other = message(EVENT, 0, 0, b"/0\0other\0");
    let equal: Vec<u8> = (0..100_000).flat_map(|_| event(1)).collect();
    let mut patient = client(&[equal, message(READ, 1, 0, b"v")]);
    assert_eq!(patient.read("/x").unwrap(), b"v");
    assert_eq!(patient.link.events.len(), 1);

    let flood: Vec<u8> = (0..20 * MAX_EVENTS).flat_map(event).collect();
    let mut flooded = client(&[flood, other, message(READ, 1, 0, b"v")]);
    assert_eq!(flooded.read("/x").unwrap(), b"v", "nobody else can end the connection");
    assert_eq!(flooded.link.events.len(), MAX_EVENTS + 1);
    let last = flooded.link.events.back().expect("the other watch's");
    assert_eq!(last.token, "other", "each watch is heard of");
}

#[test]
fn a_list_in_parts_without_end_or_progress_is_refused() {
    let part = |req_id, payload: &[u8]| message(22, req_id, 0, payload);
    let too_big = message(ERROR, 1, 0, b"E2BIG\0");
    let mut still = client(&[too_big.clone(), part(2, b"7\0")]);
    assert!(matches!(still.directory("/x"), Err(StoreError::Protocol(_))));

    let names = [b"7\0".as_slice(), &[b'x'; 4000], b"\0"].concat();
    let endless: Vec<_> = (2..6000).map(|req_id| part(req_id, &names)).collect();
    let mut endless = client(&[vec![too_big.clone()], endless].concat());
    assert!(matches!(endless.directory("/x"), Err(StoreError::Protocol(_))));

    let restless: Vec<_> = (2..400).map(|n| part(n, format!("{n}\0x\0").as_bytes())).collect();
    let mut restless = client(&[vec![too_big], restless].concat());
    assert!(matches!(restless.directory("/x"), Err(StoreError::Conflict(_))));
}

proptest! {
    #[test]
    fn no_bytes_make_the_client_panic(
        answers in prop::collection::vec(
            prop_oneof![
                (0_u32..24, 0_u32..6, 0_u32..2, prop::collection::vec(any::<u8>(), 0..40))
                    .prop_map(|(ty, req_id, tx_id, payload)| message(ty, req_id, tx_id, &payload)),
                prop::collection::vec(any::<u8>(), 1..40),
            ],
            0..20,
        ),
    ) {
        let mut client = client(&answers);
        _ = client.watch("/x", "t");
        _ = client.directory("/x");
        _ = client.get_perms("/x");
        _ = client.transaction(|tx| tx.read_string("/x"));
        _ = client.next_event(None);
    }
}
