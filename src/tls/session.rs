//! A rustls connection without buffers of its own, so an idle one needs little memory. It gets records one at a time.
//! After the handshake it is the `Codec` below the inner protocol. Used by `conversation`; it never waits.

use std::mem;

use log::debug;
use rustls::Error;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};

use super::{names, record};
use crate::tcp::{Action, Codec, Input, TlsInfo, Turn};

/// The server's side of TLS with one client.
pub struct Session {
    connection: Box<UnbufferedServerConnection>,
    /// The beginning of a handshake message whose rest is in later records.
    unfinished: Vec<u8>,
    server_name: Option<Box<str>>, // until `info`
    is_over: bool,                 // the client has sent its goodbye
}

/// The maximum length of an unfinished handshake message, as in rustls.
const LONGEST_MESSAGE: usize = 64 * 1024;
/// A fatal alert, `decode_error` (RFC 8446, section 6.2).
const DECODE_ERROR: &[u8] = &[21, 3, 3, 0, 2, 2, 50];
/// More than a record, a key update and a goodbye add to their content.
const OVERHEAD: usize = 256;

impl Session {
    pub fn new(connection: UnbufferedServerConnection) -> Session {
        Session { connection: Box::new(connection), unfinished: Vec::new(), server_name: None, is_over: false }
    }

    /// Passes the first record of the input to rustls. Its content is appended to `plain`, and the response of rustls
    /// to the output.
    ///
    /// # Errors
    /// If the client violates the protocol, an alert is appended to the output. If it has sent an alert, none is.
    pub fn feed(&mut self, length: usize, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Error> {
        self.pass(length, turn, plain).inspect_err(|err| self.append_alert(err, turn.output.bytes()))
    }

    fn pass(&mut self, length: usize, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Error> {
        let mut bytes = mem::take(&mut self.unfinished);
        bytes.extend_from_slice(&turn.input.bytes()[..length]);
        turn.input.consume(length);
        let mut start = 0;
        loop {
            let UnbufferedStatus { discard, state, .. } = self.connection.process_tls_records(&mut bytes[start..]);
            start += discard;
            self.server_name = names::take_requested().or_else(|| self.server_name.take());
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        start += record.discard;
                        plain.extend(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, turn.output.bytes()),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_over = true,
                Ok(_) => break, // the next record is needed
                Err(err) => return Err(err),
            }
        }
        bytes.drain(..start);
        if bytes.len() > LONGEST_MESSAGE {
            return Err(Error::General("a handshake message is too long".into()));
        }
        if !bytes.is_empty() {
            self.unfinished = bytes;
        }
        Ok(())
    }

    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Returns whether the keys of TLS 1.3 exist. If the client has no certificate, only a hash is then left to check,
    /// which is not expensive.
    pub fn has_agreed(&self) -> bool {
        self.connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3)
            && self.connection.negotiated_key_exchange_group().is_some()
    }

    pub fn info(&mut self) -> TlsInfo {
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
        if let Some(name) = self.server_name.take() {
            info = info.with_server_name(&name);
        }
        if let Some(protocol) = connection.alpn_protocol() {
            info = info.with_application_protocol(protocol);
        }
        info
    }

    /// Appends the alert of rustls. It has none for some errors, such as a message that is too long. Before there are
    /// keys, the client then gets a `decode_error`.
    fn append_alert(&mut self, cause: &Error, sealed: &mut Vec<u8>) {
        let before = sealed.len();
        while self.connection.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(data)) = self.connection.process_tls_records(&mut []).state
        {
            encode(data, sealed);
        }
        let is_needed = sealed.len() == before && !matches!(cause, Error::AlertReceived(_));
        if is_needed && self.connection.protocol_version().is_none() {
            sealed.extend_from_slice(DECODE_ERROR);
        }
    }

    /// Appends records with `length` bytes of content.
    fn write(
        &mut self,
        length: usize,
        sealed: &mut Vec<u8>,
        into: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Result<usize, EncryptError>,
    ) {
        loop {
            let UnbufferedStatus { discard, state, .. } = self.connection.process_tls_records(&mut self.unfinished);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let start = sealed.len();
                    sealed.resize(start + length + OVERHEAD, 0);
                    let count = into(&mut traffic, &mut sealed[start..]).unwrap_or(0); // without keys nothing is sent
                    sealed.truncate(start + count);
                    return;
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, sealed),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_over = true,
                Ok(_) | Err(_) => return,
            }
            self.unfinished.drain(..discard);
        }
    }
}

/// Appends the records that rustls has to send.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, sealed: &mut Vec<u8>) {
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        let start = sealed.len();
        sealed.resize(start + needed.required_size, 0);
        let _ = data.encode(&mut sealed[start..]); // has enough room
    }
}

impl Codec for Session {
    fn open(&mut self, turn: &mut Turn<'_>, plain: &mut Input) -> Result<(), Action> {
        while let Some(length) = record::whole(turn.input.bytes()).filter(|_| !self.is_over) {
            if let Err(err) = self.feed(length, turn, plain) {
                debug!("{}: TLS was cut off: {err}", turn.client);
                return Err(Action::Linger);
            }
        }
        if self.is_over {
            plain.end();
            turn.input.consume(turn.input.bytes().len()); // bytes after the goodbye are ignored
        }
        Ok(())
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        self.write(plain.len(), sealed, |traffic, room| traffic.encrypt(plain, room));
    }

    fn goodbye(&mut self, sealed: &mut Vec<u8>) {
        self.write(0, sealed, |traffic, room| traffic.queue_close_notify(room));
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
