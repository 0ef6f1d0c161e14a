//! The options of the program: one struct, from which come the parser, the help, the completions and `docs/cli.md`.
//! Filled by `sources`. Each option is a call of a builder in the library; `values` reads what stands behind it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser};
#[cfg(feature = "tls")]
use modest::ClientCertificates;
use modest::layers::PathRule;
use modest::{IpNetwork, LogFormat, Overwrite, Symlinks};

use super::address::{self, Bind};
use super::values::{self, Caching, Field, Group, Limit, Proxy, Quota, Rate, User};

/// All options. The default of each applies if it is not given.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "modest",
    version,
    about = "Serve folders and files over HTTP.",
    override_usage = "modest [DIR | FILE | /PATH=DIR | PORT]... [OPTIONS]",
    after_help = AFTER_HELP,
    args_override_self = true, // the last of repeated options applies, so that aliases can be overridden
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct Options {
    /// Folders or files to serve, /PATH=DIR beneath a path; a number that is no folder is the port [default: .]
    #[arg(value_name = "DIR")]
    pub words: Vec<OsString>,
    #[command(flatten)]
    pub serving: Serving,
    #[command(flatten)]
    pub taking: Taking,
    #[command(flatten)]
    pub fields: Fields,
    #[command(flatten)]
    pub guarding: Guarding,
    #[command(flatten)]
    pub listening: Listening,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    pub encryption: Encryption,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub logging: Logging,
    #[command(flatten)]
    pub starting: Starting,
}

/// What is served.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What is served")]
pub struct Serving {
    /// A folder or a file to serve, as the word alone (Python's option)
    #[arg(short, long, value_name = "DIR", action = ArgAction::Append)]
    pub directory: Vec<PathBuf>,
    /// A file that stands for its folder; may be repeated: the first there is [default: index.html, index.htm]
    #[arg(long, value_name = "NAME", value_parser = values::file_name)]
    pub index: Vec<String>,
    /// A page for all paths without a file, for apps that route in the browser [FILE: index.html]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "index.html")]
    pub spa: Option<String>,
    /// Serve about.html as /about, and redirect /about.html there
    #[arg(long)]
    pub clean_urls: bool,
    /// The page for 400, 403 or 404 [default: 404=404.html, where it is there]
    #[arg(long, value_name = "STATUS=FILE", value_parser = values::error_page)]
    pub error_page: Vec<(u16, String)>,
    /// Redirects, a line each: FROM TO [STATUS], where * stands for the rest of a path; beneath --prefix
    #[arg(long, value_name = "FILE")]
    pub redirects: Option<PathBuf>,
    /// Where on the server it all stands, for a proxy that passes on /files/
    #[arg(long, value_name = "PATH", value_parser = values::prefix)]
    pub prefix: Option<String>,
    /// List no folders: one without an index is a 404
    #[arg(long)]
    pub no_listing: bool,
    /// Offer each listed folder as one file: ?archive=zip, tar.gz or tar
    #[cfg(feature = "archive")]
    #[arg(long)]
    pub archive: bool,
    /// Serve hidden files, too: names with a dot in front
    #[arg(long)]
    pub hidden: bool,
    /// Links followed: within, anywhere or none [default: within]
    #[arg(long, value_name = "WHERE", value_parser = values::symlinks)]
    pub follow_symlinks: Option<Symlinks>,
    /// Whether x.br, x.zst and x.gz are sent for x [default: yes, but no with --upload]
    #[arg(long, value_name = "YES|NO", value_parser = values::yes_or_no)]
    pub precompressed: Option<bool>,
    /// Compress text by gzip where there is no x.gz, and keep it so
    #[cfg(feature = "compress")]
    #[arg(long)]
    pub compress: bool,
    /// Let file managers open the folders (WebDAV); with --upload also to store what is new
    #[arg(long)]
    pub webdav: bool,
    /// The media type of an extension; may be repeated
    #[arg(long, value_name = "EXT=TYPE", value_parser = values::media_type)]
    pub mime: Vec<(String, String)>,
    /// The media type of unknown files [default: text/plain for text, else application/octet-stream]
    #[arg(long, value_name = "TYPE", value_parser = values::content_type)]
    pub content_type: Option<String>,
    /// A path for probes, not logged: 200 and ok, or 503 and the reason if a folder is not at its path
    #[arg(long, value_name = "PATH", value_parser = values::path)]
    pub health: Option<String>,
    /// Figures for Prometheus at this path [PATH: /metrics]
    #[cfg(feature = "metrics")]
    #[arg(long, value_name = "PATH", value_parser = values::page, num_args = 0..=1, require_equals = true,
        default_missing_value = "/metrics")]
    pub metrics: Option<String>,
}

