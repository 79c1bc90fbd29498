//! The command a run prints to be repeated makes the same run, for any configuration that can be; and what options
//! mean together.

use std::ffi::OsString;

use proptest::prelude::*;
use testbeds::cli::{JsonTo, Parsed, Task, parse};
use testbeds::config::{
    Amount, CostNs, GrantMode, Mode, NetConfig, NetPath, NotifyPolicy, Rate, RunConfig, RxTimers,
    WaitPolicy, WireKind, allowed_cpus, default_vifs, default_wire,
};

fn parsed<S: AsRef<str>>(args: &[S]) -> Parsed {
    let words = ["pvlab"].into_iter().chain(args.iter().map(AsRef::as_ref));
    parse(words.map(OsString::from)).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

fn net(line: &str) -> NetConfig {
    let args: Vec<_> = ["net"].into_iter().chain(line.split_whitespace()).collect();
    match parsed(&args).task {
        Task::Net(config, ..) => config,
        other => panic!("{other:?}"),
    }
}

fn amounts() -> impl Strategy<Value = Amount> {
    prop_oneof![
        Just(Amount::Seconds(5.0)),
        (1e-3..1000.0).prop_map(Amount::Seconds),
        (1u64..).prop_map(Amount::Count),
        (1u64..1 << 20).prop_map(|m| Amount::Count(m << 20)),
    ]
}

fn cpus() -> impl Strategy<Value = Vec<usize>> {
    let allowed = allowed_cpus();
    prop::collection::vec(prop::sample::select(allowed), 1..4)
}

fn costs() -> impl Strategy<Value = CostNs> {
    let ns = || prop_oneof![Just(0), 0..=1_000_000_000u64];
    (ns(), ns(), ns(), ns(), ns()).prop_map(|(hypercall, evtchn, gntmap, gntcopy, exit)| CostNs {
        hypercall,
        evtchn,
        gntmap,
        gntcopy,
        exit,
    })
}

prop_compose! {
    fn runs()(
        (amount, interval, warmup) in (amounts(), prop::option::of(0.01..60.0), 0.0..10.0),
        (seed, index_base, verify, quiet) in any::<(u64, u32, bool, bool)>(),
        (front_cpus, back_cpus, nice_front, nice_back) in (cpus(), cpus(), -20..20, -20..20),
        wait in prop::sample::select(&[WaitPolicy::Adaptive, WaitPolicy::Event, WaitPolicy::Poll]),
        (spin_us, batch, think_ns) in (0.0..1e6, 1u32..=256, 0u64..=1_000_000_000),
        (always, console) in any::<(bool, bool)>(),
        grant in prop::sample::select(&[GrantMode::Copy, GrantMode::Map, GrantMode::Persistent]),
        (cost, stall_timeout) in (costs(), 0.1..3600.0),
        dir in prop::option::of("/[a-z '$\"]{1,12}"),
    ) -> RunConfig {
        let notify = if always { NotifyPolicy::Always } else { NotifyPolicy::Suppressed };
        RunConfig {
            amount, interval, warmup, seed, front_cpus, back_cpus, nice_front, nice_back, wait,
            spin_us, notify, batch, grant, cost, verify, think_ns, index_base, stall_timeout,
            dir: dir.map(Into::into), console, quiet,
        }
    }
}

prop_compose! {
    /// Every option is free where the mode has it, and where it does not the default.
    fn configs()(
        mode in prop::sample::select(&[Mode::Stream, Mode::Rr, Mode::Crr, Mode::Udp, Mode::Pktgen]),
        path in prop::sample::select(&[NetPath::Loopback, NetPath::Backend, NetPath::Bridge]),
        run in runs(),
        (reverse, csum_tx, csum_rx, sg, v6, reflect) in any::<(bool, bool, bool, bool, bool, bool)>(),
        (parallel, len, rr_req, rr_resp) in (1u32..=128, 1usize..=64 << 20, 1usize..=1 << 20, 1usize..=1 << 20),
        (window, gso, mtu) in (4usize << 10..=64 << 20, 1u32..=64 << 10, 1280usize..=65_521),
        (queues, vifs, drop, copies) in (1u32..=8, 2u32..=64, 0.0..1.0, 0u32..=64),
        (rx_drain_timeout, rx_stall_timeout) in (0.001..3600.0, 0.001..3600.0),
        rate in prop::option::of((1u64.., 10u64..=60_000_000)),
        (default_len, default_gso, out) in (any::<bool>(), any::<bool>(), prop::option::of("[a-z]{1,8}")),
    ) -> NetConfig {
        let mut config = NetConfig::of_mode(mode);
        let (round_trips, pktgen) = (matches!(mode, Mode::Rr | Mode::Crr), mode == Mode::Pktgen);
        config.run = run;
        config.rate = rate.map(|(bytes, usec)| Rate { bytes, usec });
        config.timers = RxTimers { rx_drain_timeout, rx_stall_timeout };
        (config.csum_tx, config.csum_rx, config.sg) = (csum_tx, csum_rx, sg);
        (config.queues, config.drop, config.copies) = (queues, drop, copies);
        config.ip = if v6 { 6 } else { 4 };
        config.mtu = if sg { mtu } else { mtu.min(4082) };
        config.path = if pktgen && path == NetPath::Loopback { NetPath::Backend } else { path };
        config.wire = default_wire(mode, config.path);
        if pktgen && config.path == NetPath::Backend && reflect {
            config.wire = WireKind::Reflect;
        }
        config.reverse = reverse && !round_trips && config.wire != WireKind::Reflect;
        config.vifs = if reflect { vifs } else { default_vifs(config.path) };
        if config.reverse && config.path == NetPath::Backend {
            config.drop = 0.0;
            config.rate = None;
        }
        if config.path == NetPath::Bridge { (config.vifs, config.queues) = (config.vifs + config.vifs % 2, 1) }
        if !pktgen { config.parallel = parallel }
        if !pktgen && mode != Mode::Udp { config.window = window }
        if round_trips { (config.rr_req, config.rr_resp) = (rr_req, rr_resp) }
        config.len = match mode {
            _ if default_len || round_trips => config.default_len(),
            Mode::Udp => len.clamp(16, config.udp_room()),
            Mode::Pktgen => len.clamp(60, if sg { 65_535 } else { 4096 }),
            _ => len,
        };
        if let (Mode::Udp, Amount::Count(bytes)) = (mode, &mut config.run.amount) {
            // The shortest datagram for each of eight queues.
            *bytes = (*bytes).max(8 * 16);
        }
        config.gso = config.default_gso();
        if !default_gso && config.gso > 0 {
            config.gso = if gso as usize > config.mtu { gso } else { 0 };
        }
        let alone = config.parallel == 1 && (config.vifs == 1 || config.path == NetPath::Bridge);
        if mode == Mode::Stream && config.run.verify && alone {
            config.out = out.map(Into::into);
        }
        config
    }
}

/// With numbers of three decimals, as people type them: the JSON reader may miss the last bit of longer ones.
fn as_typed(mut config: NetConfig) -> NetConfig {
    let short = |value: f64| (value * 1000.0).round() / 1000.0;
    let run = &mut config.run;
    if let Amount::Seconds(seconds) = &mut run.amount {
        *seconds = short(*seconds);
    }
    run.interval = run.interval.map(short);
    let RxTimers { rx_drain_timeout, rx_stall_timeout } = &mut config.timers;
    for value in [
        &mut run.warmup,
        &mut run.spin_us,
        &mut run.stall_timeout,
        &mut config.drop,
        rx_drain_timeout,
        rx_stall_timeout,
    ] {
        *value = short(*value);
    }
    config
}

proptest! {
    #[test]
    fn the_command_repeats_the_run(config in configs()) {
        let args = config.to_args();
        let Task::Net(again, json, _) = parsed(&args).task else { panic!("{args:?}") };
        prop_assert_eq!(json, None);
        prop_assert_eq!(again, config);
    }

    #[test]
    fn json_repeats_the_run(config in configs()) {
        let config = as_typed(config);
        let json = serde_json::to_string(&config).expect("plain data");
        let again: NetConfig = serde_json::from_str(&json).expect("own output");
        prop_assert_eq!(again, config);
    }
}

#[test]
fn defaults_follow_the_mode() {
    assert_eq!(net(""), NetConfig::default());
    assert_eq!(net("--mode udp").len, 1472);
    assert_eq!(net("--mode udp --ip 6 --mtu 9000").len, 8952);
    assert_eq!(net("--mode pktgen").len, 64);
    assert_eq!(net("--mode pktgen -R").wire, WireKind::Sink);
    assert_eq!(net("").wire, WireKind::Stack);
    assert_eq!((net("--path bridge").wire, net("--path bridge").vifs), (WireKind::Bridge, 2));
    assert_eq!(net("--wire bridge"), net("--path bridge"));
    assert_eq!(net("--mode maerts"), net("-R"));
    assert_eq!(net("-t 3 -t 1").run.amount, Amount::Seconds(1.0), "the last one holds");
}

#[test]
fn what_gso_needs_turns_it_off_with_a_note() {
    for (line, word) in [("--csum off", "checksum"), ("--sg off", "scatter"), ("--ip 6", "IPv6")] {
        let args: Vec<_> = ["net"].into_iter().chain(line.split(' ')).collect();
        let Parsed { task: Task::Net(config, ..), notes } = parsed(&args) else { panic!("{line}") };
        assert_eq!(config.gso, 0, "{line}");
        assert!(notes.len() == 1 && notes[0].contains(word), "{line}: {notes:?}");
        let silent = parsed(&[&args[..], &["--gso", "off"]].concat());
        assert_eq!(silent.notes, Vec::<String>::new(), "said by the user");
    }
}

#[test]
fn a_file_sets_the_amount() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data");
    std::fs::write(&path, [7; 1000]).expect("a file");
    let file = format!("--file {}", path.display());
    assert_eq!(net(&file).run.amount, Amount::Count(1000));
    assert_eq!(net(&format!("{file} -t 5")).run.amount, Amount::Seconds(5.0));
    for line in [file.clone(), format!("{file} -t 5"), format!("{file} -n 5")] {
        let config = net(&line);
        let Task::Net(again, ..) = parsed(&config.to_args()).task else { panic!("{line}") };
        assert_eq!(again, config, "{line}");
    }
}

#[test]
fn json_goes_to_stdout_or_a_file() {
    let json = |args: &[&str]| match parsed(args).task {
        Task::Net(_, json, _) => json,
        other => panic!("{other:?}"),
    };
    assert_eq!(json(&["net"]), None);
    assert_eq!(json(&["net", "-J", "--mode", "rr"]), Some(JsonTo::Stdout));
    assert_eq!(json(&["net", "-J", "x.json"]), Some(JsonTo::File("x.json".into())));
}
