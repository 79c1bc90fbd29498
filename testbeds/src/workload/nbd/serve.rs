//! The sockets of the NBD server: one that listens, and for each client a thread that reads what it asks
//! and one that writes what it is told.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::Context as _;

use super::credit::Credit;
use super::desk::{Desk, Reply, Request, Wish};
use super::export::Export;
use super::greet::greet;
use super::wire::{Command, Header, error, reply_header};

/// Bytes of a request at most, as NBD's document has it.
const LONGEST: u32 = 32 << 20;
/// What a client may have asked for and not been told. Bytes.
const CREDIT: usize = 64 << 20;
/// What each request takes of it at least. Bytes.
const LEAST: usize = 4096;
/// Between two clients that could not be let in.
const BREATH: Duration = Duration::from_millis(100);

/// Listens until the process ends; requests go to the desks in turn. Removing the socket's name at the
/// end is the caller's: that is what the returned guard is for.
///
/// # Errors
/// If nobody can listen there.
pub fn serve(path: &Path, export: Export, desks: Vec<Desk>) -> anyhow::Result<impl Drop + use<>> {
    let shown = path.display();
    let listener = UnixListener::bind(path).with_context(|| {
        format!("cannot listen at --nbd unix:{shown}; remove what is there or name another path")
    })?;
    let desks: Arc<[Desk]> = desks.into();
    std::thread::Builder::new().name("nbd".into()).spawn(move || {
        for (n, client) in listener.incoming().enumerate() {
            let Ok(client) = client else {
                // The next would fail at once, too: there are as many files open as there may be.
                std::thread::sleep(BREATH);
                continue;
            };
            let (desk, export) = (desks[n % desks.len()].clone(), export.clone());
            let name = format!("nbd-{n}");
            // Without a thread for it a client is turned away by the end of its socket.
            let _ = std::thread::Builder::new().name(name).spawn(move || {
                // How a client leaves is its own affair.
                let _ = client_of(client, &export, &desk);
            });
        }
    })?;
    Ok(Name(path.to_owned()))
}

/// The socket's name in the file system.
struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn client_of(mut socket: UnixStream, export: &Export, desk: &Desk) -> io::Result<()> {
    if !greet(&mut socket, export)? {
        return Ok(());
    }
    let (reply, replies) = channel();
    let credit = Credit::new(CREDIT);
    let writing = socket.try_clone()?;
    std::thread::Builder::new().name("nbd-replies".into()).spawn(move || {
        let _ = write_all(writing, &replies);
    })?;
    let mut socket = io::BufReader::with_capacity(1 << 20, socket);
    loop {
        let header = Header::read(&mut socket)?;
        let bytes = match header.command {
            Command::Disconnect => return Ok(()),
            // Its data follow, and nobody knows where those of the next would begin.
            Command::Write if header.length > LONGEST => return Ok(()),
            Command::Read | Command::Write => header.length.min(LONGEST) as usize,
            _ => 0,
        };
        // Before anything is taken for it: one that asks and does not listen waits here.
        let share = credit.take(bytes.max(LEAST));
        let mut data = Vec::new();
        if header.command == Command::Write {
            data.resize(bytes, 0);
            socket.read_exact(&mut data)?;
        }
        match judge(&header, export) {
            Ok(wish) => desk.put(Request {
                wish,
                cookie: header.cookie,
                offset: header.offset,
                length: header.length,
                fua: header.fua && matches!(wish, Wish::Write | Wish::Trim),
                data,
                reply: reply.clone(),
                share,
            }),
            Err(error) => {
                let data = Vec::new();
                let _ = reply.send(Reply { cookie: header.cookie, error, data, share });
            }
        }
    }
}

/// What a client asks for, if it may.
fn judge(header: &Header, export: &Export) -> Result<Wish, u32> {
    let wish = match header.command {
        Command::Read => Wish::Read,
        Command::Write => Wish::Write,
        Command::Flush => return Ok(Wish::Flush),
        Command::Trim if export.trim.is_some() => Wish::Trim,
        Command::Trim | Command::Other(_) => return Err(error::ENOTSUP),
        Command::Disconnect => return Err(error::EINVAL),
    };
    if export.read_only && wish != Wish::Read {
        return Err(error::EPERM);
    }
    let own =
        u64::from(if wish == Wish::Trim { export.trim.unwrap_or(512) } else { export.sector_size });
    let whole = header.offset.is_multiple_of(own) && u64::from(header.length).is_multiple_of(own);
    let end = header.offset.checked_add(header.length.into());
    let inside = end.is_some_and(|end| end <= export.bytes());
    let long = wish != Wish::Trim && header.length > LONGEST;
    if !whole || !inside || long || header.length == 0 { Err(error::EINVAL) } else { Ok(wish) }
}

/// Writes replies until there can be no more of them. Several that wait go out together.
/// A reply's share of the credit comes back when it is written.
fn write_all(socket: UnixStream, replies: &Receiver<Reply>) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 20, socket);
    while let Ok(first) = replies.recv() {
        for reply in [first].into_iter().chain(replies.try_iter()) {
            let Reply { cookie, error, data, share } = reply;
            out.write_all(&reply_header(cookie, error))?;
            out.write_all(&data)?;
            drop(share);
        }
        out.flush()?;
    }
    out.get_ref().shutdown(Shutdown::Both)
}