/// What is taken.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What is taken")]
pub struct Taking {
    /// Take files, by a form in listings and by PUT: in all folders, or in the one at this path; may be repeated
    #[arg(long, value_name = "PATH", value_parser = values::upload, num_args = 0..=1, require_equals = true,
        default_missing_value = values::ALL, action = ArgAction::Append)]
    pub upload: Vec<String>,
    /// What becomes of a file whose name is taken: refuse, rename or replace [default: refuse]
    #[arg(long, value_name = "HOW", value_parser = values::overwrite)]
    pub overwrite: Option<Overwrite>,
    /// Let files and empty folders be deleted, too
    #[arg(long)]
    pub allow_delete: bool,
    /// How large a file may be, then 413 [default: none]
    #[arg(long, value_name = "SIZE", value_parser = values::size_or_none)]
    pub upload_limit: Option<Limit<u64>>,
    /// How much of the disk is to stay free, else 507 [default: 64m]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub upload_reserve: Option<u64>,
    /// How much one user, or one address without users, may add within a time, then 429 [default: none; TIME: 1d]
    #[arg(long, value_name = "SIZE[/TIME]", value_parser = values::quota)]
    pub upload_quota: Option<Limit<Quota>>,
    /// How many uploads are under way at once, then 503 [default: a quarter of the descriptors there may be, and half of --max-connections at most]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub uploads_at_once: Option<usize>,
    /// How many of them one user or address may have [default: a quarter of them, or 16 if that is more]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub uploads_each: Option<usize>,
    /// Let uploads go on where they broke off, an hour later at most
    #[arg(long)]
    pub resumable: bool,
    /// Have each file on the disk before it is answered that it is stored
    #[arg(long)]
    pub fsync: bool,
}

/// Fields of answers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Fields of answers")]
pub struct Fields {
    /// A field for all answers, or for files: 'Name: value' or 'PATTERN=Name: value'; may be repeated
    #[arg(short = 'H', long, value_name = "FIELD", value_parser = values::field)]
    pub header: Vec<Field>,
    /// The Cache-Control of files, or PATTERN=VALUE; may be repeated [default: no-cache: every edit shows]
    #[arg(long, value_name = "VALUE", value_parser = values::caching)]
    pub cache_control: Vec<Caching>,
    /// Let pages of this origin read what is served, or of all; may be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = values::origin, num_args = 0..=1, require_equals = true,
        default_missing_value = "*", action = ArgAction::Append)]
    pub cors: Vec<String>,
    /// The Server field, or none [default: modest]
    #[arg(long, value_name = "NAME", value_parser = values::server)]
    pub server: Option<String>,
}

/// Who may do what.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Who may do what")]
pub struct Guarding {
    /// Users and hashes of their passwords, as --hash-password and htpasswd -B write them
    #[cfg(feature = "users")]
    #[arg(long, value_name = "FILE")]
    pub auth: Option<PathBuf>,
    /// What browsers say that a password is wanted for [default: modest]
    #[cfg(feature = "users")]
    #[arg(long, value_name = "NAME", value_parser = values::realm)]
    pub realm: Option<String>,
    /// Take passwords over the network without TLS, too, where others can read them
    #[cfg(feature = "users")]
    #[arg(long)]
    pub auth_over_http: bool,
    /// Who may do what, as in /inbox=ada,@staff:read,write; may be repeated [default: with --auth /=@users:all]
    #[arg(long, value_name = "RULE", value_parser = values::path_rule)]
    pub allow: Vec<PathRule>,
    /// Users that rules name together, as in staff=ada,bob; may be repeated
    #[arg(long, value_name = "NAME=USERS", value_parser = values::group)]
    pub group: Vec<Group>,
}

