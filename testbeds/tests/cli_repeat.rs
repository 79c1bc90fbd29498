//! The command a run prints to be repeated makes the same run, for any configuration that can be; and what options
//! mean together.

use std::ffi::OsString;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::select;
use testbeds::cli::{JsonTo, Parsed, Task, parse};
use testbeds::config::{
    Amount, BlkConfig, BlkbackConfig, ConsoleConfig, ConsoledConfig, CostNs, DaemonConfig,
    DialectName, DiskConfig, EventRate, GrantMode, GuestConfig, Mode, NetConfig, NetPath,
    NotifyPolicy, OnFull, Overflow, Rate, RunConfig, Rw, RxTimers, SinkKind, Split, WaitPolicy,
    WireKind, allowed_cpus, default_vifs, default_wire,
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
    prop::collection::vec(select(allowed), 1..4)
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
        wait in select(&[WaitPolicy::Adaptive, WaitPolicy::Event, WaitPolicy::Poll]),
        (spin_us, batch, think_ns) in (0.0..1e6, 1u32..=256, 0u64..=1_000_000_000),
        (always, console) in any::<(bool, bool)>(),
        grant in select(&[GrantMode::Copy, GrantMode::Map, GrantMode::Persistent]),
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
        mode in select(&[Mode::Stream, Mode::Rr, Mode::Crr, Mode::Udp, Mode::Pktgen]),
        path in select(&[NetPath::Loopback, NetPath::Backend, NetPath::Bridge]),
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
        if let Some(most) = (256usize << 20).checked_div(config.flow_room()) {
            config.parallel = config.parallel.min(u32::try_from(most).expect("few"));
        }
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

/// Disks, and whether they are as long as they are told to be.
fn disks() -> impl Strategy<Value = &'static str> {
    select(&[
        "null",
        "void",
        "ram=64M",
        "file=/no/such disk",
        "model=read:1M,write-unit:4K",
        "faulty:cache,errors=0.01:file=/no/such=disk",
        "faulty:delay=0.1/5ms:null",
    ])
}

prop_compose! {
    fn disk_configs()(
        disk in disks(),
        size in prop::option::of(1u64..=1 << 34),
        (read_only, large) in any::<(bool, bool)>(),
        in_flight in 1u32..=32,
        dialect_back in dialects(),
    ) -> DiskConfig {
        let mut config = DiskConfig { disk: disk.parse().expect("a disk"), ..DiskConfig::default() };
        config.size = size.map(|pages| pages << 12).or_else(|| config.default_size());
        config.sector_size = if large { 4096 } else { 512 };
        (config.read_only, config.in_flight, config.dialect_back) = (read_only, in_flight, dialect_back);
        config
    }
}

fn dialects() -> impl Strategy<Value = DialectName> {
    use DialectName::{Freebsd, MiniOs, Qemu, Xen};
    select(&[Xen, Xen, Freebsd, Qemu, MiniOs])
}

prop_compose! {
    fn blks()(
        (run, disk) in (runs(), disk_configs()),
        rw in select(&[Rw::Read, Rw::Write, Rw::RandRead, Rw::RandWrite, Rw::RandRw]),
        (sectors, iodepth, more_jobs) in (1usize..=512, 1u32..=64, 0u32..8),
        (rwmixread, fsync, dialect) in (0u32..=100, 0u32..=1 << 20, dialects()),
        rate_iops in prop::option::of(1u32..),
        (serial, indirect, is_server, own_jobs) in any::<(bool, bool, bool, bool)>(),
        (segments, ring_order, queues) in (1u32..=256, 0u32..=4, 1u32..=8),
        kill_backend_every in prop::option::of(0.05..3600.0),
    ) -> BlkConfig {
        let mut config = BlkConfig { run, disk, rw, fsync, indirect, dialect, queues, ring_order, ..BlkConfig::default() };
        if config.disk.read_only && rw.writes() { config.rw = Rw::RandRead }
        if config.rw == Rw::RandRw { config.rwmixread = rwmixread }
        config.split = if serial { Split::Serial } else { Split::Parallel };
        config.segments = if indirect { segments } else { segments.min(11) };
        config.bs = sectors * config.disk.sector_size as usize;
        config.iodepth = iodepth;
        config.numjobs = if own_jobs { queues + more_jobs } else { queues };
        if is_server {
            config.nbd = Some("/a socket".into());
            config.run.amount = RunConfig::default().amount;
        }
        while config.pages() * queues as usize > 24_000 {
            config.iodepth /= 2;
            config.bs = config.disk.sector_size as usize;
        }
        config.rate_iops = rate_iops.map(f64::from);
        config.run.verify &= config.disk.disk.keeps();
        if !config.run.verify || config.disk.disk.outlives() {
            config.kill_backend_every = kill_backend_every;
        }
        config
    }
}

/// Where consoles may be logged.
const LOGS: &str = env!("CARGO_TARGET_TMPDIR");

