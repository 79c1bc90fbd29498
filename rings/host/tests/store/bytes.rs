//! Whatever bytes come, the store answers as it should or drops the connection, and goes on.

use proptest::prelude::*;
use rings::DomId;
use rings::io::xs_wire::{XsdError, XsdSockmsg, XsdType};
use rings::store::frame::{self, Inbox};
use rings_host::store::{ConnId, Xenstored};
use zerocopy::IntoBytes;

/// Sends one message and returns the replies to it, events left out.
fn ask(store: &mut Xenstored, id: ConnId, header: XsdSockmsg, payload: &[u8]) -> Vec<Reply> {
    let mut message = header.as_bytes().to_vec();
    message.extend_from_slice(payload);
    store.input(id, &message);
    let output = store.output(id).to_vec();
    store.wrote(id, output.len());
    let mut inbox = Inbox::default();
    inbox.push(&output);
    let mut replies = Vec::new();
    while let Some((header, payload)) = inbox.take().unwrap() {
        if header.r#type != XsdType::WATCH_EVENT.number() {
            replies.push(Reply { header, payload });
        }
    }
    assert!(inbox.is_empty(), "half a message");
    replies
}

#[derive(Debug)]
struct Reply {
    header: XsdSockmsg,
    payload: Vec<u8>,
}

impl Reply {
    fn error(&self) -> Option<XsdError> {
        let is_error = self.header.r#type == XsdType::ERROR.number();
        is_error.then(|| XsdError::from_name(self.payload.strip_suffix(b"\0").unwrap()).unwrap())
    }
}

