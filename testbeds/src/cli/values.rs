//! One option's value: read it, or say why not and what to type instead. Each function takes the text and answers
//! with the value or with "reason; remedy", which `refusal` puts behind the option and the text.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::{
    CostNs, DialectName, DiskText, Rate, TraceMode, allowed_cpus, format_cpus, parse_cpus,
};
use crate::units::{TimeUnit, format_size, parse_size, parse_time, round_u64};

type Value<T> = Result<T, String>;

/// Two values with a comma between: front and back, request and response.
pub(super) type Pair<T> = (T, T);

fn within<T: PartialOrd + Display>(value: T, low: T, high: T) -> Value<T> {
    if value >= low && value <= high {
        Ok(value)
    } else {
        Err(format!("out of range; use {low} to {high}"))
    }
}

fn whole<T: FromStr + PartialOrd + Display>(text: &str, low: T, high: T) -> Value<T> {
    match text.parse() {
        Ok(value) => within(value, low, high),
        Err(_) => Err(format!("not a whole number in range; use {low} to {high}")),
    }
}

fn bytes(text: &str, low: u64, high: u64) -> Value<usize> {
    let size = parse_size(text)?;
    let fits = (low..=high).contains(&size).then(|| usize::try_from(size).ok()).flatten();
    fits.ok_or_else(|| format!("out of range; use {} to {}", format_size(low), format_size(high)))
}

/// A time in seconds, between two times in seconds.
fn seconds(text: &str, low: f64, high: f64) -> Value<f64> {
    let unit = TimeUnit::Seconds;
    let value = parse_time(text, unit, Some(unit))?;
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(format!("out of range; use {low} to {high} seconds"))
    }
}

fn pair<T>(text: &str, remedy: &str, read: impl Fn(&str) -> Value<T>) -> Value<Pair<T>> {
    match text.split_once(',') {
        Some((first, second)) => Ok((read(first)?, read(second)?)),
        None => Err(format!("one value where two belong; {remedy}")),
    }
}

pub(super) fn run_time(text: &str) -> Value<f64> {
    match seconds(text, 0.0, 604_800.0)? {
        0.0 => Err("a run of no time measures nothing; use a time above 0".to_owned()),
        time => Ok(time),
    }
}

pub(super) fn amount(text: &str) -> Value<u64> {
    match parse_size(text)? {
        0 => Err("nothing to do; use 1 or more, K M G allowed".to_owned()),
        count => Ok(count),
    }
}

pub(super) fn interval(text: &str) -> Value<f64> {
    match seconds(text, 0.0, 3600.0)? {
        0.0 => Ok(0.0),
        short if short < 0.01 => {
            Err("shorter than 0.01 s; use 0.01 or more, 0 for none".to_owned())
        }
        interval => Ok(interval),
    }
}

pub(super) fn warmup(text: &str) -> Value<f64> {
    seconds(text, 0.0, 3600.0)
}

pub(super) fn stall_timeout(text: &str) -> Value<f64> {
    seconds(text, 0.1, 3600.0)
}

pub(super) fn rx_timeout(text: &str) -> Value<f64> {
    seconds(text, 0.001, 3600.0)
}

pub(super) fn rate(text: &str) -> Value<Rate> {
    text.parse()
}

pub(super) fn seed(text: &str) -> Value<u64> {
    maybe_hex(text, "not a 64-bit number; use digits, or hex as in 0x2a")
}

pub(super) fn index_base(text: &str) -> Value<u32> {
    let wide = maybe_hex(text, "not a 32-bit ring index; use 0 to 0xffffffff")?;
    u32::try_from(wide).map_err(|_| "past 32 bits; use 0 to 0xffffffff".to_owned())
}

fn maybe_hex(text: &str, otherwise: &str) -> Value<u64> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((text, 10), |digits| (digits, 16));
    // from_str_radix would take a sign, "0x+2a" included.
    let digits = digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(digits);
    let number = digits.and_then(|digits| u64::from_str_radix(digits, radix).ok());
    number.ok_or_else(|| otherwise.to_owned())
}

pub(super) fn batch(text: &str) -> Value<u32> {
    whole(text, 1, 256)
}

pub(super) fn spin(text: &str) -> Value<f64> {
    let us = parse_time(text, TimeUnit::Microseconds, None)?;
    if us <= 1e6 { Ok(us) } else { Err("out of range; use 0 to 1s".to_owned()) }
}

pub(super) fn think(text: &str) -> Value<u64> {
    nanoseconds(text, None)
}

fn nanoseconds(text: &str, bare: Option<TimeUnit>) -> Value<u64> {
    let ns = round_u64(parse_time(text, TimeUnit::Nanoseconds, bare)?);
    ns.filter(|ns| *ns <= 1_000_000_000).ok_or_else(|| "out of range; use 0 to 1s".to_owned())
}

