//! The handshake: what a client may ask before it is let in. There is one export, whatever it is called.

use std::io::{self, Read, Write};

use super::export::Export;
use super::wire::{
    CLIENT_NO_ZEROES, HANDSHAKE_FLAGS, INFO_BLOCK_SIZE, INFO_EXPORT, MAGIC, OPTION_MAGIC,
    OPTION_REPLY_MAGIC, flags, option, reply, u32_at, u64_at,
};

/// Bytes of an option that anybody has a reason to send.
const LONGEST: u32 = 8192;

/// Greets a client. `false` if it does not want to come in.
pub(super) fn greet(socket: &mut (impl Read + Write), export: &Export) -> io::Result<bool> {
    let mut hello = Vec::from(MAGIC.to_be_bytes());
    hello.extend(OPTION_MAGIC.to_be_bytes());
    hello.extend(HANDSHAKE_FLAGS.to_be_bytes());
    socket.write_all(&hello)?;
    let mut client = [0; 4];
    socket.read_exact(&mut client)?;
    let zeroes = u32::from_be_bytes(client) & CLIENT_NO_ZEROES == 0;
    loop {
        let mut head = [0; 16];
        socket.read_exact(&mut head)?;
        let (kind, length) = (u32_at(&head, 8), u32_at(&head, 12));
        if u64_at(&head, 0) != OPTION_MAGIC || length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no option"));
        }
        let mut data = vec![0; length as usize];
        socket.read_exact(&mut data)?;
        match kind {
            option::EXPORT_NAME => {
                let mut answer = Vec::from(export.bytes().to_be_bytes());
                answer.extend(transmission_flags(export).to_be_bytes());
                answer.extend(if zeroes { &[0; 124][..] } else { &[] });
                socket.write_all(&answer)?;
                return Ok(true);
            }
            option::ABORT => {
                answer(socket, kind, reply::ACK, &[])?;
                return Ok(false);
            }
            option::LIST if data.is_empty() => {
                let mut name = Vec::from(4_u32.to_be_bytes());
                name.extend(b"xvda");
                answer(socket, kind, reply::SERVER, &name)?;
                answer(socket, kind, reply::ACK, &[])?;
            }
            option::LIST => answer(socket, kind, reply::ERR_INVALID, &[])?,
            option::INFO | option::GO => {
                describe(socket, kind, export)?;
                answer(socket, kind, reply::ACK, &[])?;
                if kind == option::GO {
                    return Ok(true);
                }
            }
            _ => answer(socket, kind, reply::ERR_UNSUP, &[])?,
        }
    }
}

fn describe(socket: &mut impl Write, kind: u32, export: &Export) -> io::Result<()> {
    let mut shape = Vec::from(INFO_EXPORT.to_be_bytes());
    shape.extend(export.bytes().to_be_bytes());
    shape.extend(transmission_flags(export).to_be_bytes());
    answer(socket, kind, reply::INFO, &shape)?;
    let mut sizes = Vec::from(INFO_BLOCK_SIZE.to_be_bytes());
    for size in [export.sector_size, 4096, 32 << 20] {
        sizes.extend(size.to_be_bytes());
    }
    answer(socket, kind, reply::INFO, &sizes)
}

fn transmission_flags(export: &Export) -> u16 {
    let mut all = flags::HAS_FLAGS | flags::CAN_MULTI_CONN;
    for (on, flag) in [
        (export.read_only, flags::READ_ONLY),
        (export.flush, flags::SEND_FLUSH | flags::SEND_FUA),
        (export.trim.is_some(), flags::SEND_TRIM),
    ] {
        all |= if on { flag } else { 0 };
    }
    all
}

fn answer(socket: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut all = Vec::from(OPTION_REPLY_MAGIC.to_be_bytes());
    let length = u32::try_from(data.len()).unwrap_or(0);
    for number in [option, kind, length] {
        all.extend(number.to_be_bytes());
    }
    all.extend(data);
    socket.write_all(&all)
}
