//! Which network options go together. A combination that cannot be is refused, and the line names the switch to
//! change; what one option allows on its own is in `values`.

use super::net_options::{DeviceArgs, NetArgs, TrafficArgs};
use super::refusal::Refusal;
use super::run_options::LengthArgs;
use crate::config::{Amount, Mode, NetConfig, NetPath, WireKind, word};
use crate::units::format_size;

/// Bytes of the largest frame that one slot carries: a page.
const SLOT: usize = 4096;
/// Bytes of the shortest datagram. Half of it is its number: what is left for the last two can be shared by them.
const UDP_LEAST: usize = 16;
/// Bytes of all buffers in one direction of one end of a vif: more than any machine here fills.
const BUFFERS: usize = 256 << 20;
/// Bytes of the smallest and the largest Ethernet frame, FCS apart.
const FRAME: (usize, usize) = (60, 65_535);

type Verdict = Result<(), Refusal>;

/// Refuses what was typed if its parts cannot be together in `config`, which was made of it.
pub(super) fn check(typed: &NetArgs, config: &NetConfig) -> Verdict {
    options_of_other_modes(&typed.traffic, config.mode)?;
    files(&typed.traffic, config)?;
    length(&typed.traffic, config)?;
    buffers(config)?;
    amount(&typed.run.length, config)?;
    direction(config)?;
    rate(config)?;
    device(typed, config)?;
    path(&typed.device, config)?;
    bridge(config)
}

fn options_of_other_modes(typed: &TrafficArgs, mode: Mode) -> Verdict {
    let round_trips = matches!(mode, Mode::Rr | Mode::Crr);
    let tcp = !matches!(mode, Mode::Udp | Mode::Pktgen);
    let name = word(&mode);
    if typed.mode == Some(Mode::Maerts) && typed.reverse {
        return Err(Refusal::of_option("-R", "maerts is reversed already; drop one of the two"));
    }
    if typed.reverse && round_trips {
        let why = format!("{name} goes both ways; drop -R or use --mode stream");
        return Err(Refusal::of_option("-R", &why));
    }
    if let Some((req, resp)) = typed.rr
        && !round_trips
    {
        let why = format!("{name} has no requests; use --mode rr, or -l for its sizes");
        return Err(Refusal::of("-r", format!("{req},{resp}"), &why));
    }
    if let Some(len) = typed.len
        && round_trips
    {
        let why = format!("{name} has two sizes; use -r REQ,RESP");
        return Err(Refusal::of("-l", format_size(len as u64), &why));
    }
    if let Some(parallel) = typed.parallel
        && parallel > 1
        && mode == Mode::Pktgen
    {
        let why = "pktgen has no connections; drop -P or use --queues";
        return Err(Refusal::of("-P", parallel, why));
    }
    if let Some(window) = typed.window
        && !tcp
    {
        let why = format!("{name} has no TCP window; drop --window or use --mode stream");
        return Err(Refusal::of("--window", format_size(window as u64), &why));
    }
    Ok(())
}

fn files(typed: &TrafficArgs, config: &NetConfig) -> Verdict {
    for (option, path) in [("--file", &typed.files.file), ("--out", &typed.files.out)] {
        if let Some(path) = path
            && config.mode != Mode::Stream
        {
            let why = format!("{} carries no file; use --mode stream", word(&config.mode));
            return Err(Refusal::of(option, path.display(), &why));
        }
    }
    let Some(out) = &typed.files.out else { return Ok(()) };
    let mixed = "several streams would be mixed in one file";
    let why = if !config.run.verify {
        "what arrives is only looked at where it is checked; use --verify on".to_owned()
    } else if config.parallel > 1 {
        format!("{mixed}; use -P 1")
    } else if config.vifs > 1 && config.path != NetPath::Bridge {
        format!("{mixed}; use --vifs 1")
    } else {
        return Ok(());
    };
    Err(Refusal::of("--out", out.display(), &why))
}

/// What one end would have to hold.
fn buffers(config: &NetConfig) -> Verdict {
    let Some(most) = BUFFERS.checked_div(config.flow_room()) else { return Ok(()) };
    if config.parallel as usize <= most {
        return Ok(());
    }
    let (room, all) = (format_size(config.flow_room() as u64), format_size(BUFFERS as u64));
    let smaller = match config.mode {
        Mode::Crr => "-r",
        Mode::Udp => "-l",
        _ => "--window",
    };
    let why =
        format!("buffers of {room} each, {all} at most; use -P {most} or a smaller {smaller}");
    Err(Refusal::of("-P", config.parallel, &why))
}

/// What cannot be done with frames that go this way.
fn direction(config: &NetConfig) -> Verdict {
    let drops = config.drop > 0.0 && matches!(config.mode, Mode::Udp | Mode::Pktgen);
    if drops && config.reverse && config.path == NetPath::Backend {
        let why = "loses what guests send, and with -R they send nothing; drop -R";
        return Err(Refusal::of("--drop", config.drop, why));
    }
    Ok(())
}

/// What cannot be limited.
fn rate(config: &NetConfig) -> Verdict {
    let Some(rate) = config.rate else { return Ok(()) };
    if config.reverse
        && matches!(config.mode, Mode::Udp | Mode::Pktgen)
        && config.path == NetPath::Backend
    {
        let why = "limits what guests send, and with -R they send nothing; drop -R";
        return Err(Refusal::of("--rate", rate, why));
    }
    Ok(())
}

