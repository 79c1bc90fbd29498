//! Results that are read again, of whichever kind of run.

use serde_json::Value;

use super::{ConsoleResults, Results};

/// What a run found: of a network or a disk, or of a console.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyResults {
    /// A network's or a disk's.
    Run(Box<Results>),
    /// A console's.
    Console(Box<ConsoleResults>),
}

impl AnyResults {
    /// What `-J` has written: a run; or what the tour has: a list of them.
    ///
    /// # Errors
    /// If it is something else: what is wrong with it.
    pub fn read_all(json: &str) -> Result<Vec<Self>, String> {
        match serde_json::from_str(json).map_err(|error| format!("not JSON: {error}"))? {
            Value::Array(all) if all.is_empty() => Err("an empty list".to_owned()),
            Value::Array(all) => all.into_iter().map(Self::of).collect(),
            one => Self::of(one).map(|one| vec![one]),
        }
    }

    fn of(value: Value) -> Result<Self, String> {
        let command = value["config"]["command"].as_str().map(str::to_owned);
        let outcome = match command.as_deref() {
            Some("console") => serde_json::from_value(value).map(|it| Self::Console(Box::new(it))),
            Some("net" | "blk") => serde_json::from_value(value).map(|it| Self::Run(Box::new(it))),
            _ => return Err("not the results of a run".to_owned()),
        };
        outcome.map_err(|error| format!("not the results of this version: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{invented, invented_console};
    use super::*;
    use crate::config::Mode;
    use crate::workload::console::Series;

    #[test]
    fn whatever_was_written_can_be_read_again() {
        let net = invented(Mode::Rr);
        let console = invented_console(Series::new());
        let all = [net.to_json().expect("JSON"), console.to_json().expect("JSON")];
        let list = format!("[{}]", all.join(","));
        let [AnyResults::Run(a), AnyResults::Console(b)] =
            &AnyResults::read_all(&list).expect("two")[..]
        else {
            panic!("a run and a console")
        };
        assert_eq!((&**a, b.config.clone()), (&net, console.config));
        assert_eq!(AnyResults::read_all(&all[0]).expect("one").len(), 1);
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        let why = |text: &str| AnyResults::read_all(text).expect_err("refused");
        assert!(why("pvlab").starts_with("not JSON"));
        assert_eq!(why("{}"), "not the results of a run");
        assert_eq!(why("[]"), "an empty list");
        let torn = why(r#"{"config": {"command": "net"}}"#);
        assert!(torn.starts_with("not the results of this version"), "{torn}");
    }
}
