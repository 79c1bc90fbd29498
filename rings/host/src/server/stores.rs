//! The loop's store connections: bytes from their sockets into the store, and back.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use nix::sys::epoll::{EpollEvent, EpollFlags};
use rings::DomId;

use super::events::{Events, Source};
use super::registry::Registry;
use crate::store::ConnId;

/// A connection to the store.
pub(super) struct StoreSocket {
    socket: UnixStream,
    conn: ConnId,
    /// What we wait for on the socket.
    waits_for: EpollFlags,
}

impl Events {
    pub(super) fn add_store(&mut self, domid: DomId, socket: UnixStream) {
        let token = self.token();
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
        if socket.set_nonblocking(true).is_ok() && self.epoll.add(&socket, event).is_ok() {
            let conn = self.registry.xs.connect(domid);
            self.stores.insert(conn, token);
            let at = StoreSocket { socket, conn, waits_for: EpollFlags::EPOLLIN };
            self.sources.insert(token, Source::Store(at));
        }
    }

    pub(super) fn serve_store(&mut self, token: u64, at: StoreSocket) -> Option<Source> {
        let mut buf = [0; 4096];
        if !self.registry.xs.wants_input(at.conn) {
            // Its domain was held because of what it did on another connection.
            return self.flush(token, at);
        }
        match (&at.socket).read(&mut buf) {
            Ok(0) => return self.drop_store(at.conn),
            Ok(len) => self.registry.xs.input(at.conn, &buf[..len]),
            Err(e) if retry(&e) => {}
            Err(_) => return self.drop_store(at.conn),
        }
        Some(Source::Store(at))
    }

    fn drop_store(&mut self, conn: ConnId) -> Option<Source> {
        self.stores.remove(&conn);
        self.registry.xs.disconnect(conn);
        None
    }

    /// The watches of the toolstack fired: all it wants to know is that something changed.
    pub(super) fn toolstack_events(&mut self) {
        let pending = self.registry.xs.output(self.toolstack).len();
        if pending > 0 {
            self.registry.xs.wrote(self.toolstack, pending);
            let Registry { devices, xs, .. } = &mut self.registry;
            devices.backend_changed(xs);
            // What it did fires its own watch; that is not news to it.
            let own = self.registry.xs.output(self.toolstack).len();
            self.registry.xs.wrote(self.toolstack, own);
        }
    }

    /// Sends what the store has to say, as far as the sockets take it, and listens to those again
    /// that are `free` to write.
    pub(super) fn flush_stores(&mut self, free: Vec<ConnId>) {
        let ready: Vec<ConnId> = self.registry.xs.ready().collect();
        for conn in free.into_iter().chain(ready) {
            let Some(&token) = self.stores.get(&conn) else { continue };
            let Some(Source::Store(at)) = self.sources.remove(&token) else { continue };
            if let Some(source) = self.flush(token, at) {
                self.sources.insert(token, source);
            }
        }
    }

    fn flush(&mut self, token: u64, at: StoreSocket) -> Option<Source> {
        let StoreSocket { socket, conn, waits_for } = at;
        loop {
            let output = self.registry.xs.output(conn);
            if output.is_empty() {
                break;
            }
            match (&socket).write(output) {
                Ok(len) if len > 0 => self.registry.xs.wrote(conn, len),
                Err(e) if retry(&e) => break,
                Ok(_) | Err(_) => return self.drop_store(conn),
            }
        }
        let waits = !self.registry.xs.output(conn).is_empty();
        if !waits && self.registry.xs.is_dead(conn) {
            return self.drop_store(conn);
        }
        // A client whose requests are held back, until it reads its answers or may write again, is
        // not listened to: what it has sent meanwhile would wake this loop again and again.
        let listen = self.registry.xs.wants_input(conn);
        let mut now = EpollFlags::empty();
        now.set(EpollFlags::EPOLLIN, listen);
        now.set(EpollFlags::EPOLLOUT, waits);
        let mut event = EpollEvent::new(now, token);
        // Asked for nothing, epoll would still tell of a hang-up, again and again.
        let _ = match (waits_for.is_empty(), now.is_empty()) {
            _ if now == waits_for => Ok(()),
            (_, true) => self.epoll.delete(&socket),
            (true, _) => self.epoll.add(&socket, event),
            _ => self.epoll.modify(&socket, &mut event),
        };
        Some(Source::Store(StoreSocket { socket, conn, waits_for: now }))
    }
}

fn retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