/// Where it listens, and to whom.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Where it listens")]
pub struct Listening {
    /// An address, unix:PATH, fd:N or systemd; 0.0.0.0 opens it to the network; may be repeated [default: 127.0.0.1]
    #[arg(short, long, value_name = "ADDR[:PORT]", value_parser = address::bind)]
    pub bind: Vec<Bind>,
    /// The port; 0 takes any free one [default: 8000]
    #[arg(short, long, value_name = "PORT", value_parser = address::port)]
    pub port: Option<u16>,
    /// A host that is answered for, others get 421; may be repeated; local: names nobody can own [default: *, all; on loopback local for what --upload takes]
    #[arg(long, value_name = "HOST", value_parser = values::host)]
    pub allowed_host: Vec<String>,
    /// A proxy whose X-Forwarded-For is believed, or unix; may be repeated
    #[arg(long, value_name = "CIDR", value_parser = values::proxy)]
    pub trusted_proxy: Vec<Proxy>,
    /// Believe X-Forwarded-Host of those proxies, too: for one that changes Host, and sets that field itself
    #[arg(long)]
    pub forwarded_host: bool,
    /// A proxy that speaks the PROXY protocol; others are turned away; may be repeated
    #[arg(long, value_name = "CIDR", value_parser = values::network)]
    pub proxy_protocol: Vec<IpNetwork>,
    /// Figures for Prometheus at an address of their own, and nowhere else; the port is 9464 unless told
    #[cfg(feature = "metrics")]
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = address::bind)]
    pub metrics_bind: Option<Bind>,
    /// How many clients may wait to be accepted [default: 1024]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub backlog: Option<usize>,
    /// Who may connect to a Unix socket, in octal [default: what the umask leaves]
    #[arg(long, value_name = "MODE", value_parser = values::mode)]
    pub socket_mode: Option<u32>,
    /// How long such a proxy's header may take, then a reset [default: 3s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub proxy_header_timeout: Option<Limit<Duration>>,
    /// Serve clients of other addresses, too, without a header
    #[arg(long)]
    pub proxy_untrusted: bool,
    /// Share IP addresses with other processes of this user that do so, too; each has its own clients
    #[arg(long)]
    pub reuse_port: bool,
    /// With ::, leave IPv4 out
    #[arg(long)]
    pub ipv6_only: bool,
    /// HTTP/1.1 is always spoken (Python's option)
    #[arg(long, value_name = "VERSION", value_parser = values::protocol, hide = true)]
    pub protocol: Option<String>,
    /// How the source of the port stands to that of the addresses: a higher one wins.
    #[arg(skip = std::cmp::Ordering::Equal)]
    pub port_over_bind: std::cmp::Ordering,
}

