//! Random operations by three domains, in and out of transactions, against a model that is a map
//! from paths to values and permissions, slow and plain.
//!
//! A commit that succeeds must have the effect, and its operations the outcomes, of doing all of
//! them at that moment; one that is refused must have none; one that nobody disturbed must succeed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rings::DomId;
use rings::io::xs_wire::XsdError;
use rings::store::{Nodes, Perm, StoreError};
use rings_host::store::Usage;

use crate::lab::{Client, Lab, perms};

#[derive(Clone, Debug)]
enum Op {
    Read(String),
    List(String),
    GetPerms(String),
    Write(String, String),
    Mkdir(String),
    Rm(String),
    SetPerms(String, &'static str),
}

#[derive(Clone, Debug)]
enum Step {
    /// By whom, in its open transaction if it has one and this is set.
    Do(usize, bool, Op),
    Start(usize),
    End(usize, bool),
}

type Outcome = Result<String, XsdError>;

#[derive(Clone, PartialEq, Debug)]
struct Model(BTreeMap<String, (String, Vec<Perm>)>);

impl Model {
    fn new() -> Self {
        let dom0 = |path: &str| (path.to_owned(), (String::new(), perms("n0")));
        Self(["/", "/tool", "/tool/xenstored"].map(dom0).into())
    }

    fn parent(path: &str) -> String {
        let (above, _) = path.rsplit_once('/').unwrap();
        if above.is_empty() { "/".into() } else { above.into() }
    }

    fn children(&self, path: &str) -> Vec<String> {
        let names = self.0.keys().filter(|other| *other != "/" && Self::parent(other) == path);
        names.map(|other| other.rsplit('/').next().unwrap().to_owned()).collect()
    }

    fn may(&self, who: u16, path: &str, letters: &str) -> bool {
        let perms = &self.0[path].1;
        let own = perms[1..].iter().find(|perm| perm.domid.0 == who).unwrap_or(&perms[0]);
        who == 0 || perms[0].domid.0 == who || letters.contains(&own.to_string()[..1])
    }

    fn check(&self, who: u16, path: &str, letters: &str) -> Result<(), XsdError> {
        let mut nearest = path.to_owned();
        while !self.0.contains_key(&nearest) {
            nearest = Self::parent(&nearest);
        }
        match (self.may(who, &nearest, letters), nearest == path) {
            (false, _) => Err(XsdError::EACCES),
            (true, false) => Err(XsdError::ENOENT),
            (true, true) => Ok(()),
        }
    }

    fn make(&mut self, who: u16, path: &str) {
        if !self.0.contains_key(path) {
            let parent = Self::parent(path);
            self.make(who, &parent);
            let mut perms = self.0[&parent].1.clone();
            if who != 0 {
                perms[0].domid = DomId(who);
            }
            self.0.insert(path.to_owned(), (String::new(), perms));
        }
    }

    fn apply(&mut self, who: u16, op: &Op) -> Outcome {
        match op {
            Op::Read(path) => self.check(who, path, "rb").map(|()| self.0[path].0.clone()),
            Op::List(path) => self.check(who, path, "rb").map(|()| self.children(path).join(",")),
            Op::GetPerms(path) => self.check(who, path, "rb").map(|()| show(&self.0[path].1)),
            Op::Write(path, value) => {
                self.check_or_make(who, path)?;
                self.0.get_mut(path).unwrap().0.clone_from(value);
                Ok(String::new())
            }
            Op::Mkdir(path) => self.check_or_make(who, path),
            Op::Rm(path) => match self.check(who, path, "wb") {
                Err(XsdError::ENOENT) if self.0.contains_key(&Self::parent(path)) => {
                    Ok(String::new())
                }
                Err(error) => Err(error),
                Ok(()) if path == "/" => Err(XsdError::EINVAL),
                Ok(()) => {
                    let below = format!("{path}/");
                    self.0.retain(|other, _| other != path && !other.starts_with(&below));
                    Ok(String::new())
                }
            },
            Op::SetPerms(path, text) => {
                self.check(who, path, "wb")?;
                let owner = self.0[path].1[0].domid.0;
                if who != 0 && owner != who {
                    return Err(XsdError::EACCES);
                }
                if who != 0 && perms(text)[0].domid.0 != owner {
                    return Err(XsdError::EPERM);
                }
                self.0.get_mut(path).unwrap().1 = perms(text);
                Ok(String::new())
            }
        }
    }

    fn check_or_make(&mut self, who: u16, path: &str) -> Outcome {
        match self.check(who, path, "wb") {
            Err(XsdError::ENOENT) => self.make(who, path),
            other => other?,
        }
        Ok(String::new())
    }

    fn gone(&mut self, who: u16) {
        let owned: Vec<_> = self
            .0
            .iter()
            .filter(|(path, (_, perms))| perms[0].domid.0 == who && *path != "/")
            .map(|(path, _)| path.clone())
            .collect();
        for path in owned {
            self.apply(0, &Op::Rm(path)).ok();
        }
        for (_, perms) in self.0.values_mut() {
            if perms[0].domid.0 == who {
                perms[0] = Perm::none(DomId(0));
            }
            perms.retain(|perm| perm.domid.0 != who);
        }
    }

