//! A guest that writes into the store without pause, and one that has business there (XSA-206): how
//! far each gets. The store is driven by hand, with a clock of our own.

use std::time::{Duration, Instant};

use rings::DomId;
use rings::io::xs_wire::{XsdSockmsg, XsdType};
use rings::store::{Perm, frame};
use rings_host::store::{ConnId, Xenstored};

const VICTIM: DomId = DomId(1);
const WRITER: DomId = DomId(2);
const STEP: Duration = Duration::from_millis(1);

/// Both, and the time.
pub(crate) struct Scene {
    store: Xenstored,
    pub(crate) victim: ConnId,
    pub(crate) writer: ConnId,
    now: Instant,
}

impl Scene {
    /// Each has a home; what lies in `/shared` may be written by the writer and read by all.
    pub(crate) fn new() -> Self {
        let mut store = Xenstored::new();
        for domid in [VICTIM, WRITER] {
            let home = format!("/local/domain/{domid}");
            store.mkdir(&home).unwrap();
            store.set_perms(&home, &[Perm::none(domid)]).unwrap();
            store.introduce(domid);
        }
        store.write("/shared", "").unwrap();
        let perms: Vec<Perm> = ["r0", "b2"].iter().map(|perm| perm.parse().unwrap()).collect();
        store.set_perms("/shared", &perms).unwrap();
        let (victim, writer) = (store.connect(VICTIM), store.connect(WRITER));
        let now = Instant::now();
        store.tick(now);
        Self { store, victim, writer, now }
    }

    /// A client that reads what it is answered: the payload, if it is answered at once.
    pub(crate) fn ask(
        &mut self,
        id: ConnId,
        request: XsdType,
        tx: u32,
        args: &str,
    ) -> Option<String> {
        let header = XsdSockmsg { r#type: request.number(), tx_id: tx, ..Default::default() };
        let mut bytes = Vec::new();
        frame::append(&mut bytes, header, &[args.as_bytes()]);
        self.store.input(id, &bytes);
        self.answer(id)
    }

    fn answer(&mut self, id: ConnId) -> Option<String> {
        let output = self.store.output(id).to_vec();
        self.store.wrote(id, output.len());
        let text = output.get(size_of::<XsdSockmsg>()..)?;
        Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
    }

    /// Lets the writer write for so long, as often as it is served.
    pub(crate) fn write_for(&mut self, time: Duration, args: &str) -> u32 {
        let (end, mut served) = (self.now + time, 0);
        while self.now < end {
            self.now += STEP;
            self.store.tick(self.now);
            served += u32::from(self.answer(self.writer).is_some());
            // It can write no faster than this, and would like to.
            for _ in 0..100 {
                if !self.store.wants_input(self.writer) {
                    break;
                }
                let answer = self.ask(self.writer, XsdType::WRITE, 0, args);
                served += u32::from(answer.as_deref() == Some("OK"));
            }
        }
        served
    }

    /// The victim looks at a node that the writer writes, takes `time` for it, and writes one of its
    /// own: whether that is committed.
    pub(crate) fn transaction(&mut self, time: Duration) -> bool {
        let tx = self.ask(self.victim, XsdType::TRANSACTION_START, 0, "\0");
        let tx = tx.and_then(|tx| tx.parse().ok()).expect("a transaction");
        self.ask(self.victim, XsdType::READ, tx, "/shared\0").expect("readable");
        self.write_for(time, "/shared\0x");
        let written = self.ask(self.victim, XsdType::WRITE, tx, "data\0mine");
        assert_eq!(written.as_deref(), Some("OK"));
        self.ask(self.victim, XsdType::TRANSACTION_END, tx, "T\0").expect("answered") == "OK"
    }
}
