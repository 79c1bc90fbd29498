//! Every option of every command is given what it cannot mean: one clear line that names it, each time.
//! What good values mean, and which of them go together, is in `cli_errors`.

use clap::{Arg, Command};
use testbeds::cli::{self, Refusal};

/// What no number, time, size, list or word of ours looks like.
const GARBAGE: [&str; 6] = ["", "\u{1}", "-1", "99999999999999999999", "x,y", "1=2"];

/// Options that take any text, by what help calls their value.
const TEXT: [&str; 6] = ["PATH", "DIR", "FILE", "OUT", "NAME", "A"];

/// Calls `look` with every command and the words that lead to it.
fn walk(command: &Command, words: &[String], look: &mut impl FnMut(&[String], &Arg)) {
    for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
        look(words, arg);
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        walk(below, &[words, &[below.get_name().to_owned()]].concat(), look);
    }
}

/// An option as one types it.
fn name(arg: &Arg) -> String {
    match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => unreachable!("{arg:?} cannot be typed"),
    }
}

#[test]
fn every_option_refuses_what_it_cannot_mean() {
    let (mut tried, mut wrong) = (0, Vec::new());
    walk(&cli::command(), &["pvlab".to_owned()], &mut |words: &[String], arg: &Arg| {
        let called = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let text = called.as_deref().is_some_and(|called| TEXT.contains(&called));
        if !arg.get_action().takes_values() || text {
            return;
        }
        let option = name(arg);
        for garbage in GARBAGE {
            tried += 1;
            let typed = match arg.get_long() {
                Some(_) => vec![format!("{option}={garbage}")],
                None => vec![option.clone(), garbage.to_owned()],
            };
            let words = words.iter().chain(&typed).map(std::ffi::OsString::from);
            let what = format!("{words:?}", words = words.clone().collect::<Vec<_>>());
            match cli::parse(words) {
                Err(refusal @ Refusal::Argument(_)) => {
                    let line = refusal.line();
                    let short = arg.get_short().map(|short| format!("-{short} "));
                    let named = line.contains(&option)
                        || short.is_some_and(|short| line.starts_with(&short));
                    if !named || line.contains('\n') || line.len() > 150 {
                        wrong.push(format!("{what}: {line}"));
                    }
                }
                other => wrong.push(format!("{what}: {other:?}")),
            }
        }
    });
    assert!(tried > 300, "the options are not where they were: {tried}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
