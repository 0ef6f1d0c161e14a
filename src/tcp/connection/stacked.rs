//! A codec above another. Created by `carrier` when a connection that has a codec gets one more.

use super::super::input::Input;
use super::super::output::Output;
use super::super::protocol::{Action, Codec, ContainedCodec, RECORD, Turn};

/// A codec above another, for an upgrade to TLS inside TLS, or compression inside TLS.
pub struct Stacked {
    lower: ContainedCodec,
    upper: ContainedCodec,
    between: Input,
    sealed: Vec<u8>, // sealed by the upper codec
}

impl Stacked {
    /// Puts one codec above another. `between`: bytes that the lower codec has opened and the upper codec has not.
    pub fn new(lower: ContainedCodec, upper: ContainedCodec, between: Input) -> Stacked {
        Stacked { lower, upper, between, sealed: Vec::new() }
    }

    /// Seals the output of the upper codec with the lower one.
    fn pass_down(&mut self, sealed: &mut Vec<u8>) {
        self.sealed.chunks(RECORD).for_each(|record| self.lower.seal(record, sealed));
        self.sealed.clear();
    }
}

impl Codec for Stacked {
    fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Action> {
        if !self.between.ended() {
            self.lower.open(turn, &mut self.between)?;
            if turn.input.ended() && !self.between.ended() {
                self.between.cut();
            }
        }
        let mut said = Output::new();
        let result = self.upper.open(&mut turn.within(&mut self.between, &mut said), plain);
        said.append_to(&mut self.sealed);
        self.pass_down(turn.output.bytes());
        if self.between.ended() && !plain.ended() {
            plain.cut();
        }
        if self.between.is_full() { result.and(Err(Action::Abort)) } else { result }
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        self.upper.seal(plain, &mut self.sealed);
        self.pass_down(sealed);
    }

    fn goodbye(&mut self, sealed: &mut Vec<u8>) {
        self.upper.goodbye(&mut self.sealed);
        self.pass_down(sealed);
        self.lower.goodbye(sealed);
    }
}