/// Whether there is anything to do.
fn amount(typed: &LengthArgs, config: &NetConfig) -> Verdict {
    let whole_file = config.file.is_some() && typed.time.is_none() && typed.num.is_none();
    if whole_file && config.run.warmup > 0.0 {
        let why = "the file would be sent from its first byte on, uncounted; drop it, or use -t";
        return Err(Refusal::of("--warmup", config.run.warmup, why));
    }
    let Amount::Count(count) = config.run.amount else { return Ok(()) };
    let least = UDP_LEAST as u64 * u64::from(config.parallel.min(config.queues));
    if config.mode == Mode::Udp && count < least {
        let why = format!("no datagram of {UDP_LEAST} bytes for each queue; use {least} or more");
        return Err(Refusal::of("-n", format_size(count), &why));
    }
    Ok(())
}

fn length(typed: &TrafficArgs, config: &NetConfig) -> Verdict {
    let Some(len) = typed.len else { return Ok(()) };
    let refused = |why: String| Err(Refusal::of("-l", format_size(len as u64), &why));
    let room = config.udp_room();
    match config.mode {
        Mode::Udp if len > room => refused(format!(
            "does not fit MTU {} over IPv{}; use up to {room} or a larger --mtu",
            config.mtu, config.ip
        )),
        Mode::Udp if len < UDP_LEAST => refused(format!(
            "too short for its number of 8 bytes and a payload; use {UDP_LEAST} or more"
        )),
        Mode::Pktgen if len < FRAME.0 || len > FRAME.1 => refused(format!(
            "not the length of an Ethernet frame without FCS; use {} to {}",
            FRAME.0, FRAME.1
        )),
        _ => Ok(()),
    }
}

fn device(typed: &NetArgs, config: &NetConfig) -> Verdict {
    if config.ip == 6 && config.mtu < 1280 && config.mode != Mode::Pktgen {
        let why = "IPv6 needs 1280 bytes; use --mtu 1280 or more, or --ip 4";
        return Err(Refusal::of("--mtu", config.mtu, why));
    }
    if let Some(gso) = typed.device.gso
        && gso > 0
    {
        let shown = format_size(gso.into());
        if let Some(why) = config.gso_obstacle() {
            return Err(Refusal::of("--gso", shown, why));
        }
        if gso as usize <= config.mtu {
            let why = format!("not above the MTU, {}; use --gso off or a larger size", config.mtu);
            return Err(Refusal::of("--gso", shown, &why));
        }
    }
    if !config.sg && config.frame_room() > SLOT {
        let change = if config.mode == Mode::Pktgen { "-l 4096" } else { "--mtu 4082" };
        let why = format!("a frame of {} bytes needs several slots", config.frame_room());
        return Err(Refusal::of("--sg", "off", &format!("{why}; use --sg on or {change} at most")));
    }
    Ok(())
}

/// Who can be at the other end through which wire.
fn path(typed: &DeviceArgs, config: &NetConfig) -> Verdict {
    let pktgen = config.mode == Mode::Pktgen;
    let fits = match (config.path, config.wire) {
        (NetPath::Backend, WireKind::Sink | WireKind::Reflect) => pktgen,
        (NetPath::Backend, WireKind::Stack) | (NetPath::Loopback, WireKind::Reflect) => !pktgen,
        (NetPath::Bridge, WireKind::Bridge) => true,
        _ => false,
    };
    let wire = word(&config.wire);
    if !fits {
        let why = match (config.path, pktgen) {
            (NetPath::Bridge, _) => {
                "--path bridge needs a bridge; drop --wire or use --wire bridge"
            }
            (NetPath::Loopback, true) => {
                "pktgen has no end to come back to; use --wire reflect alone"
            }
            (NetPath::Loopback, false) => {
                "--path loopback needs its frames back; use --wire reflect"
            }
            (NetPath::Backend, true) => "pktgen has no TCP/IP stack; use --wire sink or reflect",
            (NetPath::Backend, false) => "--path backend needs a TCP/IP stack; use --wire stack",
        };
        // Where the wire follows from the path, the path is what was typed.
        let (option, value) = match typed.wire {
            Some(_) => ("--wire", wire),
            None => ("--path", word(&config.path)),
        };
        return Err(Refusal::of(option, value, why));
    }
    if config.reverse && config.wire == WireKind::Reflect && pktgen {
        let why = "frames made by the backend cannot be sent back; drop -R or use --wire sink";
        return Err(Refusal::of("--wire", wire, why));
    }
    Ok(())
}

fn bridge(config: &NetConfig) -> Verdict {
    if config.path == NetPath::Bridge && config.queues > 1 {
        let why = "over a bridge a guest gets its frames on one queue; use --queues 1";
        return Err(Refusal::of("--queues", config.queues, why));
    }
    if config.path == NetPath::Bridge && config.vifs < 2 {
        let why = "a bridge joins two frontends; use --vifs 2 or more, or --path backend";
        return Err(Refusal::of("--vifs", config.vifs, why));
    }
    if config.path == NetPath::Bridge && config.vifs % 2 == 1 {
        let why = format!("guests on a bridge talk in pairs; use --vifs {}", config.vifs + 1);
        return Err(Refusal::of("--vifs", config.vifs, &why));
    }
    Ok(())
}