pub(super) fn cost(text: &str) -> Value<CostNs> {
    let (mut cost, mut names) = (CostNs::default(), Vec::new());
    for part in text.split(',') {
        let (name, time) = part.split_once('=').ok_or_else(|| {
            format!("'{part}' is not NAME=NS; use as in hypercall=400,gntcopy=100")
        })?;
        if names.contains(&name) {
            return Err(format!("{name} is charged twice; give it once"));
        }
        names.push(name);
        let place = match name {
            "hypercall" => &mut cost.hypercall,
            "evtchn" => &mut cost.evtchn,
            "gntmap" => &mut cost.gntmap,
            "gntcopy" => &mut cost.gntcopy,
            "exit" => &mut cost.exit,
            _ => {
                return Err(format!(
                    "nothing called '{name}' is charged; use hypercall, evtchn, gntmap, gntcopy or exit"
                ));
            }
        };
        let read = nanoseconds(time, Some(TimeUnit::Nanoseconds));
        *place = read.map_err(|why| format!("'{part}' {why}"))?;
    }
    Ok(cost)
}

pub(super) fn affinity(text: &str) -> Value<Pair<Vec<usize>>> {
    let pair = pair(text, "use FRONT,BACK as in 1,0 or 0-1,2+5", parse_cpus)?;
    let allowed = allowed_cpus();
    match pair.0.iter().chain(&pair.1).find(|cpu| !allowed.contains(cpu)) {
        None => Ok(pair),
        Some(cpu) => {
            Err(format!("CPU {cpu} is not one this process may use; use {}", format_cpus(&allowed)))
        }
    }
}

pub(super) fn nice(text: &str) -> Value<Pair<i32>> {
    pair(text, "use FRONT,BACK as in 0,10", |one| whole(one, -20, 19))
}

pub(super) fn trace_mode(text: &str) -> Value<TraceMode> {
    match (text, text.strip_prefix("slow=")) {
        ("stop", _) => Ok(TraceMode::Stop),
        ("overwrite", _) => Ok(TraceMode::Overwrite),
        (_, Some(time)) => {
            let us = round_u64(parse_time(time, TimeUnit::Microseconds, None)?);
            let us = us.filter(|us| (1..=60_000_000).contains(us));
            let us = us.ok_or("out of range; use slow=1us to slow=60s")?;
            Ok(TraceMode::Slow(u32::try_from(us).unwrap_or(u32::MAX)))
        }
        _ => Err("no such mode; use stop, overwrite, or a time as in slow=100us".to_owned()),
    }
}

/// The least is what a short handshake needs, the most what a machine may have.
pub(super) fn trace_buffer(text: &str) -> Value<u64> {
    bytes(text, 4 << 10, 16 << 30).map(|bytes| bytes as u64)
}

pub(super) fn parallel(text: &str) -> Value<u32> {
    whole(text, 1, 128)
}

/// What the mode makes of it is checked in `rules`.
pub(super) fn len(text: &str) -> Value<usize> {
    bytes(text, 1, 64 << 20)
}

pub(super) fn rr_sizes(text: &str) -> Value<Pair<usize>> {
    pair(text, "use REQ,RESP as in 1,1 or 64,16K", |one| bytes(one, 1, 1 << 20))
}

pub(super) fn window(text: &str) -> Value<usize> {
    bytes(text, 4 << 10, 64 << 20)
}

/// What the MTU makes of it is checked in `rules`.
pub(super) fn gso(text: &str) -> Value<u32> {
    if text == "off" {
        return Ok(0);
    }
    match parse_size(text)? {
        0 => Err("no segment has 0 bytes; use --gso off or up to 64K".to_owned()),
        size => match u32::try_from(size) {
            Ok(size) if size <= 64 << 10 => Ok(size),
            _ => Err("more than a TCP segment can have; use up to 64K, or off".to_owned()),
        },
    }
}

/// A frame of 65,535 bytes is the most the ring protocol carries, the Ethernet header included.
pub(super) fn mtu(text: &str) -> Value<usize> {
    whole(text, 68, 65_521)
}

pub(super) fn ip(text: &str) -> Value<u8> {
    match text {
        "4" => Ok(4),
        "6" => Ok(6),
        _ => Err("no such version of IP; use 4 or 6".to_owned()),
    }
}

pub(super) fn queues(text: &str) -> Value<u32> {
    whole(text, 1, 8)
}

pub(super) fn vifs(text: &str) -> Value<u32> {
    whole(text, 1, 64)
}

pub(super) fn drop_rate(text: &str) -> Value<f64> {
    match text.parse::<f64>() {
        // The absolute value only turns -0 into 0.
        Ok(rate) if (0.0..1.0).contains(&rate) => Ok(rate.abs()),
        _ => Err("not a share of frames; use 0 to below 1, 0.01 for one in a hundred".to_owned()),
    }
}

/// A line of a console, its end included.
pub(super) fn line(text: &str) -> Value<usize> {
    bytes(text, 1, 64 << 10)
}

pub(super) fn pace(text: &str) -> Value<u64> {
    let ns = round_u64(parse_time(text, TimeUnit::Nanoseconds, None)?);
    ns.filter(|ns| *ns <= 60_000_000_000).ok_or_else(|| "out of range; use 0 to 60s".to_owned())
}

