//! A connection of rustls: records fed one by one, and, once its handshake is over, the `Layer` of the protocol inside.
//! Used by `conversation`; it waits for nobody.

use std::io::{BufRead, Write};

use log::debug;
use rustls::{Error, ServerConnection};

use super::record;
use crate::tcp::{Input, Layer, Next, TlsInfo, Turn};

/// One client's side of TLS.
pub struct Session {
    connection: Box<ServerConnection>,
    is_over: bool, // the client has said goodbye
}

impl Session {
    pub fn new(mut connection: ServerConnection) -> Session {
        connection.set_buffer_limit(None); // each record is taken as soon as it is sealed
        Session { connection: Box::new(connection), is_over: false }
    }

    /// Let rustls have the first record of the input. What it says to that is in the output.
    ///
    /// # Errors
    /// If it breaks the protocol: then an alert is in the output.
    pub fn feed(&mut self, length: usize, turn: &mut Turn<'_>) -> Result<(), Error> {
        let mut record = &turn.input.bytes()[..length];
        while !record.is_empty() {
            match self.connection.read_tls(&mut record) {
                Ok(1..) => {}
                Ok(0) => return Err(Error::General("a record is larger than any".into())),
                Err(err) => return Err(Error::General(err.to_string())),
            }
        }
        turn.input.consume(length);
        let processed = self.connection.process_new_packets();
        if self.connection.wants_write() {
            self.flush(turn.output.bytes());
        }
        let state = processed?;
        self.is_over = state.peer_has_closed();
        Ok(())
    }

    /// Whether the handshake is not over.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the keys of TLS 1.3 are there, so that of a client without certificate no more than a hash is checked.
    pub fn has_agreed(&self) -> bool {
        self.connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3)
            && self.connection.negotiated_key_exchange_group().is_some()
    }

    /// What the handshake has settled.
    pub fn info(&self) -> TlsInfo {
        let connection = &*self.connection;
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let mut info = TlsInfo::new(version)
            .with_peer_certificates(connection.peer_certificates().unwrap_or_default().iter().map(AsRef::as_ref))
            .with_resumed(connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed));
        if let Some(cipher) = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()) {
            info = info.with_cipher(cipher);
        }
        if let Some(name) = connection.server_name() {
            info = info.with_server_name(name);
        }
        if let Some(protocol) = connection.alpn_protocol() {
            info = info.with_application_protocol(protocol);
        }
        info
    }

    fn flush(&mut self, sealed: &mut Vec<u8>) {
        // Into memory: it does not fail.
        while self.connection.wants_write() && self.connection.write_tls(sealed).is_ok() {}
    }

    fn take_plain(&mut self, plain: &mut Input) {
        let mut reader = self.connection.reader();
        while let Ok(bytes) = reader.fill_buf() {
            let count = bytes.len();
            if count == 0 {
                return;
            }
            plain.extend(bytes);
            reader.consume(count);
        }
    }
}

impl Layer for Session {
    fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Next> {
        while let Some(length) = record::whole(turn.input.bytes()).filter(|_| !self.is_over) {
            if let Err(err) = self.feed(length, turn) {
                debug!("{}: TLS is broken off: {err}", turn.client);
                return Err(Next::Linger);
            }
            self.take_plain(plain);
        }
        if self.is_over {
            plain.end();
            turn.input.consume(turn.input.bytes().len()); // what comes after a goodbye is nobody's
        }
        Ok(())
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        let _ = self.connection.writer().write_all(plain); // into memory, without a limit
        self.flush(sealed);
    }

    fn goodbye(&mut self, sealed: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.flush(sealed);
    }
}
