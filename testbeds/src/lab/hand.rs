//! A host, a netback, a netfront, a console daemon and its guest in terminals of their own: the same
//! run by hand.

use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;
use rings_host::{Host, News};

use super::children::{self, is_child, told, wake_when_orphaned};
use super::net::effective;
use super::summary;
use super::trace::{self, Tracing};
use crate::config::{
    ConsoledConfig, DeviceKind, GuestConfig, HostConfig, NetConfig, NetbackConfig, RunConfig,
    TraceTo, shell_line,
};
use crate::domain::{self, FrontReport, StopFlag};
use crate::report;
use crate::results::{Results, Start, host_info};
use crate::units::float;

/// Is a host until told to stop; then writes the trace of all that were its domains, if one is asked for.
///
/// # Errors
/// If there can be none, or the trace cannot be written.
pub fn host(config: &HostConfig, trace: Option<&TraceTo>, stop: &StopFlag) -> anyhow::Result<()> {
    let device = match config.device {
        DeviceKind::Vif => {
            let rate = config.rate.map(|rate| rate.to_string());
            rings_host::Device::Vif { mtu: 1500, rate }
        }
        // What it is made of is said by the blkback that serves it.
        DeviceKind::Vbd => {
            rings_host::Device::Vbd { params: String::new(), read_only: false, discard: true }
        }
    };
    let host_config = rings_host::HostConfig {
        dir: Some(config.dir.clone()),
        device,
        guests: u16::try_from(config.vifs)?,
        stall_timeout: Duration::from_secs_f64(config.stall_timeout),
        ..rings_host::HostConfig::default()
    };
    let host = Host::start(trace::configure(host_config, trace))?;
    let dir = ["host", "--dir"].map(str::to_owned).into_iter();
    let typed: Vec<String> = dir.chain([config.dir.display().to_string()]).collect();
    let begin = |to| Tracing::begin(to, &host, &shell_line("host", &typed));
    let tracing = trace.map(begin).transpose()?;
    let dir = host.dir().display();
    let guests = match config.vifs {
        1 => "one guest".to_owned(),
        most => format!("up to {most} guests"),
    };
    say(config, &format!("lab in {dir}: domain 0 and {guests}; Ctrl-C ends it"));
    while !stop.is_set() {
        match host.news(Duration::from_millis(100)) {
            Some(News::Born(d)) => {
                say(
                    config,
                    &format!("domain {} ({}, process {}) registered", d.domid, d.name, d.pid),
                );
            }
            Some(News::Gone(d, Some(_))) => {
                say(config, &format!("domain {} ({}) left", d.domid, d.name));
            }
            Some(News::Gone(d, None)) => {
                say(config, &format!("domain {} ({}, process {}) died", d.domid, d.name, d.pid));
            }
            Some(News::Stalled(d)) => {
                say(config, &format!("domain {} ({}, process {}) stalled", d.domid, d.name, d.pid));
            }
            None => {}
        }
    }
    if let Some(tracing) = tracing {
        // Whoever is still there is not waited for.
        let text = tracing.write_now()?;
        if !config.quiet {
            super::print(&text)?;
        }
    }
    Ok(())
}

fn say(config: &HostConfig, line: &str) {
    if !config.quiet {
        // A closed terminal is no reason for a host to end.
        let _ = writeln!(std::io::stdout(), "pvlab host: {line}");
    }
}

/// Is the driver domain until told to stop.
///
/// # Errors
/// If there is no lab.
pub fn netback(config: &NetbackConfig, stop: &StopFlag) -> anyhow::Result<()> {
    wake_when_orphaned();
    let outcome = domain::netback::run(config, stop);
    // Started for one run, it ends with the run: that is not worth a line.
    if is_child() && stop.is_set() { Ok(()) } else { told(outcome) }
}

/// Is a guest for one run, and shows what came of it.
///
/// # Errors
/// If the run could not take place, or was not good.
pub fn netfront(config: &NetConfig, stop: &StopFlag) -> anyhow::Result<()> {
    wake_when_orphaned();
    if is_child() {
        return told(domain::netfront::run(config, None, stop).and_then(|report| {
            children::report(&serde_json::to_string(&report)?);
            Ok(())
        }));
    }
    super::print(&(report::headline_by_hand(config) + "\n"))?;
    let start = Start::now(config);
    let machine = host_info();
    let report = domain::netfront::run(config, None, stop)?;
    show(config, start, machine, report)
}

fn show(
    config: &NetConfig,
    start: Start,
    host: crate::results::Host,
    report: FrontReport,
) -> anyhow::Result<()> {
    let reports = [report];
    let (summary, end) = summary::summarise(config, &reports, None, 0);
    let effective = effective(config, &reports);
    let repeat = shell_line("netfront", &effective.to_args());
    let results = Results {
        start: Some(start),
        intervals: Vec::new(),
        end: Some(end),
        jobs: Vec::new(),
        // What was run, wherever that was.
        config: NetConfig { run: RunConfig { dir: None, ..effective.run }, ..effective }.into(),
        summary: crate::results::Summary { rss_bytes: None, ..summary },
        host,
    };
    super::print(&report::run_text_by_hand(&report::what(config), &results, &repeat))?;
    match summary::failure(config, &reports) {
        Some(why) => bail!(why),
        None => Ok(()),
    }
}

/// Is a console daemon until told to stop.
///
/// # Errors
/// If there is no lab.
pub fn consoled(config: &ConsoledConfig, stop: &StopFlag) -> anyhow::Result<()> {
    wake_when_orphaned();
    told(domain::consoled::run(config, stop).and_then(|report| {
        if is_child() {
            children::report(&serde_json::to_string(&report)?);
        }
        Ok(())
    }))
}

/// Is a guest with a console: writes lines and shows what came of it, or is a shell.
///
/// # Errors
/// If it could not, or it was not good.
pub fn console_guest(
    config: Option<&GuestConfig>,
    run: &RunConfig,
    stop: &StopFlag,
) -> anyhow::Result<()> {
    wake_when_orphaned();
    let Some(config) = config else {
        return told(domain::console_guest::interact(run, stop));
    };
    if is_child() {
        return told(domain::console_guest::write(config, run, stop).and_then(|report| {
            children::report(&serde_json::to_string(&report)?);
            Ok(())
        }));
    }
    let report = domain::console_guest::write(config, run, stop)?;
    let side = &report.side;
    let seconds = side.seconds.max(1e-9);
    super::print(&format!(
        "pvlab: domain {}: {} lines of {} bytes in {:.2} s, {:.1} KB/s read, {} lost, longest gap {:.1} ms\n",
        report.domid,
        side.ops,
        config.len,
        side.seconds,
        float(side.bytes) / seconds / 1e3,
        side.lost,
        float(report.writer.longest_us) / 1e3,
    ))?;
    match report.failure {
        Some(why) => bail!(why),
        None => Ok(()),
    }
}
