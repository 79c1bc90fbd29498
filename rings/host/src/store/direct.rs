//! The store as the toolstack sees it from inside the host process: as domain 0, without a
//! connection.

use rings::DomId;
use rings::io::xs_wire::{XsdError, XsdType};
use rings::store::Perm;

use super::Xenstored;
use super::ops::View;
use super::perms::Perms;
use super::transaction::Transaction;

/// Several operations as domain 0. Paths must be absolute, or are below `/local/domain/0`.
///
/// Errors are Xen's: `EINVAL` not a path, `ENOENT` no such node.
#[derive(Debug)]
pub struct Batch<'a, 'v>(&'a mut View<'v>);

impl Batch<'_, '_> {
    /// The node's value.
    ///
    /// # Errors
    /// `EINVAL`, `ENOENT`.
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>, XsdError> {
        let path = self.0.path(path.as_bytes())?;
        Ok(self.0.read(&path)?.value.clone())
    }

    /// Names of the node's children, sorted.
    ///
    /// # Errors
    /// `EINVAL`, `ENOENT`.
    pub fn list(&mut self, path: &str) -> Result<Vec<String>, XsdError> {
        let path = self.0.path(path.as_bytes())?;
        Ok(self.0.read(&path)?.children.keys().map(|name| name.to_string()).collect())
    }

    /// The node's permissions; the first names the owner.
    ///
    /// # Errors
    /// `EINVAL`, `ENOENT`.
    pub fn get_perms(&mut self, path: &str) -> Result<Vec<Perm>, XsdError> {
        let path = self.0.path(path.as_bytes())?;
        Ok(self.0.read(&path)?.perms.entries().to_vec())
    }

    /// Sets the value; makes the node, and those above it, if missing.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn write(&mut self, path: &str, value: impl AsRef<[u8]>) -> Result<(), XsdError> {
        let path = self.0.path(path.as_bytes())?;
        self.0.write(&path, value.as_ref())
    }

    /// Makes an empty node, and those above it, if missing.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn mkdir(&mut self, path: &str) -> Result<(), XsdError> {
        let path = self.0.path(path.as_bytes())?;
        self.0.mkdir(&path)
    }

    /// Removes the node and all below it. It may be missing, the node above it may not.
    ///
    /// # Errors
    /// `EINVAL` (also for `/`), `ENOENT`.
    pub fn rm(&mut self, path: &str) -> Result<(), XsdError> {
        let path = self.0.path(path.as_bytes())?;
        self.0.rm(&path)
    }

    /// Replaces the node's permissions; the first names the owner.
    ///
    /// # Errors
    /// `EINVAL` (also for no permissions at all), `ENOENT`.
    pub fn set_perms(&mut self, path: &str, perms: &[Perm]) -> Result<(), XsdError> {
        let path = self.0.path(path.as_bytes())?;
        self.0.set_perms(&path, Perms::new(perms.to_vec()).ok_or(XsdError::EINVAL)?)
    }
}

impl Xenstored {
    /// Runs `work` as domain 0: all of it happens at once, or, if it fails, none of it. Nothing
    /// can conflict: nobody else is served meanwhile.
    ///
    /// # Errors
    /// What `work` returned.
    pub fn transaction<R>(
        &mut self,
        work: impl FnOnce(&mut Batch<'_, '_>) -> Result<R, XsdError>,
    ) -> Result<R, XsdError> {
        let mut transaction = Transaction::new(&self.core.tree);
        let run = |view: &mut View<'_>| work(&mut Batch(view));
        let done = self.core.within(DomId::DOM0, &mut transaction, run)?;
        let changes = transaction.commit(DomId::DOM0, &mut self.core)?;
        self.fire(&changes);
        Ok(done)
    }

    /// One operation as domain 0.
    fn direct<R>(&mut self, work: impl FnOnce(&mut Batch<'_, '_>) -> R) -> R {
        let done = self.core.live(DomId::DOM0, |view| work(&mut Batch(view)));
        self.fire_changes();
        done
    }

    /// As [`Batch::read`].
    ///
    /// # Errors
    /// As [`Batch::read`].
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>, XsdError> {
        self.direct(|batch| batch.read(path))
    }

    /// As [`Batch::list`].
    ///
    /// # Errors
    /// As [`Batch::list`].
    pub fn list(&mut self, path: &str) -> Result<Vec<String>, XsdError> {
        self.direct(|batch| batch.list(path))
    }

    /// As [`Batch::get_perms`].
    ///
    /// # Errors
    /// As [`Batch::get_perms`].
    pub fn get_perms(&mut self, path: &str) -> Result<Vec<Perm>, XsdError> {
        self.direct(|batch| batch.get_perms(path))
    }

    /// As [`Batch::write`].
    ///
    /// # Errors
    /// As [`Batch::write`].
    pub fn write(&mut self, path: &str, value: impl AsRef<[u8]>) -> Result<(), XsdError> {
        let value = value.as_ref();
        self.record_own(XsdType::WRITE, &[path, &String::from_utf8_lossy(value)]);
        self.direct(|batch| batch.write(path, value))
    }

    /// As [`Batch::mkdir`].
    ///
    /// # Errors
    /// As [`Batch::mkdir`].
    pub fn mkdir(&mut self, path: &str) -> Result<(), XsdError> {
        self.record_own(XsdType::MKDIR, &[path]);
        self.direct(|batch| batch.mkdir(path))
    }

    /// As [`Batch::rm`].
    ///
    /// # Errors
    /// As [`Batch::rm`].
    pub fn rm(&mut self, path: &str) -> Result<(), XsdError> {
        self.record_own(XsdType::RM, &[path]);
        self.direct(|batch| batch.rm(path))
    }

    /// As [`Batch::set_perms`].
    ///
    /// # Errors
    /// As [`Batch::set_perms`].
    pub fn set_perms(&mut self, path: &str, perms: &[Perm]) -> Result<(), XsdError> {
        let texts: Vec<String> = perms.iter().map(ToString::to_string).collect();
        self.record_own(XsdType::SET_PERMS, &[path, &texts.join(" ")]);
        self.direct(|batch| batch.set_perms(path, perms))
    }
}