    fn owned(&self, who: u16) -> usize {
        self.0.values().filter(|(_, perms)| perms[0].domid.0 == who).count()
    }
}

fn show(perms: &[Perm]) -> String {
    perms.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn apply<N: Nodes>(nodes: &mut N, op: &Op) -> Outcome {
    let done = match op {
        Op::Read(path) => nodes.read_string(path),
        Op::List(path) => nodes.directory(path).map(|names| names.join(",")),
        Op::GetPerms(path) => nodes.get_perms(path).map(|perms| show(&perms)),
        Op::Write(path, value) => nodes.write(path, value).map(|()| String::new()),
        Op::Mkdir(path) => nodes.mkdir(path).map(|()| String::new()),
        Op::Rm(path) => nodes.rm(path).map(|()| String::new()),
        Op::SetPerms(path, text) => nodes.set_perms(path, &perms(text)).map(|()| String::new()),
    };
    done.map_err(|error: StoreError| error.xsd_error().expect("the store refuses, nothing else"))
}

/// All nodes with values and permissions, as domain 0 finds them.
fn dump(client: &mut Client, path: &str, found: &mut Model) {
    let perms = client.get_perms(path).unwrap();
    found.0.insert(path.to_owned(), (client.read_string(path).unwrap(), perms));
    for name in client.directory(path).unwrap() {
        dump(client, &format!("{}/{name}", path.trim_end_matches('/')), found);
    }
}

fn path() -> impl Strategy<Value = String> {
    let names = prop::collection::vec(prop::sample::select(vec!["a", "b", "a-b"]), 0..4);
    names.prop_map(|names| format!("/{}", names.join("/")))
}

fn op() -> impl Strategy<Value = Op> {
    let texts = vec!["n0", "b0", "n1", "n2", "r1,w2", "n0,b1", "b2,n1", "n0,r1,w2"];
    prop_oneof![
        path().prop_map(Op::Read),
        path().prop_map(Op::List),
        path().prop_map(Op::GetPerms),
        (path(), "[a-z]{0,3}").prop_map(|(path, value)| Op::Write(path, value)),
        path().prop_map(Op::Mkdir),
        path().prop_map(Op::Rm),
        (path(), prop::sample::select(texts)).prop_map(|(path, text)| Op::SetPerms(path, text)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..3_usize;
    prop_oneof![
        8 => (who.clone(), any::<bool>(), op()).prop_map(|(who, tx, op)| Step::Do(who, tx, op)),
        1 => who.clone().prop_map(Step::Start),
        1 => (who, prop::bool::weighted(0.8)).prop_map(|(who, commit)| Step::End(who, commit)),
    ]
}

/// A transaction as the model sees it.
struct Open {
    id: u32,
    began_at: usize,
    work: Model,
    done: Vec<(Op, Outcome)>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_store_does_what_the_model_does(steps in prop::collection::vec(step(), 0..120)) {
        let lab = Lab::new();
        let mut clients: Vec<_> = (0..3).map(|domid| lab.client(domid)).collect();
        let mut open: [Option<Open>; 3] = [None, None, None];
        let mut live = Model::new();
        // Also counts what changed nothing but might have.
        let mut changes = 0;
        live.apply(0, &Op::SetPerms("/".into(), "b0")).unwrap();
        clients[0].set_perms("/", &perms("b0")).unwrap();

        for step in steps {
            match step {
                Step::Start(who) if open[who].is_none() => {
                    let id = clients[who].transaction_start().unwrap();
                    let work = live.clone();
                    open[who] = Some(Open { id, began_at: changes, work, done: Vec::new() });
                }
                Step::Start(_) => {}
                Step::Do(who, in_tx, op) => {
                    let domid = u16::try_from(who).unwrap();
                    match open[who].as_mut().filter(|_| in_tx) {
                        Some(tx) => {
                            let expected = tx.work.apply(domid, &op);
                            let got = apply(&mut clients[who].within(tx.id), &op);
                            prop_assert_eq!(&got, &expected, "{:?} in a transaction", op);
                            tx.done.push((op, got));
                        }
                        None => {
                            let expected = live.apply(domid, &op);
                            changes += 1;
                            prop_assert_eq!(apply(&mut clients[who], &op), expected, "{:?}", op);
                        }
                    }
                }
                Step::End(who, commit) => {
                    let Some(tx) = open[who].take() else { continue };
                    let domid = u16::try_from(who).unwrap();
                    match clients[who].transaction_end(tx.id, commit) {
                        Ok(()) if commit => {
                            changes += 1;
                            for (op, outcome) in &tx.done {
                                prop_assert_eq!(&live.apply(domid, op), outcome, "{:?} at commit", op);
                            }
                        }
                        Ok(()) => {}
                        Err(error) => {
                            prop_assert_eq!(error.xsd_error(), Some(XsdError::EAGAIN));
                            prop_assert!(commit && changes != tx.began_at, "nobody disturbed it");
                        }
                    }
                }
            }
        }

        let mut found = Model(BTreeMap::new());
        dump(&mut clients[0], "/", &mut found);
        prop_assert_eq!(&found, &live);
        for domid in [1, 2] {
            prop_assert_eq!(lab.store().usage(DomId(domid)).nodes, live.owned(domid));
        }
        for domid in [1, 2] {
            live.gone(domid);
            lab.store().domain_gone(DomId(domid));
            prop_assert_eq!(lab.store().usage(DomId(domid)), Usage::default());
        }
        let mut found = Model(BTreeMap::new());
        dump(&mut clients[0], "/", &mut found);
        prop_assert_eq!(&found, &live);
        let owners: BTreeSet<_> = live.0.values().map(|(_, perms)| perms[0].domid).collect();
        prop_assert_eq!(owners, BTreeSet::from([DomId(0)]));
    }
}