prop_compose! {
    fn daemons()(
        limit in prop_oneof![
            Just(EventRate::Off),
            Just(EventRate::default()),
            (1u32..=1_000_000, 1_000_000u64..=60_000_000_000).prop_map(|(events, ns)| EventRate::Of(events, ns)),
        ],
        (sink, one_file, log) in (0usize..4, any::<bool>(), any::<bool>()),
        (timestamps, replace_escape, keep) in any::<(bool, bool, bool)>(),
        (log_limit, daemon_think_ns) in (4096u64..=1 << 40, 0u64..=1_000_000_000),
    ) -> DaemonConfig {
        let dir = PathBuf::from(LOGS);
        let path = if one_file { dir.join("a log") } else { dir };
        let sink = [SinkKind::Pty, SinkKind::Null, SinkKind::Stderr, SinkKind::File(path.clone())][sink].clone();
        let mut config = DaemonConfig { limit, daemon_think_ns, ..DaemonConfig::of_sink(sink) };
        let logs = matches!(config.sink, SinkKind::File(_));
        config.log = (log && !logs).then_some(path);
        if log || logs {
            (config.timestamps, config.replace_escape, config.log_limit) = (timestamps, replace_escape, log_limit);
        }
        if keep && config.sink == SinkKind::Pty { config.overflow = Overflow::Keep }
        config
    }
}

prop_compose! {
    fn guests()(
        (len, pace_ns) in (1usize..=64 << 10, 0u64..=60_000_000_000),
        on_full in select(&[OnFull::Block, OnFull::Spin, OnFull::Drop]),
    ) -> GuestConfig {
        let len = if on_full == OnFull::Drop { len.min(2048) } else { len };
        GuestConfig { len, on_full, pace_ns }
    }
}

prop_compose! {
    fn consoles()(
        (run, guest, mut daemon) in (runs(), guests(), daemons()),
        (buffer, neighbours) in (4096u64..=256 << 20, 0u32..=63),
    ) -> ConsoleConfig {
        let run = of_console(run);
        daemon.check = run.verify.then_some(guest.len);
        let mut config = ConsoleConfig { guest, daemon, buffer, neighbours, run };
        // A file is for one console.
        let log = match &config.daemon.sink {
            SinkKind::File(path) => Some(path),
            _ => config.daemon.log.as_ref(),
        };
        if log.is_some_and(|path| !path.is_dir()) { config.neighbours = 0 }
        config
    }
}

/// Without the options that consoles do not have.
fn of_console(run: RunConfig) -> RunConfig {
    let RunConfig { batch, notify, grant, console, .. } = RunConfig::default();
    RunConfig { batch, notify, grant, console, ..run }
}

/// Of a process that belongs to a host; one that serves does so until it is ended.
fn in_a_lab(run: RunConfig, serves: bool) -> RunConfig {
    let amount = if serves { RunConfig::default().amount } else { run.amount };
    RunConfig { amount, dir: run.dir.or_else(|| Some("/a lab".into())), ..run }
}

/// With numbers of three decimals, as people type them: the JSON reader may miss the last bit of longer ones.
fn short(value: &mut f64) {
    *value = (*value * 1000.0).round() / 1000.0;
}

fn as_typed(run: &mut RunConfig) {
    if let Amount::Seconds(seconds) = &mut run.amount {
        short(seconds);
    }
    run.interval.iter_mut().for_each(short);
    [&mut run.warmup, &mut run.spin_us, &mut run.stall_timeout].into_iter().for_each(short);
}

/// What is written as JSON and read again.
fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(config: &T) -> T {
    let json = serde_json::to_string(config).expect("plain data");
    serde_json::from_str(&json).expect("own output")
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
    fn json_repeats_the_run(mut config in configs()) {
        as_typed(&mut config.run);
        let RxTimers { rx_drain_timeout, rx_stall_timeout } = &mut config.timers;
        [&mut config.drop, rx_drain_timeout, rx_stall_timeout].into_iter().for_each(short);
        prop_assert_eq!(through_json(&config), config);
    }

    #[test]
    fn a_disks_command_repeats_its_run(config in blks()) {
        let args = config.to_args();
        let Task::Blk(again, None, None) = parsed(&args).task else { panic!("{args:?}") };
        prop_assert_eq!(again, config);
    }

    #[test]
    fn a_backend_is_told_of_its_disk(run in runs(), disk in disk_configs()) {
        let config = BlkbackConfig { run: in_a_lab(run, true), disk };
        let args = config.to_args();
        let Task::Blkback(again) = parsed(&args).task else { panic!("{args:?}") };
        prop_assert_eq!(again, config);
    }

    #[test]
    fn a_consoles_command_repeats_its_run(config in consoles()) {
        let args = config.to_args();
        let Task::Console(again, ..) = parsed(&args).task else { panic!("{args:?}") };
        prop_assert_eq!(*again, config);
    }

    #[test]
    fn a_daemon_and_a_guest_are_told_what_to_do(
        (run, guest, mut daemon) in (runs(), guests(), daemons()),
        check in prop::option::of(1usize..=64 << 10),
        measure in prop::option::of(0.001..1000.0),
    ) {
        let run = of_console(run);
        daemon.check = check;
        let config = ConsoledConfig { daemon, measure, run: in_a_lab(run.clone(), true) };
        let args = config.to_args();
        let Task::Consoled(again) = parsed(&args).task else { panic!("{args:?}") };
        prop_assert_eq!(*again, config);
        let run = in_a_lab(run, false);
        let args = guest.to_args(&run);
        prop_assert_eq!(parsed(&args).task, Task::ConsoleGuest(Some(guest), run));
    }

    #[test]
    fn json_repeats_the_runs_of_disks_and_consoles(mut blk in blks(), mut console in consoles()) {
        as_typed(&mut blk.run);
        blk.kill_backend_every.iter_mut().for_each(short);
        prop_assert_eq!(through_json(&blk), blk);
        as_typed(&mut console.run);
        prop_assert_eq!(through_json(&console), console);
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
