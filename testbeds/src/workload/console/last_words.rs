//! A guest's last words: a panic told on its console, whatever was going on there.

use std::fmt::Write as _;
use std::sync::Mutex;

use console::front::Emergency;
use rings_host::HostDomain;

/// A panic of this process is told on its console from now on. On stderr too, unless that is the
/// terminal on which the console is shown.
pub fn say_last_words(emergency: Emergency<HostDomain>) {
    let emergency = Mutex::new(emergency);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let mut words = Words { bytes: [0; 512], len: 0 };
        // What has no room is not said.
        let _ = write!(words, "\r\n*** {info}\r\n");
        // Two threads that panic at a time: one of them says it.
        let said = emergency.try_lock().map_or(0, |mut e| e.write(&words.bytes[..words.len]));
        if said < words.len || !crate::lab::is_child() {
            before(info);
        }
    }));
}

/// Text without a heap.
struct Words {
    bytes: [u8; 512],
    len: usize,
}

impl std::fmt::Write for Words {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for &byte in text.as_bytes() {
            let place = self.bytes.get_mut(self.len).ok_or(std::fmt::Error)?;
            *place = byte;
            self.len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_beyond_the_room_are_not_said() {
        let mut words = Words { bytes: [0; 512], len: 0 };
        assert!(write!(words, "{}", "x".repeat(600)).is_err());
        assert_eq!(words.len, 512);
    }
}