/// Less than a page of a terminal would only lose; more than 256 MiB is nobody's to keep.
pub(super) fn buffer(text: &str) -> Value<u64> {
    bytes(text, 4 << 10, 256 << 20).map(|bytes| bytes as u64)
}

pub(super) fn log_limit(text: &str) -> Value<u64> {
    bytes(text, 4 << 10, 1 << 40).map(|bytes| bytes as u64)
}

pub(super) fn neighbours(text: &str) -> Value<u32> {
    whole(text, 0, 63)
}

pub(super) fn guest(text: &str) -> Value<u16> {
    whole(text, 1, 0x7fef)
}

pub(super) fn copies(text: &str) -> Value<u32> {
    whole(text, 0, 64)
}

/// Paths go into JSON and into the command that repeats a run, so they must be text.
pub(super) fn path(text: &str) -> Value<PathBuf> {
    if text.is_empty() {
        return Err("an empty path; name a file or directory".to_owned());
    }
    Ok(PathBuf::from(text))
}

pub(super) fn perm(text: &str) -> Value<String> {
    let domid = text.strip_prefix(['n', 'r', 'w', 'b']).and_then(|id| id.parse::<u16>().ok());
    match domid {
        Some(_) => Ok(text.to_owned()),
        None => Err("not a permission; use n, r, w or b and a domid, as in r1".to_owned()),
    }
}

pub(super) fn block_size(text: &str) -> Value<usize> {
    match bytes(text, 512, 16 << 20)? {
        odd if !odd.is_multiple_of(512) => {
            Err("not in whole sectors; use a multiple of 512".to_owned())
        }
        size => Ok(size),
    }
}

pub(super) fn iodepth(text: &str) -> Value<u32> {
    whole(text, 1, 1024)
}

pub(super) fn numjobs(text: &str) -> Value<u32> {
    whole(text, 1, 64)
}

pub(super) fn percent(text: &str) -> Value<u32> {
    whole(text, 0, 100)
}

pub(super) fn rate_iops(text: &str) -> Value<f64> {
    amount(text).map(crate::units::float)
}

pub(super) fn fsync(text: &str) -> Value<u32> {
    whole(text, 0, 1 << 20)
}

pub(super) fn disk(text: &str) -> Value<DiskText> {
    text.parse()
}

pub(super) fn disk_size(text: &str) -> Value<u64> {
    match parse_size(text)? {
        odd if !odd.is_multiple_of(4096) => Err("not in whole pages; use a multiple of 4K".into()),
        0 => Err("a disk of no size; use 4K or more".to_owned()),
        size if size <= 1 << 46 => Ok(size),
        _ => Err("out of range; use up to 64T".to_owned()),
    }
}

pub(super) fn sector_size(text: &str) -> Value<u32> {
    match text {
        "512" => Ok(512),
        "4096" | "4K" | "4k" => Ok(4096),
        _ => Err("no such sector; use 512 or 4096".to_owned()),
    }
}

pub(super) fn in_flight(text: &str) -> Value<u32> {
    whole(text, 1, 32)
}

pub(super) fn segments(text: &str) -> Value<u32> {
    whole(text, 1, 256)
}

pub(super) fn ring_order(text: &str) -> Value<u32> {
    whole(text, 0, 4)
}

pub(super) fn dialects(text: &str) -> Value<Pair<DialectName>> {
    use clap::ValueEnum as _;
    let one = |word: &str| {
        let all = "xen, freebsd, qemu or mini-os";
        DialectName::from_str(word, false).map_err(|_| format!("'{word}' is none; use {all}"))
    };
    pair(text, "use FRONT,BACK as in xen,qemu", one)
}

pub(super) fn kill_every(text: &str) -> Value<f64> {
    seconds(text, 0.05, 3600.0)
}

pub(super) fn unix_socket(text: &str) -> Value<PathBuf> {
    match text.strip_prefix("unix:") {
        Some(name) => path(name),
        None => Err("not a Unix socket; use unix:PATH".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_decimal_indices() {
        assert_eq!(index_base("0xfffffffc"), Ok(0xffff_fffc));
        assert_eq!(index_base("4294967292"), Ok(0xffff_fffc));
        for bad in ["0x1ffffffff", "-1", "0x", "", "0x-1", "0x+1", "abc"] {
            assert!(index_base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn costs_may_name_some_and_have_units() {
        let read = cost("hypercall=400,exit=1.5us").expect("both known");
        assert_eq!(read, CostNs { hypercall: 400, exit: 1500, ..CostNs::default() });
        assert!(cost("hyper=1").expect_err("unknown").contains("hypercall, evtchn"));
        for bad in
            ["", "hypercall", "hypercall=", "hypercall=-1", "exit=2s", "exit=1,", "exit=1,exit=1"]
        {
            assert!(cost(bad).is_err(), "{bad}");
        }
    }
}
