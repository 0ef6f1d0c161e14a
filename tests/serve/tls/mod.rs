//! TLS over real sockets: rustls as the client, and raw bytes where rustls would not send them.

mod bytes; // data inside TLS
mod certificates; // names, clients, files and changes
mod ends; // goodbyes, truncation, shutdowns
mod handshakes; // complete, incomplete, slow and malformed ones
mod streams; // connections that leave the engine

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use modest::{IntoProtocol, Tls};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::server::{Client, PATIENCE, Running, serve};
use crate::transport::{Authority, builder, config};

/// A server with TLS, and what its clients need.
pub struct Site {
    pub server: Running,
    pub authority: Authority,
    pub config: Arc<ClientConfig>,
}

impl Site {
    /// A server for `a.example`.
    pub fn new(app: impl IntoProtocol) -> Site {
        Site::with(app, |tls, _| tls)
    }

    pub fn with(app: impl IntoProtocol, settings: impl FnOnce(Tls, &Authority) -> Tls) -> Site {
        let authority = Authority::new();
        let tls = settings(Tls::new(authority.identity(&["a.example"])).unwrap(), &authority);
        let config = Arc::new(config(&authority, &[&rustls::version::TLS13]));
        Site { server: serve(tls.protect(app), |server| server.workers(4)), authority, config }
    }

    pub fn client(&self) -> Inside {
        self.client_with(self.config.clone())
    }

    pub fn client_with(&self, config: Arc<ClientConfig>) -> Inside {
        Inside::new(self.server.address, config, "a.example")
    }
}

/// A client. Its handshake happens with the first bytes.
pub struct Inside(pub StreamOwned<ClientConnection, TcpStream>);

impl Inside {
    pub fn new(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> Inside {
        Inside::over(Client::new(address).stream, config, name)
    }

    pub fn over(stream: TcpStream, config: Arc<ClientConfig>, name: &str) -> Inside {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Inside(StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream))
    }

    /// Completes the handshake.
    pub fn shake_hands(&mut self) -> io::Result<()> {
        while self.0.conn.is_handshaking() {
            self.0.conn.complete_io(&mut self.0.sock)?;
        }
        Ok(())
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Inside {
        self.0.write_all(bytes.as_ref()).expect("bytes sent to the server");
        self.0.flush().expect("bytes sent to the server");
        self
    }

    #[track_caller]
    pub fn expect(&mut self, wanted: impl AsRef<[u8]>) -> &mut Inside {
        let mut came = vec![0; wanted.as_ref().len()];
        self.0.read_exact(&mut came).expect("as many bytes");
        assert_eq!(came.escape_ascii().to_string(), wanted.as_ref().escape_ascii().to_string());
        self
    }

    /// All bytes until the goodbye. An end without one is an error.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.0.read_to_end(&mut all).map(|_| all)
    }

    /// The content of the response to this request, by its length.
    #[track_caller]
    pub fn fetch(&mut self, request: impl AsRef<[u8]>) -> Vec<u8> {
        self.try_fetch(request).expect("a response")
    }

    pub fn try_fetch(&mut self, request: impl AsRef<[u8]>) -> io::Result<Vec<u8>> {
        self.0.write_all(request.as_ref())?;
        self.0.flush()?;
        self.answer()
    }

    pub fn answer(&mut self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let head = String::from_utf8(head).expect("text").to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        self.0.read_exact(&mut body)?;
        Ok(body)
    }

    #[track_caller]
    pub fn text(&mut self, target: &str) -> String {
        String::from_utf8(self.fetch(crate::server::get(target))).expect("text")
    }

    /// The certificate of the server.
    pub fn certificate(&mut self) -> CertificateDer<'static> {
        self.shake_hands().expect("a handshake");
        self.0.conn.peer_certificates().expect("a certificate")[0].clone()
    }
}

/// A folder that is removed at the end.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The first records of a client: its hello.
pub fn hello(config: &Arc<ClientConfig>) -> (ClientConnection, Vec<u8>) {
    let mut connection = ClientConnection::new(config.clone(), ServerName::try_from("a.example").unwrap()).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    (connection, bytes)
}

/// Gives rustls all bytes until the end of the stream. Returns the error of rustls, if there is one.
pub fn read_all(connection: &mut ClientConnection, stream: &mut TcpStream) -> Result<(), String> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        match connection.read_tls(stream) {
            Ok(0) => return Ok(()),
            Ok(_) => connection.process_new_packets().map(drop).map_err(|err| err.to_string())?,
            Err(err) => return Err(err.to_string()),
        }
    }
}
