//! A guest for people: a small shell on its console, so that an interactive console is worth opening.

use std::time::{Duration, Instant};

use console::front::{Console, OnFull};
use rings::Domain;
use rings::bytes::IllegalIndex;
use rings::io::console::OUT_SIZE;
use rings_host::{EpollWaiter, HostDomain};

use super::editor::{Editor, Typed};
use super::last_words::say_last_words;
use super::lines::Lines;
use crate::domain::StopFlag;

const HELP: &str = "\
help            this
stat            what this console has done so far
top             the same, each second, until a key is pressed
echo TEXT       TEXT again
flood [N [LEN]] N numbered lines (1000) of LEN bytes (6), as fast as they go: watch the limit work
panic           a last word: what a guest says when nothing else works any more
quit            the guest ends (Ctrl-D too); Ctrl-] only leaves it
";

/// Between two looks whether to end.
const LOOK: Duration = Duration::from_millis(100);
/// Between two pictures of `top`.
const SECOND: Duration = Duration::from_secs(1);
/// How long the last output may take to be read.
const FAREWELL: Duration = Duration::from_secs(2);

/// Is a shell on this console until it is told to end.
///
/// # Errors
/// If xenconsoled lies, or the system refuses something.
pub fn shell(
    domain: &HostDomain,
    console: Console<HostDomain>,
    stop: &StopFlag,
) -> anyhow::Result<()> {
    say_last_words(console.emergency()?);
    let mut waiter = domain.waiter()?;
    console.watch(&mut waiter)?;
    let mut shell = Shell {
        console,
        waiter,
        stop: stop.clone(),
        started: Instant::now(),
        domid: domain.domid().0,
        count: Count::default(),
    };
    shell.run()?;
    shell.console.flush(&mut shell.waiter, FAREWELL);
    Ok(())
}

struct Shell {
    console: Console<HostDomain>,
    waiter: EpollWaiter,
    stop: StopFlag,
    started: Instant,
    domid: u16,
    count: Count,
}

#[derive(Clone, Copy, Default)]
struct Count {
    put: u64,
    got: u64,
    dropped: u64,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Next {
    Prompt,
    Quit,
}

impl Shell {
    fn run(&mut self) -> Result<(), IllegalIndex> {
        self.say(&format!("pvlab guest {}: type help\n", self.domid))?;
        self.prompt()?;
        let mut editor = Editor::default();
        while !self.stop.is_set() {
            let mut typed = [0; 64];
            let got = self.get(&mut typed)?;
            let mut echo = Vec::new();
            for &byte in &typed[..got] {
                let made = editor.key(byte, &mut echo);
                if made == Typed::Nothing {
                    continue;
                }
                self.put(&std::mem::take(&mut echo))?;
                let next = match made {
                    Typed::Line(line) => self.obey(line.trim())?,
                    Typed::End => Next::Quit,
                    Typed::Cancelled | Typed::Nothing => Next::Prompt,
                };
                if next == Next::Quit {
                    return self.say("bye\n");
                }
                self.prompt()?;
            }
            self.put(&echo)?;
            if got == 0 {
                self.console.wait(&mut self.waiter, LOOK);
            }
        }
        Ok(())
    }

    fn prompt(&mut self) -> Result<(), IllegalIndex> {
        self.say(&format!("guest{}> ", self.domid))
    }

    fn obey(&mut self, line: &str) -> Result<Next, IllegalIndex> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => {}
            "help" | "?" => self.say(HELP)?,
            "stat" => {
                let text = self.stat();
                self.say(&text)?;
            }
            "top" => self.top()?,
            "echo" => self.say(&format!("{rest}\n"))?,
            "flood" => self.flood(rest)?,
            "panic" => panic!("the guest was told to"),
            "quit" | "exit" => return Ok(Next::Quit),
            _ => self.say(&format!("{word}: no such command; type help\n"))?,
        }
        Ok(Next::Prompt)
    }

    fn stat(&mut self) -> String {
        let (events, Count { put, got, dropped }) = (self.console.events(), self.count);
        let ring = match self.console.unread() {
            Ok(unread) => format!("{unread} of {OUT_SIZE} bytes of the ring wait to be read"),
            Err(lie) => lie.to_string(),
        };
        let served = if self.console.connected() { "somebody reads" } else { "nobody reads" };
        format!(
            "up {:.1} s; {served}\nout {put} bytes, in {got}, dropped {dropped}\n{ring}\n\
             events sent: {}, of which {} rang a doorbell\n",
            self.started.elapsed().as_secs_f64(),
            events.sent(),
            events.rung
        )
    }

    /// What happens, each second, until a key is pressed.
    fn top(&mut self) -> Result<(), IllegalIndex> {
        let (mut before, mut then) = (self.count, Instant::now());
        loop {
            let seconds = then.elapsed().as_secs_f64().max(1e-3);
            let now = self.count;
            let per_second = |now: u64, before: u64| ((now - before) as f64 / seconds).round();
            let (out, back) = (per_second(now.put, before.put), per_second(now.got, before.got));
            (before, then) = (now, Instant::now());
            let stat = self.stat();
            let text = format!(
                "\x1b[H\x1b[2Jguest {}: out {out} bytes/s, in {back} bytes/s\n{}{}\nany key ends this\n",
                self.domid,
                stat,
                usage()
            );
            self.say(&text)?;
            let mut key = [0; 64];
            while then.elapsed() < SECOND {
                if self.stop.is_set() || self.get(&mut key)? > 0 {
                    return Ok(());
                }
                self.console.wait(&mut self.waiter, LOOK);
            }
        }
    }

    fn flood(&mut self, rest: &str) -> Result<(), IllegalIndex> {
        let mut numbers = rest.split_whitespace().map(str::parse::<usize>);
        let (count, len) = (numbers.next().unwrap_or(Ok(1000)), numbers.next().unwrap_or(Ok(6)));
        let (Ok(count), Ok(len @ 1..=4096), None) = (count, len, numbers.next()) else {
            return self.say("flood [N [LEN]]: a number of lines, and their length up to 4096\n");
        };
        let (mut lines, began) = (Lines::new(len), Instant::now());
        for _ in 0..count {
            self.put(lines.line())?;
            lines.advance();
            // The terminal is raw: a line end alone only goes down.
            self.put(b"\r")?;
            let mut key = [0; 1];
            if self.get(&mut key)? > 0 && key == [0x03] {
                self.say("^C\n")?;
                break;
            }
            if self.stop.is_set() {
                break;
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        self.say(&format!("{count} lines of {len} bytes in {seconds:.3} s\n"))
    }

    /// Text, with its line ends as a raw terminal needs them.
    fn say(&mut self, text: &str) -> Result<(), IllegalIndex> {
        self.put(text.replace('\n', "\r\n").as_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), IllegalIndex> {
        let stop = &self.stop;
        let written =
            self.console.write(&mut self.waiter, bytes, OnFull::Block, || !stop.is_set())?;
        self.count.put += written.put as u64;
        self.count.dropped += written.dropped as u64;
        Ok(())
    }

    fn get(&mut self, to: &mut [u8]) -> Result<usize, IllegalIndex> {
        let got = self.console.get(to)?;
        self.count.got += got as u64;
        Ok(got)
    }
}

/// This process as the kernel sees it.
fn usage() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.map(|line| line.trim().to_owned()).unwrap_or_else(|| "?".into())
    };
    format!("process {}, {} resident, {} threads", std::process::id(), of("VmRSS:"), of("Threads:"))
}
