//! Where a stream's bytes come from, and what they are compared with: the seeded payload, a file, or
//! nothing at all.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::config::NetConfig;
use crate::payload::Payload;

/// The bytes of a stream.
pub(super) enum Source {
    /// Made from the seed.
    Payload(Payload),
    /// A file, over and over.
    File {
        /// The file.
        file: File,
        /// Its length. Bytes.
        len: u64,
        /// Room for comparing.
        buf: Vec<u8>,
    },
    /// Whatever is in the buffer: with verify off nobody looks.
    Any,
}

impl Source {
    /// The source that `config` asks for, for flow number `flow`: of the end that sends, or of the one that
    /// compares.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn of(config: &NetConfig, flow: u64, sends: bool) -> anyhow::Result<Self> {
        if let Some(path) = config.file.as_ref().filter(|_| sends || config.run.verify) {
            let shown = path.display();
            let unreadable =
                |why| anyhow::anyhow!("--file {shown}: {why}; name a file that can be read");
            let file = File::open(path).map_err(unreadable)?;
            let len = file.metadata().map_err(unreadable)?.len();
            // It had something in it when the command line was read.
            anyhow::ensure!(
                len > 0,
                "--file {shown}: empty, it has shrunk meanwhile; name a file with something in it"
            );
            return Ok(Self::File { file, len, buf: Vec::new() });
        }
        if config.run.verify {
            return Ok(Self::Payload(Payload::new(config.run.seed.wrapping_add(flow))));
        }
        Ok(Self::Any)
    }

    /// Writes the stream's bytes from `offset` on into `buf`. Says how many.
    pub(super) fn fill(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Payload(payload) => {
                payload.fill(offset, buf);
                Ok(buf.len())
            }
            Self::File { file, len, .. } => {
                let at = offset % *len;
                let most = usize::try_from(*len - at).unwrap_or(usize::MAX).min(buf.len());
                file.read_exact_at(&mut buf[..most], at).map_err(|error| shrunk(error, at))?;
                Ok(most)
            }
            Self::Any => Ok(buf.len()),
        }
    }

    /// Whether bytes are compared at all.
    #[must_use]
    pub(super) fn checks(&self) -> bool {
        !matches!(self, Self::Any)
    }

    /// Compares what arrived at `offset` with what should have.
    ///
    /// # Errors
    /// Where it differs, in words.
    pub(super) fn check(&mut self, offset: u64, got: &[u8]) -> Result<(), String> {
        match self {
            Self::Payload(payload) => payload.check(offset, got).map_err(|wrong| wrong.to_string()),
            Self::File { file, len, buf } => {
                let mut done = 0;
                while done < got.len() {
                    let at = (offset + done as u64) % *len;
                    let most = usize::try_from(*len - at).unwrap_or(usize::MAX);
                    let part = &got[done..got.len().min(done.saturating_add(most))];
                    buf.resize(part.len(), 0);
                    let read = file.read_exact_at(buf, at).map_err(|error| shrunk(error, at));
                    read.map_err(|error| format!("--file: {error}"))?;
                    if buf != part {
                        return Err(format!("byte {} or later differs from the file", at));
                    }
                    done += part.len();
                }
                Ok(())
            }
            Self::Any => Ok(()),
        }
    }
}

/// The system's words for an end that comes too early, which are about a buffer, in words about the file.
fn shrunk(error: io::Error, at: u64) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other(format!(
            "the file ends within what was read from byte {at}; it has shrunk meanwhile"
        )),
        _ => error,
    }
}

/// A file for `--out`, which is empty now.
///
/// # Errors
/// If it cannot be made, with the remedy.
pub(crate) fn made(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    File::create(path)
        .map_err(|why| anyhow::anyhow!("--out {shown}: {why}; name a file that can be written"))
}

/// Where arrived bytes are written, if anywhere.
pub(super) struct Out(Option<File>);

impl Out {
    /// Opens the file that `config` asks for.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn of(path: Option<&Path>) -> anyhow::Result<Self> {
        path.map(made).transpose().map(Self)
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("data");
        std::fs::write(&path, [7; 100]).expect("a file");
        let config = NetConfig { file: Some(path.clone()), ..NetConfig::default() };
        let mut source = Source::of(&config, 0, true).expect("there");
        let mut buf = [0; 64];
        assert_eq!(source.fill(150, &mut buf).expect("over and over"), 50);
        assert_eq!(source.check(150, &[7; 64]), Ok(()));
        File::options().write(true).open(&path).and_then(|f| f.set_len(0)).expect("shrunk");
        let error = source.fill(0, &mut buf).expect_err("nothing there");
        assert!(error.to_string().contains("shrunk"), "{error}");
        assert!(source.check(0, &[7; 64]).expect_err("nothing there").contains("shrunk"));
        let Err(error) = Source::of(&config, 0, false) else { panic!("empty") };
        assert!(error.to_string().contains("shrunk"), "{error}");
        std::fs::remove_file(&path).expect("ours");
        let Err(error) = Source::of(&config, 0, true) else { panic!("gone") };
        assert!(error.to_string().contains("No such file"), "{error}");
        assert!(error.to_string().ends_with("name a file that can be read"), "{error}");
    }

    #[test]
    fn with_verify_off_a_file_is_sent_and_not_compared() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("data");
        std::fs::write(&path, [7; 100]).expect("a file");
        let mut config = NetConfig { file: Some(path), ..NetConfig::default() };
        let source = |config: &NetConfig, sends| Source::of(config, 0, sends).expect("there");
        assert!(source(&config, false).checks());
        assert!(source(&config, false).check(0, &[8]).is_err());
        config.run.verify = false;
        assert!(!source(&config, false).checks());
        assert_eq!(source(&config, false).check(0, &[8]), Ok(()));
        let mut buf = [0];
        assert_eq!(source(&config, true).fill(0, &mut buf).expect("sent all the same"), 1);
        assert_eq!(buf, [7]);
    }
}
