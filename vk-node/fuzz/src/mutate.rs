//! Mutations of what makes sense: most garbage is nearly right.

/// A source of numbers that is the same each time (splitmix64).
#[derive(Debug)]
pub struct Dice(u64);

/// What parsers stumble over.
const WORDS: [&[u8]; 20] = [
    b"\n",
    b"\0",
    b"\xff",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"null",
    b"{}",
    b"[[[[[[[[",
    b"}",
    b",",
    b": ",
    b"..",
    b"/",
    b"=",
    b"VK_CMD_TASK=",
    b"\xe2\x80\xae",
];

impl Dice {
    /// With a beginning.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) >> 1).unwrap_or_default() % bound.max(1)
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}

/// One of `seeds`, changed here and there.
#[must_use]
pub fn mutate(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.one_of(seeds).cloned().unwrap_or_default();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        let end = at + dice.below((bytes.len() - at).min(40) + 1);
        match dice.below(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes.get(at..end).unwrap_or_default().to_vec();
                drop(bytes.splice(at..at, copy));
            }
            3 => {
                let other = dice.one_of(seeds).cloned().unwrap_or_default();
                let from = dice.below(other.len() + 1);
                drop(bytes.splice(at..end, other.into_iter().skip(from).take(60)));
            }
            4 => {
                let word = dice.one_of(&WORDS).copied().unwrap_or_default();
                drop(bytes.splice(at..end, word.iter().copied()));
            }
            5 => {
                let deep = dice.below(2000);
                drop(bytes.splice(at..at, std::iter::repeat_n(b'[', deep)));
            }
            _ => {
                let byte = u8::try_from(dice.below(256)).unwrap_or_default();
                if let Some(old) = bytes.get_mut(at) {
                    *old = byte;
                }
            }
        }
    }
    bytes
}
