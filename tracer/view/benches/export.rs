//! What an export to JSON costs: ten million records of a trace like that of round trips, one request and one
//! response for each fifteen of them. Says how long it took, and how much private memory: the trace itself is
//! mapped, and its pages are the system's. The worst of all turns stands beside what it may be.
//!
//! ```sh
//! cargo bench -p tracer-view --bench export
//! ```
//!
//! A trace as argument is exported in the place of the made one: `cargo bench ... -- out.pvtrace`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tracer_view::fixture::Plan;
use tracer_view::{File, Filter, export};

/// Batches of one request; each is fifteen records.
const BATCHES: u32 = 670_000;
/// How often each is measured.
const TIMES: usize = 5;
/// What ten million records may take. Seconds, and MiB of private memory.
const LIMITS: (f64, f64) = (3.0, 128.0);
/// How a child says how long it took.
const TOOK: &str = " s for ";
/// Tells this program, when it calls itself, what to export.
const CHILD: &str = "EXPORT_BENCH_TRACE";

fn main() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let out = folder.join("export-bench.json");
    if let Some(trace) = std::env::var_os(CHILD) {
        return measured(Path::new(&trace), &out);
    }
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map(PathBuf::from);
    let trace = given.clone().unwrap_or_else(|| folder.join("export-bench.pvtrace"));
    if given.is_none() {
        let made = Plan { batch: 1, batches: BATCHES, ..Plan::default() }.make().finish();
        println!("{} records", made.len() / 16);
        std::fs::write(&trace, made).expect("room in the target folder");
    }
    let (mut slowest, mut largest) = (0.0_f64, 0.0_f64);
    for _ in 0..TIMES {
        let me = std::env::current_exe().expect("this program");
        let mut command = Command::new(me);
        command.env(CHILD, &trace).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program once more");
        let said = child.stdout.take().expect("a pipe");
        let private = private_kib(child) / 1024.0;
        let said = std::io::read_to_string(said).expect("text");
        println!("{said}{private:>9.1} MiB of private memory at most");
        let took = said.split_once(TOOK).and_then(|(seconds, _)| seconds.trim().parse().ok());
        (slowest, largest) = (slowest.max(took.expect("seconds")), largest.max(private));
    }
    let (seconds, mib) = LIMITS;
    println!(
        "at most {slowest:.2} s, {largest:.1} MiB; ten million may take {seconds} s, {mib} MiB"
    );
    let _ = std::fs::remove_file(out);
    if given.is_none() {
        let _ = std::fs::remove_file(trace);
    }
}

fn measured(trace: &Path, out: &Path) {
    let began = Instant::now();
    let file = File::open(trace).expect("the trace");
    let made = export(&file.view().expect("a trace"), &Filter::default(), out).expect("exported");
    let took = began.elapsed();
    println!("{:>9.2}{TOOK}{} MB", took.as_secs_f64(), made.octets / 1_000_000);
}

/// The most private memory that a process has until it ends.
fn private_kib(mut child: Child) -> f64 {
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0.0_f64;
    while child.try_wait().expect("a child").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        most = most.max(kib.unwrap_or(0.0));
        std::thread::sleep(Duration::from_millis(2));
    }
    most
}
