//! The name of a connection: of its entry in the table, and of what the poller tells of it.

/// An entry's number and the generation of its connection: an event for one that is long gone finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Token {
    pub fn to_usize(self) -> usize {
        (self.generation as usize) << 32 | self.index as usize
    }

    pub fn from_usize(number: usize) -> Token {
        Token { index: number as u32, generation: (number >> 32) as u32 }
    }
}
