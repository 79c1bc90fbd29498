//! `pvlab trace open` while it runs: what it says of itself, and what it answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command};
use std::sync::mpsc::channel;

use super::WATCHDOG;

/// One that is running.
pub(crate) struct Server {
    /// The process.
    pub(crate) child: Child,
    /// Where on 127.0.0.1.
    pub(crate) port: u16,
    /// All it printed.
    pub(crate) said: String,
}

impl Server {
    /// Starts it, and reads what it says.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (tell, told) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|l| tell.send(l)));
        // Whatever it says instead, it ends with this.
        let mut server = Self { child, port: 0, said: String::new() };
        while !server.said.contains("Ctrl-C") {
            server.said += &told.recv_timeout(WATCHDOG).expect("it says where it is");
            server.said += "\n";
        }
        let port = server.said.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next());
        server.port = port.expect("an address").parse().expect("a port");
        server
    }

    /// Head and body of the answer.
    pub(crate) fn ask(&self, method: &str, path: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        stream.set_read_timeout(Some(WATCHDOG)).expect("set");
        let origin = "https://ui.perfetto.dev";
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: here\r\nOrigin: {origin}\r\n\r\n")
            .expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let body = answer.split_off(end);
        (String::from_utf8(answer).expect("text"), body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
