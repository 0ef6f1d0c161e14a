//! Stages. A conversation names the stage for which it waits in its `Action`, and `pace` measures the time of each
//! stage.

/// Identifies what a conversation waits for, by a number that the conversation chooses.
///
/// The clock of a stage starts when the stage is first named, and further bytes do not restart it. If it is named again
/// after [`Handle`](crate::raw::Action::Handle) or [`Again`](crate::raw::Action::Again), it is still the same stage.
/// Only [`Idle`](crate::raw::Action::Idle), another stage, or its own [`Late`](crate::raw::Event::Late) ends it. So
/// give each message that has a time limit a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stage(pub u32);
