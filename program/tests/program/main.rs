//! The program as its users run it, and checks of documents against the code.

#[path = "../../../tests/built/mod.rs"]
mod built; // a program that a test starts and uses

mod command; // options and their effects
mod encrypted; // TLS
mod figures; // metrics
mod guard; // users and rights
mod handed; // sockets from a parent process
mod memory; // the memory of idle clients
mod proxied; // requests for another server
mod python; // behaviour that equals Python's, checked beside it
mod readme; // documents against code
