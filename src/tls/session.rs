//! A rustls connection. It gets records one at a time. After the handshake it is the `Codec` below the inner protocol.
//! Used by `conversation`; it never waits.

use std::io::{BufRead, Write};

use log::debug;
use rustls::{Error, ServerConnection};

use super::record;
use crate::tcp::{Action, Codec, Input, TlsInfo, Turn};

/// The server's side of TLS with one client.
pub struct Session {
    connection: Box<ServerConnection>,
    is_over: bool, // the client has sent its goodbye
}

impl Session {
    pub fn new(mut connection: ServerConnection) -> Session {
        connection.set_buffer_limit(None); // each record is taken as soon as it is sealed
        Session { connection: Box::new(connection), is_over: false }
    }

    /// Passes the first record of the input to rustls, whose response is appended to the output.
    ///
    /// # Errors
    /// If the client violates the protocol. An alert is then appended to the output.
    pub fn feed(&mut self, length: usize, turn: &mut Turn<'_>) -> Result<(), Error> {
        let mut record = &turn.input.bytes()[..length];
        while !record.is_empty() {
            match self.connection.read_tls(&mut record) {
                Ok(1..) => {}
                Ok(0) => return Err(Error::General("a record is too long".into())),
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

    /// Returns whether the handshake is in progress.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Returns whether the keys of TLS 1.3 exist. If the client has no certificate, only a hash is then left to check,
    /// which is not expensive.
    pub fn has_agreed(&self) -> bool {
        self.connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3)
            && self.connection.negotiated_key_exchange_group().is_some()
    }

    /// Returns the results of the handshake.
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
            info = info.with_cipher(registered_name(cipher));
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
        // Writes to memory, which cannot fail.
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

impl Codec for Session {
    fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Action> {
        while let Some(length) = record::whole(turn.input.bytes()).filter(|_| !self.is_over) {
            if let Err(err) = self.feed(length, turn) {
                debug!("{}: TLS was cut off: {err}", turn.client);
                return Err(Action::Linger);
            }
            self.take_plain(plain);
        }
        if self.is_over {
            plain.end();
            turn.input.consume(turn.input.bytes().len()); // bytes after the goodbye are ignored
        }
        Ok(())
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        let _ = self.connection.writer().write_all(plain); // to memory, without a limit
        self.flush(sealed);
    }

    fn goodbye(&mut self, sealed: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.flush(sealed);
    }
}

/// Converts a name of rustls: its names are those of IANA's registry, except that suites of TLS 1.3 begin with `TLS13_`
/// (RFC 8446, section B.4).
fn registered_name(cipher: &'static str) -> &'static str {
    match cipher {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        other => other,
    }
}