fn header(ty: u32, req_id: u32, tx_id: u32, len: usize) -> XsdSockmsg {
    XsdSockmsg { r#type: ty, req_id, tx_id, len: u32::try_from(len).unwrap() }
}

fn guest_store(domid: u16) -> (Xenstored, ConnId) {
    let mut store = Xenstored::new();
    store.mkdir("/local/domain/1").unwrap();
    store.set_perms("/local/domain/1", &["n1".parse().unwrap()]).unwrap();
    let id = store.connect(DomId(domid));
    (store, id)
}

/// Every type with every length, with NULs nowhere, at the end, everywhere, and between.
#[test]
fn every_type_with_every_length_gets_one_reply() {
    let mut ended = vec![b'a'; 4096];
    let fillings = [vec![b'a'; 4096], vec![0; 4096], b"a/b\0n1\0".repeat(600)];
    for domid in [0, 1] {
        let (mut store, id) = guest_store(domid);
        for ty in (0..=26).chain([0xffff, u32::MAX]) {
            ended.fill(b'a');
            for len in 0..=4096_usize {
                // Every fourth time: one NUL, at the end.
                if len % 4 == 3 {
                    ended[len.saturating_sub(5)] = b'a';
                    ended[len - 1] = 0;
                }
                let payload = &fillings.get(len % 4).unwrap_or(&ended)[..len];
                let replies = ask(&mut store, id, header(ty, 7, 0, len), payload);
                let [reply] = replies.as_slice() else { panic!("{ty} {len}: {replies:?}") };
                assert_eq!((reply.header.req_id, reply.header.tx_id), (7, 0));
                assert!(reply.error().is_some() || reply.header.r#type == ty);
            }
        }
        assert!(!store.is_dead(id));
    }
}

#[test]
fn a_payload_over_4096_bytes_gets_an_error_and_the_connection_dies() {
    for len in [4097, u32::MAX] {
        for ty in 0..=22 {
            let (mut store, id) = guest_store(1);
            let long = XsdSockmsg { r#type: ty, req_id: 1, tx_id: 0, len };
            let replies = ask(&mut store, id, long, &[]);
            assert_eq!(replies[0].error(), Some(XsdError::E2BIG));
            assert!(store.is_dead(id) && !store.wants_input(id));
            assert!(ask(&mut store, id, header(2, 2, 0, 0), &[]).is_empty(), "served no more");
        }
    }
}

#[test]
fn an_unknown_transaction_is_enoent_except_for_watches_which_ignore_it() {
    let (mut store, id) = guest_store(1);
    for &ty in XsdType::ALL {
        let payload: &[u8] = match ty {
            XsdType::WATCH | XsdType::UNWATCH => b"a\0token\0",
            _ => b"a\0",
        };
        let replies = ask(&mut store, id, header(ty.number(), 1, 99, payload.len()), payload);
        let expected = match ty {
            XsdType::WATCH | XsdType::UNWATCH => None,
            _ => Some(XsdError::ENOENT),
        };
        assert_eq!(replies[0].error(), expected, "{ty}");
    }
}

/// XSA-481 and its like: slashes where none belong.
#[test]
fn paths_with_stray_slashes_are_einval_for_every_request() {
    let (mut store, id) = guest_store(0);
    for path in ["/local/domain/", "//", "/local//domain", "", "a/", "/local/domain/1/", "@x/"] {
        for ty in [
            XsdType::READ,
            XsdType::DIRECTORY,
            XsdType::GET_PERMS,
            XsdType::MKDIR,
            XsdType::RM,
            XsdType::WRITE,
        ] {
            if ty == XsdType::GET_PERMS && path.starts_with('@') {
                continue;
            }
            let payload = format!("{path}\0");
            let message = header(ty.number(), 1, 0, payload.len());
            let replies = ask(&mut store, id, message, payload.as_bytes());
            assert_eq!(replies[0].error(), Some(XsdError::EINVAL), "{ty} {path:?}");
        }
    }
}

#[test]
fn what_only_a_toolstack_may_is_refused_to_guests() {
    for (domid, expected) in [(0, XsdError::ENOSYS), (1, XsdError::EACCES)] {
        let (mut store, id) = guest_store(domid);
        for ty in [
            XsdType::CONTROL,
            XsdType::INTRODUCE,
            XsdType::RELEASE,
            XsdType::RESUME,
            XsdType::SET_TARGET,
        ] {
            let replies = ask(&mut store, id, header(ty.number(), 1, 0, 2), b"1\0");
            assert_eq!(replies[0].error(), Some(expected), "{ty} by {domid}");
        }
    }
}

#[test]
fn is_domain_introduced_says_so() {
    let (mut store, id) = guest_store(0);
    let asked = |store: &mut Xenstored| {
        let ty = XsdType::IS_DOMAIN_INTRODUCED.number();
        ask(store, id, header(ty, 1, 0, 2), b"5\0").remove(0).payload
    };
    assert_eq!(asked(&mut store), b"F\0");
    store.introduce(DomId(5));
    assert_eq!(asked(&mut store), b"T\0");
    store.domain_gone(DomId(5));
    assert_eq!(asked(&mut store), b"F\0");
}

/// A message that is mostly right, so that random ones reach deep.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"/local/domain/1".to_vec()),
        Just(b"/".to_vec()),
        Just(b"a".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"n1\0".to_vec()),
        Just(b"T\0".to_vec()),
        Just(b"@releaseDomain\0".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    let payload = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    (0..28_u32, 0..4_u32, payload).prop_map(|(r#type, tx_id, payload)| {
        let mut message = Vec::new();
        frame::append(&mut message, XsdSockmsg { r#type, req_id: 1, tx_id, len: 0 }, &[&payload]);
        message
    })
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces(
        messages in prop::collection::vec(
            prop_oneof![
                9 => plausible(),
                1 => prop::collection::vec(any::<u8>(), 0..64),
            ],
            0..60,
        ),
        piece in 1_usize..200,
        domid in 0_u16..2,
    ) {
        let (mut store, id) = guest_store(domid);
        for chunk in messages.concat().chunks(piece) {
            store.input(id, chunk);
            let len = store.output(id).len();
            prop_assert!(len < 1 << 20);
            store.wrote(id, len / 2 + 1);
        }
        store.domain_gone(DomId(1));
        store.disconnect(id);
        prop_assert_eq!(store.usage(DomId(1)), Default::default());
    }
}
