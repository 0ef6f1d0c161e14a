//! The program from outside, as its users run it, and documents against what it does.

#[path = "../../../tests/built/mod.rs"]
mod built; // a program that was started, and is spoken to

mod command; // options, and what they do
mod encrypted; // TLS
mod figures; // metrics
mod guard; // users and rights
mod handed; // sockets from a parent process
mod memory; // what idle clients cost
mod proxied; // requests for another server
mod python; // what is the same as in Python, beside it
mod readme; // documents against code
