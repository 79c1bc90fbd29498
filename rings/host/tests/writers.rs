//! A guest that writes into the store without pause harms nobody (XSA-206). That it would without
//! the checks is shown by `weakened`; how credit is counted, by the tests of `store::rate`.

mod flood;

use std::time::Duration;

use flood::Scene;
use rings::io::xs_wire::XsdType;

#[test]
fn a_flood_is_slowed_not_refused_and_others_are_served() {
    let mut scene = Scene::new();
    let first = scene.write_for(Duration::from_secs(1), "data\0x");
    let later = scene.write_for(Duration::from_secs(10), "data\0x");
    assert!((1000..=1250).contains(&first), "{first} writes, the reserve included");
    assert!((1990..=2010).contains(&later), "{later} writes in ten seconds");
    for _ in 0..10 {
        let answer = scene.ask(scene.victim, XsdType::WRITE, 0, "data\0mine");
        assert_eq!(answer.as_deref(), Some("OK"));
    }
}

#[test]
fn a_transaction_gets_through_however_often_its_nodes_are_written() {
    for millis in [1, 20, 100, 400] {
        let mut scene = Scene::new();
        let time = Duration::from_millis(millis);
        let attempt = (1..100).find(|_| scene.transaction(time));
        assert!(attempt.is_some_and(|n| n <= 30), "one of {time:?}: {attempt:?}");
    }
}

#[test]
fn what_one_may_not_read_accuses_nobody() {
    let mut scene = Scene::new();
    for _ in 0..20 {
        let tx = scene.ask(scene.victim, XsdType::TRANSACTION_START, 0, "\0");
        let tx = tx.and_then(|tx| tx.parse().ok()).expect("a transaction");
        let path = "/local/domain/2/data\0";
        let answer = scene.ask(scene.victim, XsdType::READ, tx, path);
        assert_eq!(answer.as_deref(), Some("EACCES"));
        let answer = scene.ask(scene.writer, XsdType::WRITE, 0, "data\0x");
        assert_eq!(answer.as_deref(), Some("OK"), "never held for that");
        let answer = scene.ask(scene.victim, XsdType::TRANSACTION_END, tx, "T\0");
        assert_eq!(answer.as_deref(), Some("EAGAIN"));
    }
}
