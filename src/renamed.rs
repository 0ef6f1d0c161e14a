//! Public names from before the first release, hidden: programs that use them still compile, with a warning. Version
//! 0.2 removes them.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Http, Request, RequestHandler};

impl Request {
    #[doc(hidden)]
    #[deprecated(note = "renamed to `parse_param`")]
    pub fn parse<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<T, Error> {
        self.parse_param(name)
    }

    #[doc(hidden)]
    #[deprecated(note = "renamed to `parse_optional_param`")]
    pub fn parse_optional<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<Option<T>, Error> {
        self.parse_optional_param(name)
    }
}

impl<H: RequestHandler> Http<H> {
    #[doc(hidden)]
    #[deprecated(note = "renamed to `server_header`")]
    pub fn server<'a>(self, name: impl Into<Option<&'a str>>) -> Http<H> {
        self.server_header(name)
    }

    #[doc(hidden)]
    #[deprecated(note = "renamed to `max_fields`")]
    pub fn field_limit(self, number: usize) -> Http<H> {
        self.max_fields(number)
    }
}

#[doc(hidden)]
#[deprecated(note = "renamed to `Action`")]
pub type Next = crate::raw::Action;

#[doc(hidden)]
#[deprecated(note = "renamed to `ChannelOptions`")]
pub type Channel = crate::live::ChannelOptions;
