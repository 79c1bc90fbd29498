//! Requests: their payloads taken apart, the work handed to the right place, the reply put
//! together.
//!
//! Which requests exist and what their payloads are: docs/misc/xenstore.txt. Requests by which a
//! toolstack manages domains (INTRODUCE, RELEASE, RESUME, SET_TARGET) and CONTROL get `ENOSYS`:
//! here the toolstack is the process this runs in. Anybody else gets `EACCES` for them, as in Xen.

use rings::DomId;
use rings::io::xs_wire::{XBT_NULL, XENSTORE_PAYLOAD_MAX, XsdError, XsdSockmsg, XsdType};
use rings::store::Perm;
use tracer::traced;

use super::ops::View;
use super::path::home;
use super::perms::{Perms, is_privileged};
use super::tree::Node;
use super::watch::Watch;
use super::{ConnId, Xenstored};

type Reply = Result<Vec<u8>, XsdError>;

/// What a request that only succeeds is answered.
const OK: &[u8] = b"OK\0";

impl Xenstored {
    /// Serves one request: the reply, then the events it causes.
    #[traced(bytes = payload.len())]
    pub(super) fn serve(&mut self, id: ConnId, header: XsdSockmsg, payload: &[u8]) {
        let request = XsdType::try_from(header.r#type);
        let reply = request.map_err(|_| XsdError::ENOSYS);
        let reply = reply.and_then(|request| self.dispatch(id, request, header.tx_id, payload));
        if let (Ok(request), Ok(_)) = (request, &reply) {
            self.record(id, request, header.tx_id, payload);
        }
        let told = self.reply(id, header, reply);
        if told && request == Ok(XsdType::WATCH) {
            self.fire_first(id);
        }
        self.fire_changes();
    }

    /// Queues the reply; whether it is one of success.
    fn reply(&mut self, id: ConnId, header: XsdSockmsg, reply: Reply) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        let fits = reply.and_then(|payload| match payload.len() <= XENSTORE_PAYLOAD_MAX {
            true => Ok(payload),
            false => Err(XsdError::E2BIG),
        });
        match fits {
            Ok(payload) => conn.outbox.reply(header, &payload),
            Err(error) => {
                let header = XsdSockmsg { r#type: XsdType::ERROR.number(), ..header };
                conn.outbox.reply(header, format!("{error}\0").as_bytes());
                false
            }
        }
    }

    fn dispatch(&mut self, id: ConnId, request: XsdType, tx_id: u32, payload: &[u8]) -> Reply {
        let conn = self.conns.get(&id).ok_or(XsdError::EINVAL)?;
        let domid = conn.domid;
        let ignores_tx = matches!(request, XsdType::WATCH | XsdType::UNWATCH);
        if !ignores_tx && tx_id != XBT_NULL && !conn.transactions.contains_key(&tx_id) {
            return Err(XsdError::ENOENT);
        }
        match request {
            XsdType::DIRECTORY
            | XsdType::DIRECTORY_PART
            | XsdType::READ
            | XsdType::WRITE
            | XsdType::MKDIR
            | XsdType::RM
            | XsdType::GET_PERMS
            | XsdType::SET_PERMS => self.on_node(id, request, tx_id, payload),
            XsdType::WATCH => self.watch(id, payload),
            XsdType::UNWATCH => self.unwatch(id, payload),
            XsdType::RESET_WATCHES => self.reset_watches(id, tx_id),
            XsdType::TRANSACTION_START => self.transaction_start(id, tx_id),
            XsdType::TRANSACTION_END => self.transaction_end(id, tx_id, payload),
            XsdType::GET_DOMAIN_PATH => Ok((home(domid_arg(payload)?) + "\0").into_bytes()),
            XsdType::IS_DOMAIN_INTRODUCED => {
                let asked = domid_arg(payload)?;
                let known = asked == domid || is_privileged(asked) || self.knows(asked);
                Ok(if known { b"T\0" } else { b"F\0" }.to_vec())
            }
            XsdType::CONTROL
            | XsdType::INTRODUCE
            | XsdType::RELEASE
            | XsdType::RESUME
            | XsdType::SET_TARGET
                if !is_privileged(domid) =>
            {
                Err(XsdError::EACCES)
            }
            _ => Err(XsdError::ENOSYS),
        }
    }

    fn on_node(&mut self, id: ConnId, request: XsdType, tx_id: u32, payload: &[u8]) -> Reply {
        let conn = self.conns.get_mut(&id).ok_or(XsdError::EINVAL)?;
        if matches!(request, XsdType::GET_PERMS | XsdType::SET_PERMS) && payload.starts_with(b"@") {
            return special_perms(&mut self.specials, conn.domid, request, payload);
        }
        let work = |view: &mut View<'_>| on_view(view, request, payload);
        let domid = conn.domid;
        if let Some(transaction) = conn.transactions.get_mut(&tx_id) {
            return self.core.within(domid, transaction, work);
        }
        let reply = self.core.live(domid, work)?;
        if changes_nodes(request) {
            self.charge(domid);
        }
        Ok(reply)
    }

    fn watch(&mut self, id: ConnId, payload: &[u8]) -> Reply {
        let [path, token] = two_args(payload)?;
        let conn = self.conns.get_mut(&id).ok_or(XsdError::EINVAL)?;
        let ledger = &mut self.core.ledger;
        let watch = Watch::parse(path, token, conn.domid, ledger.quota.path)?;
        if conn.watches.iter().any(|other| other.is_same(&watch)) {
            return Err(XsdError::EEXIST);
        }
        ledger.take_watch(conn.domid, watch.bytes())?;
        conn.watches.push(watch);
        Ok(OK.to_vec())
    }

    fn unwatch(&mut self, id: ConnId, payload: &[u8]) -> Reply {
        let [path, token] = two_args(payload)?;
        let conn = self.conns.get_mut(&id).ok_or(XsdError::EINVAL)?;
        let ledger = &mut self.core.ledger;
        let watch = Watch::parse(path, token, conn.domid, ledger.quota.path)?;
        let at = conn.watches.iter().position(|other| other.is_same(&watch));
        let watch = conn.watches.remove(at.ok_or(XsdError::ENOENT)?);
        ledger.give_watch(conn.domid, watch.bytes());
        Ok(OK.to_vec())
    }

    /// Inside a transaction it would pull that away from under its own feet (XSA-484).
    fn reset_watches(&mut self, id: ConnId, tx_id: u32) -> Reply {
        if tx_id != XBT_NULL {
            return Err(XsdError::EBUSY);
        }
        self.forget_all_of(id);
        Ok(OK.to_vec())
    }
}

pub(super) fn changes_nodes(request: XsdType) -> bool {
    use XsdType::{MKDIR, RM, SET_PERMS, WRITE};
    matches!(request, WRITE | MKDIR | RM | SET_PERMS)
}

fn on_view(view: &mut View<'_>, request: XsdType, payload: &[u8]) -> Reply {
    match request {
        XsdType::READ => {
            let path = view.path(one_arg(payload)?)?;
            Ok(view.read(&path)?.value.clone())
        }
        XsdType::DIRECTORY => {
            let path = view.path(one_arg(payload)?)?;
            Ok(list(view.read(&path)?))
        }
        XsdType::DIRECTORY_PART => {
            let [raw, offset] = two_args(payload)?;
            let path = view.path(raw)?;
            list_part(view.read(&path)?, decimal(offset)?)
        }
        XsdType::GET_PERMS => {
            let path = view.path(one_arg(payload)?)?;
            Ok(perms_reply(&view.read(&path)?.perms))
        }
        XsdType::WRITE => {
            let (raw, value) = split_nul(payload)?;
            let path = view.path(raw)?;
            view.write(&path, value).map(|()| OK.to_vec())
        }
        XsdType::MKDIR => {
            let path = view.path(one_arg(payload)?)?;
            view.mkdir(&path).map(|()| OK.to_vec())
        }
        XsdType::RM => {
            let path = view.path(one_arg(payload)?)?;
            view.rm(&path).map(|()| OK.to_vec())
        }
        XsdType::SET_PERMS => {
            let (raw, perms) = split_nul(payload)?;
            let path = view.path(raw)?;
            view.set_perms(&path, perms_args(perms)?).map(|()| OK.to_vec())
        }
        _ => Err(XsdError::ENOSYS),
    }
}

/// GET_PERMS and SET_PERMS of `@introduceDomain` and `@releaseDomain`: domain 0 alone.
fn special_perms(
    specials: &mut super::watch::Specials,
    caller: DomId,
    request: XsdType,
    payload: &[u8],
) -> Reply {
    let (raw, rest) = split_nul(payload)?;
    let name = str::from_utf8(raw).map_err(|_| XsdError::EINVAL)?;
    let perms = specials.get_mut(name).ok_or(XsdError::ENOENT)?;
    if !is_privileged(caller) {
        return Err(XsdError::EACCES);
    }
    if request == XsdType::GET_PERMS {
        return Ok(perms_reply(perms));
    }
    *perms = perms_args(rest)?;
    Ok(OK.to_vec())
}

/// Names of a node's children, a NUL behind each.
fn list(node: &Node) -> Vec<u8> {
    let mut names = Vec::new();
    for name in node.children.keys() {
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    names
}

/// The node's generation, then as many of those names from byte `offset` on as fit; at the end of
/// the list an empty one.
fn list_part(node: &Node, offset: usize) -> Reply {
    let mut reply = format!("{}\0", node.changed.generation).into_bytes();
    let names = list(node);
    let mut rest = names.get(offset..).unwrap_or_default();
    while let Some(end) = rest.iter().position(|&byte| byte == 0) {
        let (name, more) = rest.split_at(end + 1);
        // One byte must remain for the mark of the end.
        if reply.len() + name.len() >= XENSTORE_PAYLOAD_MAX {
            return Ok(reply);
        }
        reply.extend_from_slice(name);
        rest = more;
    }
    reply.push(0);
    Ok(reply)
}

fn perms_reply(perms: &Perms) -> Vec<u8> {
    perms.entries().iter().map(|perm| format!("{perm}\0")).collect::<String>().into_bytes()
}

fn perms_args(payload: &[u8]) -> Result<Perms, XsdError> {
    let texts = args(payload)?;
    let parse = |text: &[u8]| str::from_utf8(text).ok()?.parse::<Perm>().ok();
    let perms: Option<Vec<_>> = texts.into_iter().map(parse).collect();
    perms.and_then(Perms::new).ok_or(XsdError::EINVAL)
}

/// What stands before the first NUL and what behind it.
fn split_nul(payload: &[u8]) -> Result<(&[u8], &[u8]), XsdError> {
    let end = payload.iter().position(|&byte| byte == 0).ok_or(XsdError::EINVAL)?;
    Ok((&payload[..end], &payload[end + 1..]))
}

/// Strings with a NUL behind each.
fn args(payload: &[u8]) -> Result<Vec<&[u8]>, XsdError> {
    match payload.split_last() {
        Some((0, texts)) => Ok(texts.split(|&byte| byte == 0).collect()),
        _ => Err(XsdError::EINVAL),
    }
}

fn one_arg(payload: &[u8]) -> Result<&[u8], XsdError> {
    <[_; 1]>::try_from(args(payload)?).map(|[arg]| arg).map_err(|_| XsdError::EINVAL)
}

fn two_args(payload: &[u8]) -> Result<[&[u8]; 2], XsdError> {
    args(payload)?.try_into().map_err(|_| XsdError::EINVAL)
}

fn domid_arg(payload: &[u8]) -> Result<DomId, XsdError> {
    decimal(one_arg(payload)?).map(DomId)
}

/// Strict: digits and nothing else.
fn decimal<N: std::str::FromStr>(text: &[u8]) -> Result<N, XsdError> {
    let digits = text.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    number.ok_or(XsdError::EINVAL)
}
