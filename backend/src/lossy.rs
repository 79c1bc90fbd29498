//! Frames lost on purpose: a chance and a seed, the same frames every time. Who asks for it, and what
//! it does to a protocol, is for others to say.

use rings::Domain;

use crate::queue::Queue;

impl<D: Domain> Queue<D> {
    /// Loses frames of the guest from now on: with this chance, the same ones for the same seed.
    pub fn lose_frames(&mut self, chance: f64, seed: u64) {
        self.tx.lossy = Lossy::new(chance, seed);
    }
}

/// Decides which frames are lost.
#[derive(Debug)]
pub(crate) struct Lossy {
    /// A random word below this loses the frame.
    below: u64,
    state: u64,
}

impl Lossy {
    /// Loses a frame with this chance; `None` if it loses none.
    pub(crate) fn new(chance: f64, seed: u64) -> Option<Self> {
        /// 2^53, up to which a float holds every whole number.
        const WHOLE: f64 = 9_007_199_254_740_992.0;
        let chance = chance.clamp(0.0, 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^53")]
        let below = (chance * WHOLE) as u64;
        (below > 0).then_some(Self { below, state: seed })
    }

    /// Whether the next frame is lost.
    pub(crate) fn loses(&mut self) -> bool {
        // splitmix64: every seed is a good one.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) >> 11 < self.below
    }
}

#[cfg(test)]
mod tests {
    use super::Lossy;

    #[test]
    fn about_as_many_as_asked_for_and_the_same_ones_again() {
        let lost = |chance, seed| {
            let mut lossy = Lossy::new(chance, seed).expect("a chance");
            (0..10_000).filter(|_| lossy.loses()).collect::<Vec<u32>>()
        };
        assert!((2_300..2_700).contains(&lost(0.25, 1).len()));
        assert_eq!(lost(0.25, 1), lost(0.25, 1));
        assert_ne!(lost(0.25, 1), lost(0.25, 2));
        assert!(Lossy::new(0.0, 1).is_none());
    }
}
