//! The meaning of words and addresses on the command line: folders at their paths, and listeners with their ports.
//! Called by `lib`, `site` and `sources`, with options that `sources` has read. On the disk, it only checks
//! whether folders exist.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::address::{self, BindAddress};
use crate::error::{CliError, quoted};
use crate::options::Options;
use crate::values;

/// A folder or a file, and its path on the server, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub at: String,
    pub path: PathBuf,
}

impl Mount {
    /// Returns the served folder, or the folders of the served file.
    pub fn folders(&self) -> Vec<PathBuf> {
        if self.path.is_file() { folders_of([&self.path]) } else { vec![self.path.clone()] }
    }

    /// Returns the path with the file's name, if this is a file, so that a download is saved under that name.
    pub fn path_of_file(&self) -> Option<Vec<u8>> {
        let name = self.path.file_name().filter(|_| self.path.is_file())?;
        Some([self.at.as_bytes(), b"/", name.as_bytes()].concat())
    }
}

/// Returns the path that a browser opens.
pub fn opened(places: &[Mount], prefix: &str) -> Vec<u8> {
    let file = places.iter().find(|place| place.at == prefix).and_then(Mount::path_of_file);
    file.unwrap_or_else(|| format!("{prefix}/").into_bytes())
}

/// Returns the folders of these files, and of the files that they link to. (certbot's files are links into another
/// folder.)
pub fn folders_of<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Vec<PathBuf> {
    let both = files.into_iter().flat_map(|file| [std::path::absolute(file).ok(), file.canonicalize().ok()]);
    both.flatten().filter_map(|file| file.parent().map(Path::to_owned)).collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    Mount(Mount),
    Port(u16),
}

/// Interprets a word of the command line. `9000` is the port, as in Python, unless a folder has that name. `/docs=book`
/// is a folder at a path, unless a file or folder has that name.
pub fn word(word: &OsStr) -> Result<Word, CliError> {
    let path = Path::new(word);
    if word.is_empty() {
        return Err(CliError::usage("the folder's name is empty"));
    }
    let number = word.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    if let Some(text) = number.filter(|_| !path.is_dir()) {
        let port = address::port(text).map_err(|why| format!("{} is neither a folder nor a port: {why}", quoted(path)));
        return port.map(Word::Port).map_err(CliError::usage);
    }
    let bytes = word.as_bytes();
    let sign = bytes.iter().position(|&byte| byte == b'=').filter(|_| bytes[0] == b'/' && !path.exists());
    let Some(sign) = sign else { return Ok(Word::Mount(Mount { at: String::new(), path: path.to_owned() })) };
    let wrong = |why: &str| CliError::usage(format!("{}: {why}, as in /docs=book", quoted(path)));
    let at = std::str::from_utf8(&bytes[..sign]).map_err(|_| wrong("expected a UTF-8 path before '='"))?;
    let at = values::prefix(at).map_err(|why| CliError::usage(format!("{}: {why}", quoted(path))))?;
    let folder = OsString::from_vec(bytes[sign + 1..].to_vec());
    if folder.is_empty() {
        return Err(wrong("expected a folder after '='"));
    }
    Ok(Word::Mount(Mount { at, path: folder.into() }))
}

/// Returns all folders and files, with the prefix before their paths. If none is named and there is no application,
/// returns the current folder.
pub fn places(options: &Options, has_application: bool) -> Result<Vec<Mount>, CliError> {
    let mut places = Vec::new();
    for given in &options.words {
        if let Word::Mount(place) = word(given)? {
            places.push(place);
        }
    }
    for folder in &options.serving.directory {
        let place = match word(folder.as_os_str())? {
            Word::Mount(place) => place,
            // as the value of `--directory`, a number is not a port
            Word::Port(_) => Mount { at: String::new(), path: folder.clone() },
        };
        if !place.path.exists() {
            return Err(CliError::folder(folder, &io::ErrorKind::NotFound.into()).of("--directory"));
        }
        places.push(place);
    }
    if places.is_empty() && !has_application {
        places.push(Mount { at: String::new(), path: ".".into() });
    }
    let prefix = options.prefix();
    for (number, place) in places.iter().enumerate() {
        if let Some(other) = places[..number].iter().find(|other| other.at == place.at) {
            if let Some(missing) = [other, place].into_iter().find(|place| !place.path.exists()) {
                return Err(CliError::folder(&missing.path, &io::ErrorKind::NotFound.into()));
            }
            let (at, one, two) = (&place.at, quoted(&other.path), quoted(&place.path));
            let other = if at.is_empty() { "a path" } else { "another path" };
            let example = if at == "/docs" { "/other" } else { "/docs" };
            let line = format!(
                "{one} and {two} can't both be at '{at}/'; give one {other}, as in {example}={}",
                place.path.display()
            );
            return Err(CliError::usage(line));
        }
    }
    places.iter_mut().for_each(|place| place.at.insert_str(0, prefix));
    Ok(places)
}

/// Returns the addresses to listen on, with ports. If none is given, the sockets passed by systemd, or loopback.
pub fn addresses(options: &Options) -> Result<Vec<BindAddress>, CliError> {
    let listening = &options.listening;
    let mut port = listening.port.map(|port| ("--port", port));
    for given in &options.words {
        let Word::Port(number) = word(given)? else { continue };
        if let Some((by, before)) = port.filter(|(_, before)| *before != number) {
            return Err(named_twice(by, before));
        }
        port = Some(("the argument", number));
    }
    let over_bind = listening.port_over_bind;
    if port_is_unused(options) {
        port = None;
    }
    if listening.bind.is_empty() && port.is_none() && address::handed_over() {
        return Ok(vec![address::bind("systemd").map_err(CliError::usage)?.address]);
    }
    let mut binds = listening.bind.clone();
    if binds.is_empty() {
        binds.push(Default::default());
    }
    let takes_port =
        binds.iter().any(|bind| bind.address.socket.is_none() && bind.port.is_none_or(|_| over_bind.is_gt()));
    let fits = |(_, port)| binds.iter().any(|bind| bind.port == Some(port));
    if let Some((_, number)) = port.filter(|port| !takes_port && !fits(*port)) {
        let first = &binds[0];
        return Err(match (&first.address.socket, first.port) {
            (Some(socket), _) => CliError::usage(format!("{socket} has no port, but port {number} was given")),
            (None, before) => named_twice("--bind", before.unwrap_or_default()),
        });
    }
    let with_port = |bind: address::Bind| {
        let own = bind.port.filter(|_| !over_bind.is_gt() || port.is_none());
        BindAddress {
            port: own.or(port.map(|(_, port)| port)).unwrap_or(bind.address.port),
            option: if own.is_some() || bind.address.socket.is_some() { "--bind" } else { "--port" },
            ..bind.address
        }
    };
    let addresses: Vec<_> = binds.into_iter().map(with_port).collect();
    Ok(addresses)
}

/// Returns whether the port has no effect, because a source with a higher priority gives each address a port.
pub fn port_is_unused(options: &Options) -> bool {
    let listening = &options.listening;
    listening.port_over_bind.is_lt()
        && listening.bind.iter().all(|bind| bind.address.socket.is_some() || bind.port.is_some())
}

fn named_twice(by: &str, port: u16) -> CliError {
    match by {
        "the argument" => CliError::usage(format!("the port was given twice: the first argument for it is {port}")),
        option => CliError::usage(format!("the port was given twice: {option} already set {port}")),
    }
}
