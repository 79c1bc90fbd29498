//! What a guest asks netback to put behind its vif: words of the guest's, so that they are held against
//! the very rules that the command line is held against. Files are not for a guest to name, and how long
//! netback thinks and how often it copies are not for a guest to say; all that is said to netback itself.

use crate::cli::{self, Task};
use crate::config::{NetConfig, NetbackConfig};

/// The workload that `text`, which a guest wrote, describes, with netback's `own` files.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn asked(text: &str, own: &NetbackConfig) -> Result<NetConfig, String> {
    let mut theirs: NetConfig =
        serde_json::from_str(text).map_err(|why| format!("asks for what there is not: {why}"))?;
    (theirs.file, theirs.out, theirs.run.dir) = (None, None, None);
    (theirs.timers, theirs.rate) = (own.timers, None);
    (theirs.run.think_ns, theirs.copies) = (own.run.think_ns, own.copies);
    let words = ["pvlab".to_owned()].into_iter().chain(theirs.to_args());
    let mut config = match cli::parse(words.map(Into::into)) {
        Ok(parsed) => match parsed.task {
            Task::Net(config, ..) => config,
            _ => return Err("asks for no network run".into()),
        },
        Err(why) => return Err(format!("asks for what there is not: {}", why.line())),
    };
    config.file.clone_from(&own.file);
    config.out.clone_from(&own.out);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    fn asks(change: impl FnOnce(&mut serde_json::Value)) -> Result<NetConfig, String> {
        let mut json = serde_json::to_value(NetConfig::of_mode(Mode::Stream)).expect("plain data");
        change(&mut json);
        let own = NetbackConfig { out: Some("own".into()), ..NetbackConfig::default() };
        asked(&json.to_string(), &own)
    }

    #[test]
    fn a_guest_gets_what_the_command_line_would_give_it_and_no_file() {
        let config = asks(|json| {
            json["out"] = "/etc/passwd".into();
            json["file"] = "/etc/shadow".into();
            json["parallel"] = 3.into();
        });
        let config = config.expect("a run like any other");
        assert_eq!((config.parallel, config.file), (3, None));
        assert_eq!(config.out, Some("own".into()), "netback's own");
    }

    #[test]
    fn the_backends_time_is_its_own() {
        let config = asks(|json| {
            json["mode"] = "pktgen".into();
            (json["len"], json["wire"], json["gso"]) = (64.into(), "sink".into(), 0.into());
            json["think_ns"] = 1_000_000_000.into();
            json["copies"] = 64.into();
        });
        let config = config.expect("a run like any other");
        assert_eq!((config.run.think_ns, config.copies), (0, 0));
        let mut own = NetbackConfig { copies: 2, ..NetbackConfig::default() };
        own.run.think_ns = 5;
        let text = serde_json::to_string(&NetConfig::default()).expect("plain data");
        let config = asked(&text, &own).expect("a run like any other");
        assert_eq!((config.run.think_ns, config.copies), (5, 2), "as netback was told");
    }

    #[test]
    fn what_the_command_line_refuses_a_guest_does_not_get() {
        for (key, value) in [
            ("parallel", serde_json::json!(u32::MAX)),
            ("window", serde_json::json!(1u64 << 60)),
            ("len", serde_json::json!(u64::MAX)),
            ("warmup", serde_json::json!(1e300)),
            ("amount", serde_json::json!({ "seconds": -1.0 })),
            ("mtu", serde_json::json!(0)),
            ("wire", serde_json::json!("sink")),
            ("mode", serde_json::json!("format")),
        ] {
            let why = asks(|json| json[key] = value).expect_err(key);
            assert!(why.starts_with("asks for") && !why.contains('\n'), "{key}: {why}");
        }
        let why = asks(|json| {
            json["window"] = (64 << 20).into();
            json["parallel"] = 128.into();
        });
        let why = why.expect_err("8 GiB of buffers");
        assert!(why.contains("-P 128") && !why.contains('\n'), "{why}");
        let own = NetbackConfig::default();
        for text in ["", "null", "{}", "{\"mode\":\"stream\"}", "\u{0}"] {
            asked(text, &own).expect_err(text);
        }
    }
}
