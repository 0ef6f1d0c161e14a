//! The key of a connection, for its entry in the table and its events from the poller.

/// An entry's number and the generation of its connection. Because of the generation, an event for an earlier
/// connection has no effect.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_number() {
        for (index, generation, number) in
            [(0, 0, 0), (7, 0, 7), (0, 9, 9 << 32), (7, 9, 9 << 32 | 7), (u32::MAX, u32::MAX, usize::MAX)]
        {
            let token = Token { index, generation };
            assert_eq!((token.to_usize(), Token::from_usize(number)), (number, token));
        }
    }
}
