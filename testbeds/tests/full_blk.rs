//! Other people's programs on our disk: qemu-img, qemu-io, nbdinfo, nbdcopy, fio, mke2fs and e2fsck, through
//! `pvlab blk --nbd` and so through blkfront, the ring and blkback. Without `PVLAB_FULL=1` it says what it skips.

mod common;

use std::process::Command;

use common::{Process, Scratch, within};
use nix::sys::signal::Signal;

/// MiB of the image that is copied in and out.
fn mebibytes() -> u64 {
    if common::soak() { 1024 } else { 64 }
}

/// A server on a fresh disk of so many MiB.
struct Server {
    scratch: Scratch,
    process: Process,
    uri: String,
}

impl Server {
    fn start(mebibytes: u64, switches: &[&str]) -> Self {
        let scratch = Scratch::new();
        let disk = scratch.path("disk.img");
        let made = std::fs::File::create(&disk).and_then(|f| f.set_len(mebibytes << 20));
        made.expect("a file");
        let (disk, socket) = (format!("file={}", disk.display()), scratch.path("s"));
        let unix = format!("unix:{}", socket.display());
        let args = ["blk", "--disk", &disk, "--nbd", &unix, "--stall-timeout", "100s"];
        let process = scratch.start(&[&args, switches].concat());
        assert!(within(common::WATCHDOG, || socket.exists()), "nobody listens");
        let uri = format!("nbd+unix:///?socket={}", socket.display());
        Self { scratch, process, uri }
    }

    fn end(self) {
        self.process.signal(Signal::SIGINT);
        let ended = self.process.end();
        assert!(ended.status.success(), "{ended:?}");
        assert!(ended.stdout.contains(" 0 errors"), "{ended:?}");
        assert!(!self.scratch.path("s").exists(), "the socket stays behind");
    }
}

/// Runs a program, which must succeed, and returns what it printed.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {text}{errors}", args.join(" "));
    text
}

#[test]
fn full_an_image_goes_in_and_comes_out_whole() {
    if !common::full("copying images through the ring") {
        return;
    }
    let size = mebibytes();
    for switches in [&[][..], &["--grant", "persistent", "--queues", "2", "--ring-order", "2"]] {
        let server = Server::start(size, switches);
        let (image, back) = (server.scratch.text("in.img"), server.scratch.text("out.img"));
        std::fs::File::create(&image).and_then(|f| f.set_len(size << 20)).expect("a file");
        // A file system full of what is in this package.
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        run("mke2fs", &["-q", "-t", "ext4", "-d", sources, &image]);
        run("nbdcopy", &["--flush", &image, &server.uri]);
        assert!(run("nbdinfo", &["--size", &server.uri]).trim() == (size << 20).to_string());
        run("nbdcopy", &[&server.uri, &back]);
        run("cmp", &[&image, &back]);
        run("e2fsck", &["-fn", &back]);
        let again = server.scratch.text("again.img");
        run("qemu-img", &["convert", "-f", "raw", "-O", "raw", &server.uri, &again]);
        run("cmp", &[&image, &again]);
        server.end();
    }
}

#[test]
fn full_other_clients_read_what_they_wrote() {
    if !common::full("fio and qemu-io through the ring") {
        return;
    }
    let server = Server::start(64, &[]);
    let info = run("nbdinfo", &[&server.uri]);
    assert!(info.contains("can_flush: true") && info.contains("can_trim: true"), "{info}");
    let steps = [
        "write -P 90 3M 1M",
        "flush",
        "read -P 90 3M 1M",
        "discard 3M 64k",
        "read -P 0 3M 64k",
        "write -f -P 3 9M 4k",
        "read -P 3 9M 4k",
    ];
    let steps: Vec<&str> = steps.iter().flat_map(|step| ["-c", step]).collect();
    run("qemu-io", &[&["-f", "raw"], &steps[..], &[&server.uri]].concat());
    let uri = format!("--uri={}", server.uri);
    let fio = [
        "--name=x",
        "--ioengine=nbd",
        &uri,
        "--rw=randwrite",
        "--bs=4k",
        "--iodepth=32",
        "--size=16M",
        "--verify=crc32c",
        "--do_verify=1",
        "--verify_fatal=1",
    ];
    run("fio", &fio);
    server.end();
}