/// Limits and times: sizes as in 64k, times as in 10s; where `none` may stand it switches the limit off.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits and times")]
pub struct Limits {
    /// How many handlers run at once [default: 16 or 4 a processor]
    #[arg(short, long, value_name = "N", value_parser = values::workers)]
    pub workers: Option<usize>,
    /// How many clients are connected at once [default: the descriptors there may be, less an eighth]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub max_connections: Option<usize>,
    /// How many connections one IP address may have at once [default: none]
    #[arg(long, value_name = "N", value_parser = values::some_or_none)]
    pub max_per_address: Option<Limit<usize>>,
    /// How many requests a connection may have [default: none]
    #[arg(long, value_name = "N", value_parser = values::requests)]
    pub max_requests: Option<Limit<u32>>,
    /// How old a connection may grow [default: none]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub max_connection_age: Option<Limit<Duration>>,
    /// Whether connections are kept for further requests [default: yes]
    #[arg(long, value_name = "YES|NO", value_parser = values::yes_or_no)]
    pub keep_alive: Option<bool>,
    /// How long a kept connection may be silent [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub idle_timeout: Option<Limit<Duration>>,
    /// How long the head of a request may take, then 408 [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub head_timeout: Option<Limit<Duration>>,
    /// How long the body of a request may take, then 408 [default: none]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub body_timeout: Option<Limit<Duration>>,
    /// How long a client may take nothing of an answer [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub write_timeout: Option<Limit<Duration>>,
    /// What a client must send or take, in bytes a second over a time [default: 500/30s]
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub min_rate: Option<Limit<Rate>>,
    /// How long a stop waits for requests in hand [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub shutdown_timeout: Option<Limit<Duration>>,
    /// How long a handler may run before the log is warned [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub slow_handler: Option<Limit<Duration>>,
    /// How many requests may wait for a worker, then 503 [default: 1024]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub queue_limit: Option<usize>,
    /// How long a request may wait for a worker, then 503 [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub queue_timeout: Option<Limit<Duration>>,
    /// How long a request line may be, then 414 [default: 8k]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub request_line_limit: Option<usize>,
    /// How long the head of a request may be, then 431 [default: 32k]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub head_limit: Option<usize>,
    /// How many fields a request may have, then 431 [default: 100]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub field_limit: Option<usize>,
    /// How long the body of a request may be, then 413 [default: 16m]
    #[arg(long, value_name = "SIZE", value_parser = values::size_or_none)]
    pub body_limit: Option<Limit<u64>>,
    /// How much of a body is kept in memory; the rest goes to a file [default: 64k]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub body_memory: Option<usize>,
    /// How much all bodies in memory may take; further ones go to files [default: 256m]
    #[arg(long, value_name = "SIZE", value_parser = values::size_or_none)]
    pub body_memory_quota: Option<Limit<u64>>,
    /// Where those files lie, unnamed [default: /var/tmp]
    #[arg(long, value_name = "DIR", value_parser = values::folder)]
    pub body_folder: Option<PathBuf>,
    /// How much all bodies in files may take, then 507 [default: 1g]
    #[arg(long, value_name = "SIZE", value_parser = values::size_or_none)]
    pub body_quota: Option<Limit<u64>>,
    /// Whether bodies of unknown length are taken, otherwise 411 [default: yes]
    #[arg(long, value_name = "YES|NO", value_parser = values::yes_or_no)]
    pub chunked_bodies: Option<bool>,
    /// How many files are kept in memory or open [default: 8192]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub cache_files: Option<usize>,
    /// How large a file may be to be kept in memory [default: 64k]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub cache_file_size: Option<usize>,
    /// How much memory all of them may take [default: 64m]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub cache_size: Option<usize>,
    /// How many files are kept open [default: an eighth of the descriptors there may be, 4096 at most]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub open_files: Option<usize>,
    /// How much memory listings of folders may take that are kept [default: 16m]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub listing_cache: Option<usize>,
    /// How many names in them may be watched [default: a quarter of the inotify watches that the user may have]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub listing_watches: Option<usize>,
    /// How many archives are sent at once, then 503 [default: half of the workers, 8 at most]
    #[cfg(feature = "archive")]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub archives: Option<usize>,
    /// How many folders deep an archive goes [default: 64]
    #[cfg(feature = "archive")]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub archive_depth: Option<usize>,
    /// How many entries an archive may have [default: 100000]
    #[cfg(feature = "archive")]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub archive_entries: Option<usize>,
    /// How small a file may be to be compressed [default: 1k]
    #[cfg(feature = "compress")]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub compress_from: Option<u64>,
    /// How large a file may be to be compressed [default: 4m]
    #[cfg(feature = "compress")]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub compress_to: Option<u64>,
    /// How many files are compressed at once; others are sent as they are [default: half of the processors, from 1 to 4]
    #[cfg(feature = "compress")]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub compressions: Option<usize>,
    /// How much memory compressed files may take [default: 32m]
    #[cfg(feature = "compress")]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub compress_cache: Option<usize>,
    /// Whether the kernel tells of changed files; otherwise the disk is asked [default: yes]
    #[arg(long, value_name = "YES|NO", value_parser = values::yes_or_no)]
    pub inotify: Option<bool>,
}

/// TLS.
#[cfg(feature = "tls")]
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS")]
pub struct Encryption {
    /// Serve HTTPS with this certificate and its chain (PEM); may be repeated, for other names
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub tls_cert: Vec<PathBuf>,
    /// The key of each certificate (PEM) [default: in the file of the certificate]
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub tls_key: Vec<PathBuf>,
    /// A file with the password of the keys
    #[arg(long, value_name = "FILE")]
    pub tls_password_file: Option<PathBuf>,
    /// Serve HTTPS with a certificate for a trial, for these names [NAMES: localhost, and what is listened at]
    #[arg(long, value_name = "NAMES", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub tls_self_signed: Option<String>,
    /// Ask clients for a certificate that one of these roots (PEM) has issued
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Whether clients must have one: required or optional [default: required]
    #[arg(long, value_name = "WHICH", value_parser = values::client_certificates)]
    pub tls_client_auth: Option<ClientCertificates>,
    /// How long a handshake may take [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub tls_handshake_timeout: Option<Limit<Duration>>,
    /// Listen here, too, and redirect plain HTTP to https [ADDR:PORT: port 80 of the same addresses]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address::redirect, num_args = 0..=1, require_equals = true,
        default_missing_value = "80")]
    pub redirect_to_https: Option<Bind>,
    /// Have browsers ask for this host by https alone, for so long [AGE: 365d]
    #[arg(long, value_name = "AGE", value_parser = values::time, num_args = 0..=1, require_equals = true,
        default_missing_value = "365d")]
    pub hsts: Option<Duration>,
}

