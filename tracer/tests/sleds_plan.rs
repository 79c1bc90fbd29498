//! What the compiler is told, so that it instruments functions: which calls of rustc are told, and what.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use tracer::sleds::plan::{Call, Instrument, list, profile};

fn args(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

#[test]
fn a_crate_is_compiled_twice_and_what_is_no_part_of_a_program_once() {
    let text = "--crate-name smoltcp --edition=2021 src/lib.rs --crate-type lib --target t \
                --emit=dep-info,metadata,link -C metadata=1 -C extra-filename=-2 --out-dir /deps";
    let call = Call::of(&args(text)).expect("a library");
    assert_eq!(call.name(), "smoltcp-2");
    let ir = call.to_ir(Path::new("/s/x.ll")).join(OsStr::new(" "));
    assert_eq!(
        ir.to_str(),
        Some(
            "--crate-name smoltcp --edition=2021 src/lib.rs --crate-type lib --target t -C metadata=1 \
             -C extra-filename=-2 --emit=llvm-ir=/s/x.ll --out-dir /s -Cdebuginfo=0 \
             -Cno-prepopulate-passes"
        )
    );
    let again = call.with_list(Path::new("/s/x.csv"));
    assert_eq!(again.len(), args(text).len() + 1);
    for other in [
        "-vV",
        "--crate-name ___ --print=file-names --crate-type bin",
        "--crate-name build_script_build --crate-type bin --emit=dep-info,link",
        "--crate-name serde_derive --crate-type proc-macro --emit=dep-info,link",
        "--crate-name syn --crate-type lib --emit=dep-info,metadata,link",
        "--crate-name smoltcp --crate-type lib --emit=dep-info,metadata --target t",
        "--crate-name tracer --crate-type lib --emit=dep-info,metadata,link --target t",
    ] {
        assert!(Call::of(&args(other)).is_none(), "{other}");
    }
}

#[test]
fn the_list_has_what_is_defined_and_compiled_from_rust_and_not_what_records() {
    let ir = b"source_filename = \"x\"\n\
        define hidden noundef i64 @_RNvCs1_1x4leaf(i64 noundef %n) unnamed_addr #0 {\n\
        define internal void @\"_RNvCs1_1x3mid\"() {\n\
        define void @_RNvNtCs1_6tracer5clock3now() {\n\
        define i32 @main(i32 %0, ptr %1) {\n\
        declare void @_RNvCs1_1x5other()\n";
    let made = list(ir.as_slice(), Instrument::Sleds).expect("memory");
    let attribute = "function-instrument=xray-always";
    assert_eq!(made, format!("_RNvCs1_1x4leaf,{attribute}\n_RNvCs1_1x3mid,{attribute}\n"));
}

#[test]
fn profiles_are_named_as_cargo_names_them() {
    let named = |text: &str| profile(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(named("-p x"), "DEV");
    assert_eq!(named("-p x --release"), "RELEASE");
    assert_eq!(named("--profile quick -p x"), "QUICK");
    assert_eq!(named("--profile=quick-er"), "QUICK_ER");
}
