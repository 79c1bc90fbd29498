//! A disk as it is written on the command line, and what else the backend of a vbd is told.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use blkif::back::disk::{Faults, Model, Spec};
use blkif::dialect::Dialect;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::run::RunConfig;
use crate::units::{TimeUnit, float, format_size, parse_rate, parse_size, parse_time};

/// In which units one end of a vbd counts sectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DialectName {
    /// 512 bytes everywhere, as blkif.h says and Linux does.
    #[default]
    Xen,
    /// FreeBSD.
    Freebsd,
    /// QEMU and Windows.
    Qemu,
    /// mini-os.
    MiniOs,
}

impl From<DialectName> for Dialect {
    fn from(name: DialectName) -> Self {
        match name {
            DialectName::Xen => Self::Xen,
            DialectName::Freebsd => Self::FreeBsd,
            DialectName::Qemu => Self::Qemu,
            DialectName::MiniOs => Self::MiniOs,
        }
    }
}

/// What a disk is made of, as typed: `null`, `ram=64M`, `faulty:cache:file=x.img`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiskText {
    text: String,
    kind: DiskKind,
}

#[derive(Debug, Clone, PartialEq)]
enum DiskKind {
    Null,
    Void,
    Ram(u64),
    File(PathBuf),
    Model(Model),
    Faulty(Box<DiskText>, Faults),
    /// Somebody else's, who may call it anything.
    Other,
}

impl Default for DiskText {
    fn default() -> Self {
        Self { text: "null".into(), kind: DiskKind::Null }
    }
}

impl fmt::Display for DiskText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

as_text!(DiskText);

impl FromStr for DiskText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once(['=', ':']) {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let kind = match (name, value) {
            ("null", None) => DiskKind::Null,
            ("void", None) => DiskKind::Void,
            ("ram", Some(size)) => DiskKind::Ram(whole_sectors(size)?),
            ("file", Some("")) => return Err("names no file; use file=PATH".to_owned()),
            ("file", Some(path)) => DiskKind::File(path.into()),
            ("model", value) => DiskKind::Model(model(value.unwrap_or_default())?),
            ("faulty", Some(value)) => {
                let (faults, inner) = value.split_once(':').ok_or(
                    "names no disk; use faulty:WHAT:DISK as in faulty:cache:ram=64M".to_owned(),
                )?;
                DiskKind::Faulty(Box::new(inner.parse()?), faults_of(faults)?)
            }
            _ => {
                let all = "null, void, ram=SIZE, file=PATH, model=..., faulty:WHAT:DISK";
                return Err(format!("no such disk; use {all}"));
            }
        };
        Ok(Self { text: text.to_owned(), kind })
    }
}

impl DiskText {
    /// The disk of somebody else's backend, by the name that it has there, if any. Nobody asks for one so.
    #[must_use]
    pub fn called(name: Option<&str>) -> Self {
        let other = Self::only_called(name);
        other.text.parse().unwrap_or(other)
    }

    /// The same where nothing is believed of what the name says.
    #[must_use]
    pub fn only_called(name: Option<&str>) -> Self {
        /// Characters of a name that are shown.
        const SHOWN: usize = 100;
        let plain = |c: &char| !c.is_control() && !c.is_whitespace();
        let text: String = name.unwrap_or_default().chars().filter(plain).take(SHOWN).collect();
        let text = if text.is_empty() { "unknown".into() } else { text };
        Self { text, kind: DiskKind::Other }
    }

    /// Whether it is somebody else's, whose name is no option.
    #[must_use]
    pub(super) fn is_others(&self) -> bool {
        self.kind == DiskKind::Other
    }

    /// The disk, where `size` is that of those that do not say theirs. `seed` is for faults.
    #[must_use]
    pub fn spec(&self, size: u64, seed: u64) -> Spec {
        match &self.kind {
            DiskKind::Null | DiskKind::Other => Spec::Null(size),
            DiskKind::Void => Spec::Void(size),
            DiskKind::Ram(size) => Spec::Ram(*size),
            DiskKind::File(path) => Spec::File(path.clone()),
            DiskKind::Model(model) => Spec::Model(size, *model),
            DiskKind::Faulty(inner, faults) => {
                Spec::Faulty(Box::new(inner.spec(size, seed)), Faults { seed, ..*faults })
            }
        }
    }