#[cfg(feature = "tls")]
impl Encryption {
    /// Whether there is a certificate.
    pub fn is_wanted(&self) -> bool {
        !self.tls_cert.is_empty() || self.tls_self_signed.is_some()
    }
}

/// What is said, and where.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The log")]
pub struct Logging {
    /// Log nothing
    #[arg(short, long)]
    pub quiet: bool,
    /// Log more than the requests, also why something is not served
    #[arg(short, long)]
    pub verbose: bool,
    /// The lines of requests: python, common, combined or json [default: python]
    #[arg(long, value_name = "FORMAT", value_parser = values::log_format)]
    pub log_format: Option<LogFormat>,
    /// Log to this file, which SIGHUP opens anew, and not to stderr
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

/// What happens at the start.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "At the start")]
pub struct Starting {
    /// Options from a file, as in: port = 9000
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check settings, users, certificates, rules, folders and addresses, and exit: 0 if it could serve
    #[arg(long)]
    pub check: bool,
    /// The user to become once it listens, by name or number, and maybe the group: to serve at port 80
    #[arg(long, value_name = "NAME[:GROUP]", value_parser = values::user)]
    pub user: Option<User>,
    /// Have the kernel (Landlock) forbid this process to open anything outside its folders
    #[cfg(feature = "confine")]
    #[arg(long)]
    pub confine: bool,
    /// Open it in the browser
    #[arg(long)]
    pub open: bool,
    /// Show its address as a code for telephones
    #[cfg(feature = "qr")]
    #[arg(long)]
    pub qr: bool,
    /// Print a line for the file of --auth, with a password that is asked for, or read from stdin
    #[cfg(feature = "users")]
    #[arg(long, value_name = "USER")]
    pub hash_password: Option<String>,
    /// Print the completions of bash, elvish, fish, powershell or zsh
    #[arg(long, value_name = "SHELL", hide = true)]
    pub completions: Option<String>,
    /// Print the man page
    #[arg(long, hide = true)]
    pub man: bool,
    /// Print docs/cli.md
    #[arg(long, hide = true)]
    pub markdown: bool,
    /// Print the most used options
    #[arg(short = 'h', id = "brief_help")]
    pub brief_help: bool,
    /// Print all options
    #[arg(long, action = ArgAction::HelpShort)]
    help: Option<bool>,
    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// Those that `-h` shows.
pub const BRIEF: &[&str] = &[
    "directory",
    "index",
    "spa",
    "clean-urls",
    "no-listing",
    "archive",
    "compress",
    "hidden",
    "upload",
    "header",
    "cache-control",
    "cors",
    "auth",
    "allow",
    "bind",
    "port",
    "tls-cert",
    "tls-key",
    "tls-self-signed",
    "workers",
    "quiet",
    "verbose",
    "log-format",
    "config",
    "open",
    "qr",
    "help",
    "version",
];

const AFTER_HELP: &str = "\
Examples:
  modest                       the current folder, at http://127.0.0.1:8000/
  modest www 9000              the folder www, at port 9000
  modest site /docs=book       two folders, one of them at /docs/
  modest linux.iso -b 0.0.0.0  one file, open to the whole network
  modest inbox --upload        a folder that takes files
  modest www --auth users      for whom the file users names (--hash-password)
  modest --tls-self-signed     HTTPS, for a trial

Each option may also stand in the environment (--log-file as MODEST_LOG_FILE) or in the file
of --config (log-file = \"...\"). The command line goes before the environment, and that before
the file. Flags there are yes or no, and what may be repeated is a line each, or a list.

Ctrl-C stops it once the requests in hand are answered; a second Ctrl-C at once.";

/// How much goes to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing once the server runs.
    Quiet,
    /// One line for each request, warnings and errors.
    Normal,
    /// Also what the server is doing.
    Verbose,
}

impl Options {
    /// `-q` wins over `-v`: whoever asks for silence relies on it.
    pub fn verbosity(&self) -> Verbosity {
        match (self.logging.quiet, self.logging.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }
}
