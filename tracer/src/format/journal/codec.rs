//! Entries of a journal to octets and back; the table is in `journal.rs`.

use super::super::bytes::{Reader, Writer};
use super::super::clock::Anchor;
use super::{Entry, Function, Half, Level, Module, Note, NoteKind, Port, Process, Ring, Site};

impl Entry {
    /// The octets of this entry, header and padding included.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Writer::default();
        let number = self.write(&mut body);
        let mut whole = Writer::default();
        whole.u16(number).u16(0).u32(u32::try_from(body.0.len()).unwrap_or(0));
        whole.bytes(&body.0).pad();
        whole.0
    }

    fn write(&self, to: &mut Writer) -> u16 {
        match self {
            Self::Process(p) => {
                to.u32(p.domid).u32(p.pid).i64(p.clock_offset).u64(p.started);
                to.text(&p.name).text(&p.program);
                1
            }
            Self::Site(s) => {
                to.u32(s.id).u32(s.line).text(&s.name).text(&s.category);
                to.text(&s.module).text(&s.file).text(&s.arg).text(&s.result);
                2
            }
            Self::Ring(r) => {
                to.u32(r.id).u8(u8::from(r.half == Half::Back)).u8(r.in_order.into()).u16(0);
                to.u32(r.size).u32(r.base).u64(r.ticks).text(&r.name);
                3
            }
            Self::Port(p) => {
                to.u32(p.id).u32(p.port).u32(p.remote).u32(p.allocator).u32(p.allocator_port);
                to.u64(p.ticks).text(&p.name);
                4
            }
            Self::Note(n) => {
                let fields = &n.fields[..n.fields.len().min(u16::MAX.into())];
                to.u64(n.ticks).u32(n.tid).u8(n.level as u8).u8(n.kind as u8);
                to.u16(u16::try_from(fields.len()).unwrap_or(0)).text(&n.target).text(&n.words);
                for (name, value) in fields {
                    to.text(name).text(value);
                }
                5
            }
            Self::Anchor(a) => {
                a.write(to);
                6
            }
            Self::Module(m) => {
                to.u64(m.base).text(&m.path).text(&m.build_id);
                7
            }
            Self::Function(f) => {
                to.u32(f.id).u32(0).u64(f.address).text(&f.name);
                8
            }
        }
    }

    /// `None` for a type that this version does not know, and for one that is cut off.
    pub(super) fn read(number: u16, from: &mut Reader<'_>) -> Option<Self> {
        Some(match number {
            1 => Self::Process(Process {
                domid: from.u32()?,
                pid: from.u32()?,
                clock_offset: from.i64()?,
                started: from.u64()?,
                name: from.text()?,
                program: from.text()?,
            }),
            2 => Self::Site(Site {
                id: from.u32()?,
                line: from.u32()?,
                name: from.text()?,
                category: from.text()?,
                module: from.text()?,
                file: from.text()?,
                arg: from.text()?,
                result: from.text()?,
            }),
            3 => Self::Ring(read_ring(from)?),
            4 => Self::Port(Port {
                id: from.u32()?,
                port: from.u32()?,
                remote: from.u32()?,
                allocator: from.u32()?,
                allocator_port: from.u32()?,
                ticks: from.u64()?,
                name: from.text()?,
            }),
            5 => Self::Note(read_note(from)?),
            6 => Self::Anchor(Anchor::read(from)?),
            7 => Self::Module(Module {
                base: from.u64()?,
                path: from.text()?,
                build_id: from.text()?,
            }),
            8 => {
                let (id, _) = (from.u32()?, from.u32()?);
                Self::Function(Function { id, address: from.u64()?, name: from.text()? })
            }
            _ => return None,
        })
    }
}

fn read_ring(from: &mut Reader<'_>) -> Option<Ring> {
    let id = from.u32()?;
    let half = if from.u8()? == 0 { Half::Front } else { Half::Back };
    let (in_order, _) = (from.u8()? != 0, from.u16()?);
    let (size, base, ticks) = (from.u32()?, from.u32()?, from.u64()?);
    Some(Ring { id, half, in_order, size, base, ticks, name: from.text()? })
}

fn read_note(from: &mut Reader<'_>) -> Option<Note> {
    let (ticks, tid) = (from.u64()?, from.u32()?);
    let level = match from.u8()? {
        1 => Level::Error,
        2 => Level::Warn,
        4 => Level::Debug,
        5 => Level::Trace,
        _ => Level::Info,
    };
    let kind = match from.u8()? {
        1 => NoteKind::Begin,
        2 => NoteKind::End,
        _ => NoteKind::Event,
    };
    let count = from.u16()?;
    let (target, words) = (from.text()?, from.text()?);
    let fields = (0..count).map(|_| Some((from.text()?, from.text()?))).collect::<Option<_>>()?;
    Some(Note { ticks, tid, level, kind, target, words, fields })
}
