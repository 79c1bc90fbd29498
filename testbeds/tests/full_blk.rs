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
        // It would lie where the tests are run.
        "--verify_state_save=0",
    ];
    run("fio", &fio);
    server.end();
}

/// A file system of its own that has less room than the disk on it claims to have.
#[test]
fn full_a_full_disk_is_one_clear_line() {
    if !common::full("a file system without room") {
        return;
    }
    let scratch = Scratch::new();
    let room = scratch.path("room");
    std::fs::create_dir(&room).expect("a directory");
    let script = "mount -t tmpfs -o size=2M none \"$1\" && truncate -s 8M \"$1/disk.img\" && \
                  exec \"$2\" blk --disk \"file=$1/disk.img\" --rw write --bs 64k -n 200 --quiet";
    let room = room.display().to_string();
    let mut command = Command::new("unshare");
    // Whoever is not root becomes so in a user namespace, where the system allows it.
    let how = if nix::unistd::geteuid().is_root() { "-m" } else { "-rm" };
    command.args([how, "sh", "-c", script, "sh", &room, env!("CARGO_BIN_EXE_pvlab")]);
    let output = command.env("XDG_RUNTIME_DIR", scratch.path("")).output().expect("unshare");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let lines: Vec<&str> = errors.lines().filter(|line| !line.starts_with("note: ")).collect();
    let [line] = lines[..] else { panic!("one line: {errors}") };
    for part in ["the write of 65536 bytes", "disk.img: no space left", "make room"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
