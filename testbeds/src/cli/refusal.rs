//! What the user is told instead of a run: help, or one line with the value, the reason and the remedy. Here the
//! parser's many-line messages become that line.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Error};

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Refusal {
    /// Help or version were asked for: exit 0.
    Shown(Box<Error>),
    /// An argument cannot be: exit 2. The line lacks its leading "error: ".
    Argument(String),
    /// The arguments are right, but a file they name is not to be had: exit 1.
    Unusable(String),
}

impl Refusal {
    /// The line for a value that cannot be, whose reason and remedy are known.
    pub(super) fn of(option: &str, value: impl std::fmt::Display, why: &str) -> Self {
        Self::Argument(format!("{option} {value}: {why}"))
    }

    /// The line for an option whose value, if any, does not matter.
    pub(super) fn of_option(option: &str, why: &str) -> Self {
        Self::Argument(format!("{option}: {why}"))
    }

    /// The same about the option as it was typed: the parser knows `-n` by its long name, where it has one.
    pub(super) fn in_words_typed(self, args: &[OsString], mut command: Command) -> Self {
        let Self::Argument(line) = &self else { return self };
        let name = line.split([' ', ':']).next().unwrap_or_default();
        let typed = |arg: &OsString| arg.to_str().is_some_and(|arg| name_of(arg) == name);
        let Some(long) = name.strip_prefix("--").filter(|_| !args.iter().any(typed)) else {
            return self;
        };
        for word in args.iter().skip(1) {
            if let Some(verb) = command.find_subcommand(word) {
                command = verb.clone();
            }
        }
        let mut all = command.get_arguments();
        match all.find(|arg| arg.get_long() == Some(long)).and_then(|arg| arg.get_short()) {
            Some(short) => Self::Argument(format!("-{short}{}", &line[name.len()..])),
            None => self,
        }
    }

    /// The line without its leading "error: ".
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Shown(_) => "help is not a run".to_owned(),
            Self::Argument(line) | Self::Unusable(line) => one_line(line),
        }
    }

    /// Tells the user, on the stream it belongs to, and gives the exit status.
    pub fn tell(&self) -> ExitCode {
        // A closed terminal is no reason to fail in another way.
        let status = match self {
            Self::Shown(help) => {
                let _ = help.print();
                return ExitCode::SUCCESS;
            }
            Self::Argument(_) => 2,
            Self::Unusable(_) => 1,
        };
        let _ = writeln!(io::stderr(), "error: {}", self.line());
        ExitCode::from(status)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::Shown(Box::new(error)),
            _ => Self::Argument(compressed(&error)),
        }
    }
}

/// The parser's message as "what: reason; remedy".
fn compressed(error: &Error) -> String {
    let option =
        context(error, ContextKind::InvalidArg).map(|arg| name_of(&arg)).unwrap_or_default();
    let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::ValueValidation => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{option} {}: {why}", shown(&value))
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            match valid(error, ContextKind::ValidValue) {
                Some(valid) => format!("{option}: has no value; use {valid}"),
                None => format!("{option}: has no value; write one after it (--help has them all)"),
            }
        }
        ErrorKind::InvalidValue => {
            let use_one = valid(error, ContextKind::ValidValue).unwrap_or_default();
            format!("{option} {value}: no such value; use {use_one}")
        }
        ErrorKind::UnknownArgument => unknown(&option, error),
        ErrorKind::InvalidSubcommand => {
            let word = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("{}: no such command; {}", shown(&word), instead(error))
        }
        ErrorKind::MissingSubcommand => {
            let valid = valid(error, ContextKind::ValidSubcommand).unwrap_or_default();
            format!("{}: what to do is missing; use {valid}", command(error))
        }
        ErrorKind::ArgumentConflict => conflict(&option, error),
        ErrorKind::MissingRequiredArgument => {
            let usage = usage(error);
            format!(
                "{}: missing; use {usage}",
                valid(error, ContextKind::InvalidArg).unwrap_or_default()
            )
        }
        ErrorKind::TooManyValues => format!("{option} {value}: too many values; give one"),
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8; rename the file".to_owned(),
        _ => error.to_string().trim_start_matches("error: ").to_owned(),
    }
}

fn unknown(option: &str, error: &Error) -> String {
    let help = format!("see {} --help", command(error));
    if !option.starts_with('-') {
        return format!("{}: not an option and nothing else belongs here; {help}", shown(option));
    }
    match meant(option, error) {
        Some(near) => format!("{option}: no such option; did you mean {near}?"),
        None => format!("{option}: no such option; {help}"),
    }
}

/// The option that was meant, if one can tell: one that goes on where this one ends, or the one that the
/// parser finds nearest. That must begin alike: `--trace` is not what `--rate` was meant to be.
fn meant(option: &str, error: &Error) -> Option<String> {
    let mut command = super::Typed::command();
    command.build();
    for word in self::command(error).split(' ').skip(1) {
        command = command.find_subcommand(word)?.clone();
    }
    let typed = option.trim_start_matches('-');
    let goes_on = |long: &&str| typed.len() > 2 && long.starts_with(typed);
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let longer = shown.filter_map(clap::Arg::get_long).find(goes_on);
    let nearest = || {
        let near = name_of(&context(error, ContextKind::SuggestedArg)?);
        (near.get(..3) == option.get(..3)).then_some(near)
    };
    longer.map(|long| format!("--{long}")).or_else(nearest)
}

fn instead(error: &Error) -> String {
    match context(error, ContextKind::SuggestedSubcommand) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("see {} --help", command(error)),
    }
}

fn conflict(option: &str, error: &Error) -> String {
    let other = context(error, ContextKind::PriorArg).map(|arg| name_of(&arg)).unwrap_or_default();
    if option.is_empty() {
        // The tour's options are the only ones that may come before a command.
        format!("{other}: stands before the command; write it after")
    } else {
        format!("{option}: not together with {other}; give one of them")
    }
}

/// The command's usage, without the word.
fn usage(error: &Error) -> String {
    let text = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    text.trim_start_matches("Usage:").trim().to_owned()
}

/// The command the arguments were for, as far as it was understood: `pvlab store`.
fn command(error: &Error) -> String {
    let usage = usage(error);
    let words = usage.split(' ').take_while(|word| word.starts_with(|c: char| c.is_alphabetic()));
    let words: Vec<_> = words.collect();
    if words.is_empty() { "pvlab".to_owned() } else { words.join(" ") }
}

/// What the parser noted about the error, as words.
fn context(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        // Suggestions come with the nearest last.
        ContextValue::Strings(texts) => texts.last().cloned(),
        _ => None,
    }
}

/// The values there are, as "a, b or c".
fn valid(error: &Error, kind: ContextKind) -> Option<String> {
    let ContextValue::Strings(all) = error.get(kind)? else { return None };
    match all.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        [most @ .., last] => Some(format!("{} or {last}", most.join(", "))),
    }
}

/// `--batch <N>` without what follows the name.
fn name_of(arg: &str) -> String {
    arg.split([' ', '=']).next().unwrap_or(arg).trim_end_matches("...").to_owned()
}

/// A value that can be seen, also where it is empty.
fn shown(value: &str) -> &str {
    if value.is_empty() { "''" } else { value }
}

/// Control characters, line ends among them, as escapes.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}
