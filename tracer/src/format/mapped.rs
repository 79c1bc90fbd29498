//! A file of any size as bytes, without reading it into memory.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// A file mapped for reading. Its pages are the system's, not this process's own.
#[derive(Debug)]
pub struct Mapped(Option<Mmap>);

impl Mapped {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// If it cannot be opened or mapped: a folder, a pipe.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the mapping is private to this process and only read. What a trace contains is
        // checked at each use, so that a writer who changes it under us changes what we show and no
        // more; one who cuts it off while it is shown ends this process, as it would `less`.
        Ok(Self(Some(unsafe { Mmap::map(&file)? })))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