    /// Whether it is as long as it is told to be.
    #[must_use]
    pub fn takes_size(&self) -> bool {
        match &self.kind {
            DiskKind::Null | DiskKind::Void | DiskKind::Model(_) => true,
            DiskKind::Ram(_) | DiskKind::File(_) | DiskKind::Other => false,
            DiskKind::Faulty(inner, _) => inner.takes_size(),
        }
    }

    /// Whether what is written can be read again.
    #[must_use]
    pub fn keeps(&self) -> bool {
        match &self.kind {
            DiskKind::Null | DiskKind::Void => false,
            DiskKind::Ram(_) | DiskKind::File(_) | DiskKind::Model(_) | DiskKind::Other => true,
            DiskKind::Faulty(inner, _) => inner.keeps(),
        }
    }

    /// Whether it is all zeros when it is new.
    #[must_use]
    pub fn starts_as_zeros(&self) -> bool {
        match &self.kind {
            DiskKind::Ram(_) | DiskKind::Model(_) => true,
            DiskKind::Faulty(inner, _) => inner.starts_as_zeros(),
            _ => false,
        }
    }

    /// Whether what is on it outlives its backend.
    #[must_use]
    pub fn outlives(&self) -> bool {
        match &self.kind {
            DiskKind::File(_) | DiskKind::Other => true,
            DiskKind::Faulty(inner, _) => inner.outlives(),
            _ => false,
        }
    }

    /// Whether a backend that is killed takes along what no flush has saved.
    #[must_use]
    pub fn forgets(&self) -> bool {
        match &self.kind {
            DiskKind::Faulty(inner, faults) => faults.cache || inner.forgets(),
            _ => false,
        }
    }

    /// The file it is in, if it is in one.
    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        match &self.kind {
            DiskKind::File(path) => Some(path),
            DiskKind::Faulty(inner, _) => inner.file(),
            _ => None,
        }
    }
}

fn whole_sectors(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("a disk of no size; use as in ram=64M".into()),
        size if !size.is_multiple_of(512) => {
            let more = format_size(size.next_multiple_of(512));
            Err(format!("no whole number of sectors of 512 bytes; use ram={more}"))
        }
        size => Ok(size),
    }
}

/// `read:20M,write:10M,latency:1.3ms,write-unit:32K`: what is not said is as in this.
fn model(text: &str) -> Result<Model, String> {
    let mut model = Model::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once(':').ok_or_else(|| {
            format!("'{part}' is not NAME:VALUE; use as in model=read:20M,latency:1.3ms")
        })?;
        match name {
            "read" => model.read = parse_rate(value)?,
            "write" => model.write = parse_rate(value)?,
            "latency" => model.latency = time(value)?,
            "write-unit" => {
                let size = parse_size(value)?;
                let fits = u32::try_from(size).ok().filter(|size| (512..=1 << 30).contains(size));
                model.write_unit = fits.ok_or("write-unit out of range; use 512 to 1G")?;
            }
            _ => {
                let all = "read, write, latency, write-unit";
                return Err(format!("nothing called '{name}' is modelled; use {all}"));
            }
        }
    }
    Ok(model)
}

/// `errors=0.01,delay=0.1/5ms,cache,noflush,liar`.
fn faults_of(text: &str) -> Result<Faults, String> {
    let mut faults = Faults::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name {
            "cache" if value.is_empty() => faults.cache = true,
            "noflush" if value.is_empty() => faults.no_flush = true,
            "liar" if value.is_empty() => faults.liar = true,
            "errors" => faults.errors = share(value)?,
            "lose" => faults.lost = share(value)?,
            "delay" => {
                let (of, late) = value.split_once('/').unwrap_or(("1", value));
                (faults.delays, faults.delay) = (share(of)?, time(late)?);
            }
            _ => {
                let all = "errors=SHARE, lose=SHARE, delay=SHARE/TIME, cache, noflush, liar";
                return Err(format!("no fault called '{part}'; use {all}"));
            }
        }
    }
    Ok(faults)
}

fn share(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| format!("'{text}' is not a share; use 0 to 1, 0.01 for one in a hundred"))
}

