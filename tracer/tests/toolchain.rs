//! Whether this toolchain still puts sleds, and calls of `mcount`, into functions when it is asked the way
//! `sleds::plan` does. If this fails after an update of Rust, `bin/sleds` says so to its users, and everything else
//! works as before; the list of options in `sleds::plan` is what to look at.

use std::path::Path;
use std::process::Command;

const PROGRAM: &str = "
    #[inline(never)]
    pub fn leaf(x: u64) -> u64 { std::hint::black_box(x) + 1 }
    fn main() { println!(\"{}\", (0..4).map(leaf).sum::<u64>()); }
";

/// Compiles the program with these options; its file's octets.
fn compile(folder: &Path, name: &str, options: &[String]) -> Vec<u8> {
    let (source, program) = (folder.join("program.rs"), folder.join(name));
    std::fs::write(&source, PROGRAM).expect("written");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--edition", "2024", "-O", "-Csymbol-mangling-version=v0", "-Cpanic=abort"])
        .args(options)
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .output()
        .expect("rustc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(program).expect("a program")
}

/// The mangled name of `leaf` in a program.
fn leaf(program: &[u8]) -> String {
    let text = String::from_utf8_lossy(program);
    let end = text.find("4leaf\0").expect("its symbol") + "4leaf".len();
    let begin = text[..end].rfind('\0').expect("behind another") + 1;
    text[begin..end].to_owned()
}

fn contains(program: &[u8], what: &str) -> bool {
    program.windows(what.len()).any(|here| here == what.as_bytes())
}

#[test]
fn the_compiler_can_still_be_told_to_instrument_functions() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = compile(folder.path(), "plain", &[]);
    for sign in ["xray_instr_map", "mcount"] {
        assert!(!contains(&plain, sign), "{sign} is there without being asked for");
    }
    let list = folder.path().join("list.csv");
    let option = format!("-Cllvm-args=-forceattrs-csv-path={}", list.display());
    for (attribute, sign) in [
        ("function-instrument=xray-always", "xray_instr_map"),
        ("instrument-function-entry-inlined=mcount", "mcount"),
    ] {
        std::fs::write(&list, format!("{},{attribute}\n", leaf(&plain))).expect("written");
        let built = compile(folder.path(), "built", std::slice::from_ref(&option));
        assert!(contains(&built, sign), "{attribute} left no {sign} in the program");
    }
}