fn time(text: &str) -> Result<Duration, String> {
    let seconds = parse_time(text, TimeUnit::Seconds, None)?;
    if seconds <= float(60) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("'{text}' is out of range; use up to 60s"))
    }
}

/// The disk and how it is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskConfig {
    /// What it is made of.
    pub disk: DiskText,
    /// Bytes, of disks that do not say their length; of the others, the part that is used: all, if nothing
    /// stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Others may have written on it before this run.
    #[serde(skip)]
    pub used: bool,
    /// Nothing may be written.
    pub read_only: bool,
    /// Bytes of the disk's own sectors.
    pub sector_size: u32,
    /// Requests the backend has in flight for each page of a ring.
    pub in_flight: u32,
    /// In which units the backend counts.
    pub dialect_back: DialectName,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            disk: DiskText::default(),
            size: Some(Self::SIZE),
            used: false,
            read_only: false,
            sector_size: 512,
            in_flight: 32,
            dialect_back: DialectName::Xen,
        }
    }
}

impl DiskConfig {
    /// Bytes of a disk that does not say its length.
    pub const SIZE: u64 = 1 << 30;

    /// What `size` is where nobody says it.
    #[must_use]
    pub fn default_size(&self) -> Option<u64> {
        self.disk.takes_size().then_some(Self::SIZE)
    }

    /// The disk, as the backend opens it.
    #[must_use]
    pub fn spec(&self, seed: u64) -> Spec {
        self.disk.spec(self.size.unwrap_or(Self::SIZE), seed)
    }
}

/// A blkback that is started by hand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BlkbackConfig {
    /// The options every run has.
    #[serde(flatten)]
    pub run: RunConfig,
    /// The disk and how it is served.
    #[serde(flatten)]
    pub disk: DiskConfig,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_call_their_disks_is_shown_as_it_is_and_no_more() {
        let shown = |name| DiskText::called(name).to_string();
        assert_eq!(shown(Some("ram=8M")), "ram=8M");
        assert_eq!(DiskText::called(Some("null")), DiskText::default());
        assert_eq!(shown(Some("/dev/vg/a\x1b[2J b\n")), "/dev/vg/a[2Jb");
        assert_eq!((shown(None), shown(Some(""))), ("unknown".into(), "unknown".into()));
        let doubted = DiskText::only_called(Some("null"));
        assert!(doubted.to_string() == "null" && doubted.keeps() && !DiskText::default().keeps());
        assert_eq!(shown(Some(&"x".repeat(5000))).len(), 100);
    }

    #[test]
    fn disks_are_read_and_say_what_is_wrong_with_them() {
        let spec = |text: &str| text.parse::<DiskText>().map(|disk| disk.spec(1 << 20, 7));
        assert_eq!(spec("null"), Ok(Spec::Null(1 << 20)));
        assert_eq!(spec("ram=64M"), Ok(Spec::Ram(64 << 20)));
        assert_eq!(spec("file=a=b:c"), Ok(Spec::File("a=b:c".into())));
        let Ok(Spec::Model(_, model)) = spec("model=read:20M,write:10M,latency:1.3ms") else {
            panic!("a model");
        };
        assert_eq!(model, Model::default());
        let Ok(Spec::Faulty(inner, faults)) = spec("faulty:errors=0.5,cache,delay=0.1/5ms:ram=1M")
        else {
            panic!("faulty");
        };
        assert_eq!(*inner, Spec::Ram(1 << 20));
        assert!(!faults.liar && "faulty:liar,lose=1:null".parse::<DiskText>().is_ok());
        assert!(faults.cache && faults.seed == 7 && faults.delay == Duration::from_millis(5));
        for (bad, why) in [
            ("", "null, void"),
            ("disk", "null, void"),
            ("ram", "null, void"),
            ("ram=0", "no size"),
            ("ram=1000", "ram=1K"),
            ("file=", "file=PATH"),
            ("model=fast", "NAME:VALUE"),
            ("model=speed:1", "latency"),
            ("faulty:ram=1M", "names no disk"),
            ("faulty:bugs:ram=1M", "no fault"),
            ("faulty:errors=2:null", "share"),
        ] {
            let said = spec(bad).expect_err(bad);
            assert!(said.contains(why), "{bad}: {said}");
        }
    }
}
