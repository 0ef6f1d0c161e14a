//! The options of the program, as one struct. The parser, the help, the completions and `docs/cli.md` come from it.
//! Filled by `sources`. Each option is a call of a builder in the library; `values` parses the values. `help` formats
//! the texts: the first sentence is the line in `-h`, and `[default: ...]` comes last.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser};
#[cfg(feature = "tls")]
use modest::ClientCertificates;
use modest::layers::PathRule;
use modest::{LogFormat, Overwrite, Symlinks};

use crate::address::{self, Bind};
use crate::setting_sources::Origins;
use crate::values::{self, Backend, Caching, Field, Group, Limit, Proxy, Quota, Rate, User};

/// All options. An option that is not given has its default.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "modest",
    version,
    about = "Serve folders and files over HTTP.",
    override_usage = "modest [DIR | FILE | /PATH=DIR | PORT]... [OPTIONS]",
    args_override_self = true, // the last of repeated options applies, so that aliases can be overridden
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct Options {
    /// Folder or file to serve. /PATH=DIR serves it below a path. A number is the port, unless a folder has that
    /// name [default: .]
    #[arg(value_name = "DIR")]
    pub words: Vec<OsString>,
    #[command(flatten)]
    pub serving: Serving,
    #[command(flatten)]
    pub uploading: UploadOptions,
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
    /// The names of the options that a source gives.
    #[arg(skip)]
    pub given: BTreeSet<String>,
}

/// The folders and files to serve.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Files to serve")]
pub struct Serving {
    /// Serve this folder or file. Same as the argument, for compatibility with Python
    #[arg(short, long, value_name = "DIR", action = ArgAction::Append)]
    pub directory: Vec<PathBuf>,
    /// Index file of a folder. Repeat it for more names; the first that exists is served [default: index.html, then
    /// index.htm]
    #[arg(long, value_name = "NAME", value_parser = values::file_name)]
    pub index: Vec<String>,
    /// Serve this page where there is no file. For apps that route in the browser [FILE: index.html]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "index.html")]
    pub spa: Option<String>,
    /// Serve about.html at /about. /about.html redirects there
    #[arg(long)]
    pub clean_urls: bool,
    /// Page for status 403 or 404; one for 400 is never sent. May be repeated [default: 404=404.html, if that file exists]
    #[arg(long, value_name = "STATUS=FILE", value_parser = values::error_page)]
    pub error_page: Vec<(u16, String)>,
    /// Read redirects from this file. Each line is FROM TO [STATUS]; * matches the rest of a path. FROM is
    /// relative to --prefix
    #[arg(long, value_name = "FILE")]
    pub redirects: Option<PathBuf>,
    /// Pass requests below PATH on to another server. The backend is reached over HTTP/1.1; WebSockets are
    /// supported. If the URL has a path, it replaces PATH. May be repeated
    #[arg(long, value_name = "/PATH=URL", value_parser = values::backend)]
    pub proxy: Vec<Backend>,
    /// Time for a --proxy backend to begin its response, then 504 [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub proxy_timeout: Option<Limit<Duration>>,
    /// Requests in progress per --proxy backend; more get 503. One client address can have up to a quarter; more get
    /// 429 [default: 256]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub proxy_at_once: Option<usize>,
    /// Longest request body for a --proxy backend; a longer one gets 413 [default: 256m]
    #[arg(long, value_name = "SIZE", value_parser = values::size_or_none)]
    pub proxy_body_limit: Option<Limit<u64>>,
    /// Connections kept open for further requests to a --proxy backend. With 0, each request opens one [default: 64]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub proxy_idle_connections: Option<usize>,
    /// Close an idle connection to a --proxy backend after this long [default: 4s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub proxy_idle_timeout: Option<Limit<Duration>>,
    /// URL prefix of all paths except those of --health and --metrics. For a proxy that forwards /files/ unchanged
    #[arg(long, value_name = "PATH", value_parser = values::prefix)]
    pub prefix: Option<String>,
    /// Return 404 for folders without an index file
    #[arg(long)]
    pub no_listing: bool,
    /// Offer each listed folder as an archive. At ?archive=zip, tar.gz or tar
    #[arg(long)]
    pub archive: bool,
    /// Also serve names that start with a dot
    #[arg(long)]
    pub hidden: bool,
    /// Which symbolic links to follow: within (the folder), anywhere or none [default: within]
    #[arg(long, value_name = "WHERE", value_parser = values::one_of(values::SYMLINKS))]
    pub follow_symlinks: Option<Symlinks>,
    /// Whether to send x.br, x.zst or x.gz in place of x to clients that accept it [default: no with --upload,
    /// otherwise yes]
    #[arg(long, value_name = "YES|NO", value_parser = values::yes_or_no)]
    pub precompressed: Option<bool>,
    /// Compress text with gzip and cache the result. If x.gz exists, it is sent instead
    #[arg(long)]
    pub compress: bool,
    /// Let file managers open the folders (WebDAV). With --upload they can also store files
    #[arg(long)]
    pub webdav: bool,
    /// Media type of a file extension. May be repeated
    #[arg(long, value_name = "EXT=TYPE", value_parser = values::media_type)]
    pub mime: Vec<(String, String)>,
    /// Media type of every file whose extension is unknown [default: text/plain if the file begins with text, else
    /// application/octet-stream]
    #[arg(long, value_name = "TYPE", value_parser = values::content_type)]
    pub content_type: Option<String>,
    /// Path for health checks. It responds with 503 if a folder is no longer at its path (the log names it) or a
    /// shutdown has begun, otherwise with 200 and ok. Requests with these responses are not logged
    #[arg(long, value_name = "PATH", value_parser = values::health)]
    pub health: Option<String>,
    /// Serve Prometheus metrics at this path [PATH: /metrics]
    #[arg(long, value_name = "PATH", value_parser = values::page, num_args = 0..=1, require_equals = true,
        default_missing_value = "/metrics")]
    pub metrics: Option<String>,
}

/// Uploads.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Uploads")]
pub struct UploadOptions {
    /// Accept uploads in every folder, or at PATH. Clients use a form in each listing, or PUT. May be repeated
    #[arg(long, value_name = "PATH", value_parser = values::upload, num_args = 0..=1, require_equals = true,
        default_missing_value = values::ALL, action = ArgAction::Append)]
    pub upload: Vec<String>,
    /// What to do if the name is taken: refuse, rename or replace [default: refuse]
    #[arg(long, value_name = "HOW", value_parser = values::one_of(values::OVERWRITE))]
    pub overwrite: Option<Overwrite>,
    /// Let clients delete files and empty folders, and with --webdav whole folders
    #[arg(long)]
    pub allow_delete: bool,
    /// Largest file accepted; a larger one gets 413 [default: none]
    #[arg(long, value_name = "SIZE", value_parser = values::size_or_none)]
    pub upload_limit: Option<Limit<u64>>,
    /// Disk space to keep free; an upload that needs it gets 507 [default: 64m]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub upload_reserve: Option<u64>,
    /// Bytes that one user (or, without users, one address) can add per period; an upload beyond it gets 413 or 429
    /// [default: none; TIME: 1d]
    #[arg(long, value_name = "SIZE[/TIME]", value_parser = values::quota)]
    pub upload_quota: Option<Limit<Quota>>,
    /// Uploads in progress at once; more get 503 [default: a quarter of the file descriptor limit, at most half of
    /// --max-connections if that is given]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub uploads_at_once: Option<usize>,
    /// Uploads in progress at once per user or address; more get 503 [default: a quarter of --uploads-at-once, at least
    /// 16]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub uploads_each: Option<usize>,
    /// Let an interrupted upload continue within an hour
    #[arg(long)]
    pub resumable: bool,
    /// Write each file to disk (fsync) before reporting it as stored
    #[arg(long)]
    pub fsync: bool,
}

/// Header fields of responses.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Response header fields")]
pub struct Fields {
    /// Add a header field to all responses. 'Name: value', or 'PATTERN=Name: value' for some files. May be repeated
    #[arg(short = 'H', long, value_name = "FIELD", value_parser = values::field)]
    pub header: Vec<Field>,
    /// Cache-Control of files, or PATTERN=VALUE. May be repeated [default: no-cache]
    #[arg(long, value_name = "VALUE", value_parser = values::caching)]
    pub cache_control: Vec<Caching>,
    /// Let pages of this origin read responses. Without ORIGIN, pages of any origin. May be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = values::origin, num_args = 0..=1, require_equals = true,
        default_missing_value = "*", action = ArgAction::Append)]
    pub cors: Vec<String>,
    /// Value of the Server field, or none to leave it out [default: modest]
    #[arg(long, value_name = "NAME", value_parser = values::server)]
    pub server: Option<String>,
}

/// Users and their rights.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Users and rights")]
pub struct Guarding {
    /// Require a login; users are in this file. Its lines come from --hash-password or htpasswd -B
    #[arg(long, value_name = "FILE")]
    pub auth: Option<PathBuf>,
    /// Name shown by browsers when they ask for the password [default: modest]
    #[arg(long, value_name = "NAME", value_parser = values::realm)]
    pub realm: Option<String>,
    /// Accept passwords over the network without TLS, where others can read them
    #[arg(long)]
    pub auth_over_http: bool,
    /// Rights at a path: /inbox=ada,@staff:read,write. May be repeated [default: /=@users:all with --auth, else
    /// everyone]
    #[arg(long, value_name = "RULE", value_parser = values::path_rule)]
    pub allow: Vec<PathRule>,
    /// Group of users for --allow rules, as in staff=ada,bob. May be repeated
    #[arg(long, value_name = "NAME=USERS", value_parser = values::group)]
    pub group: Vec<Group>,
}

/// Addresses, hosts and proxies.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Listening")]
pub struct Listening {
    /// Address to listen on. Also unix:PATH, fd:N or systemd. 0.0.0.0 opens it to the network. May be repeated
    /// [default: 127.0.0.1]
    #[arg(short, long, value_name = "ADDR[:PORT]", value_parser = address::bind)]
    pub bind: Vec<Bind>,
    /// Port to listen on, 0 for any [default: 8000]
    #[arg(short, long, value_name = "PORT", value_parser = address::port)]
    pub port: Option<u16>,
    /// Host name to serve; requests for others get 421, except those of --health. May be repeated. * allows all; local:
    /// names that can't be registered in DNS [default: *; local for writes if --upload is only on loopback]
    #[arg(long, value_name = "HOST", value_parser = values::host)]
    pub allowed_host: Vec<String>,
    /// Trust X-Forwarded-For from this proxy: a network, or unix for Unix sockets. May be repeated
    #[arg(long, value_name = "CIDR", value_parser = values::proxy)]
    pub trusted_proxy: Vec<Proxy>,
    /// Also trust X-Forwarded-Host from these proxies, for a proxy that changes Host. The proxy must set that field
    /// itself
    #[arg(long)]
    pub forwarded_host: bool,
    /// Proxy that sends the PROXY protocol: a network, or unix for Unix sockets. Other clients are disconnected. May be
    /// repeated
    #[arg(long, value_name = "CIDR", value_parser = values::proxy)]
    pub proxy_protocol: Vec<Proxy>,
    /// Serve Prometheus metrics only at this address, on a separate port [PORT: 9464]
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = address::bind)]
    pub metrics_bind: Option<Bind>,
    /// Connections that can wait to be accepted [default: 1024]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub backlog: Option<usize>,
    /// Permissions of the Unix socket, in octal [default: set by the umask]
    #[arg(long, value_name = "MODE", value_parser = values::mode)]
    pub socket_mode: Option<u32>,
    /// Reset a connection whose PROXY header is not complete after this long [default: 3s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub proxy_header_timeout: Option<Limit<Duration>>,
    /// Also serve clients outside the --proxy-protocol addresses; they send no PROXY header
    #[arg(long)]
    pub proxy_untrusted: bool,
    /// Share the port with other processes of this user that also use this option. Each gets some of the clients
    #[arg(long)]
    pub reuse_port: bool,
    /// With ::, do not accept IPv4
    #[arg(long)]
    pub ipv6_only: bool,
    /// Accepted for compatibility with Python: HTTP/1.1 is always used
    #[arg(long, value_name = "VERSION", value_parser = values::protocol, hide = true)]
    pub protocol: Option<String>,
    /// Whether the port comes from a higher source than the addresses. The order of sources: the command line, the
    /// environment, a file.
    #[arg(skip = std::cmp::Ordering::Equal)]
    pub port_over_bind: std::cmp::Ordering,
}

/// Limits and timeouts: sizes as in 64k, times as in 10s. `none` turns a limit off.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits and timeouts")]
pub struct Limits {
    /// Handlers that run at once [default: 16, or 4 per processor if that is more]
    #[arg(short, long, value_name = "N", value_parser = values::workers)]
    pub workers: Option<usize>,
    /// Memory of the server, from which the defaults of the limits below are computed [default: that of the machine, or
    /// of its control group (cgroup)]
    #[arg(long, value_name = "SIZE", value_parser = values::server_memory)]
    pub memory: Option<u64>,
    /// Clients connected at once [default: seven eighths of the file descriptor limit, but no more than fit in half of
    /// --memory at 8k each, or 80k with TLS]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub max_connections: Option<usize>,
    /// Connections per IPv4 address or IPv6 /64 at once; more are reset [default: none]
    #[arg(long, value_name = "N", value_parser = values::some_or_none)]
    pub max_per_address: Option<Limit<usize>>,
    /// Requests per connection [default: none]
    #[arg(long, value_name = "N", value_parser = values::requests)]
    pub max_requests: Option<Limit<u32>>,
    /// Close a connection of this age after its next response [default: none]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub max_connection_age: Option<Limit<Duration>>,
    /// Whether to keep connections open for further requests [default: yes]
    #[arg(long, value_name = "YES|NO", value_parser = values::yes_or_no)]
    pub keep_alive: Option<bool>,
    /// Close a connection without a request for this long [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub idle_timeout: Option<Limit<Duration>>,
    /// Time to receive a request head, then 408 [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub head_timeout: Option<Limit<Duration>>,
    /// Time to receive a request body, then 408 [default: none]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub body_timeout: Option<Limit<Duration>>,
    /// Drop a client that reads nothing of a response for this long [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub write_timeout: Option<Limit<Duration>>,
    /// Drop a client that sends or reads less than this many bytes per second, averaged over the given time [default:
    /// 500/30s]
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub min_rate: Option<Limit<Rate>>,
    /// On SIGTERM, keep serving for this long while --health responds with 503. For load balancers [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = values::delay)]
    pub shutdown_delay: Option<Duration>,
    /// On shutdown, wait this long for requests in progress [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub shutdown_timeout: Option<Limit<Duration>>,
    /// Log a warning if a handler runs for this long [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub slow_handler: Option<Limit<Duration>>,
    /// Requests that can wait for a worker; more get 503 [default: 1024]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub queue_limit: Option<usize>,
    /// Time a request can wait for a worker, then 503 [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub queue_timeout: Option<Limit<Duration>>,
    /// Longest request line, at most 60k; a longer one gets 414 [default: 8k]
    #[arg(long, value_name = "SIZE", value_parser = values::head)]
    pub request_line_limit: Option<usize>,
    /// Longest request head, at most 60k; a longer one gets 431 [default: 32k]
    #[arg(long, value_name = "SIZE", value_parser = values::head)]
    pub head_limit: Option<usize>,
    /// Header fields per request; more get 431 [default: 100]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub field_limit: Option<usize>,
    /// Memory for unfinished requests of all clients together; further clients get 503 [default: an eighth of --memory,
    /// at most 256m]
    #[arg(long, value_name = "SIZE", value_parser = values::input_quota)]
    pub input_quota: Option<Limit<u64>>,
    /// Longest request body; a longer one gets 413. For uploaded files, see --upload-limit [default: 16m]
    #[arg(long, value_name = "SIZE", value_parser = values::size_or_none)]
    pub body_limit: Option<Limit<u64>>,
    /// Longest request body kept in memory; longer ones go to a file [default: 64k]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub body_memory: Option<usize>,
    /// Memory for all request bodies together; further bodies go to files [default: an eighth of
    /// --memory, at most 256m]
    #[arg(long, value_name = "SIZE", value_parser = values::size_or_none)]
    pub body_memory_quota: Option<Limit<u64>>,
    /// Folder for request bodies on disk, in unnamed files [default: /var/tmp]
    #[arg(long, value_name = "DIR")]
    pub body_folder: Option<PathBuf>,
    /// Disk space for all request bodies together; further bodies get 507 [default: 1g]
    #[arg(long, value_name = "SIZE", value_parser = values::size_or_none)]
    pub body_quota: Option<Limit<u64>>,
    /// Whether to accept bodies of unknown length; if not, they get 411 [default: yes]
    #[arg(long, value_name = "YES|NO", value_parser = values::yes_or_no)]
    pub chunked_bodies: Option<bool>,
    /// Files in the cache, kept in memory or open [default: 8192]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub cache_files: Option<usize>,
    /// Largest file kept in memory [default: 64k]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub cache_file_size: Option<usize>,
    /// Memory for all cached files together [default: 1/32 of --memory, at most 64m]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub cache_size: Option<usize>,
    /// Cached files kept open [default: an eighth of the file descriptor limit, at most 4096]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub open_files: Option<usize>,
    /// Memory for cached folder listings; 0 caches none [default: 1/128 of --memory, at most 16m]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub listing_cache: Option<usize>,
    /// How many names of cached listings are watched with inotify [default: a quarter of the user's inotify watches]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub listing_watches: Option<usize>,
    /// Archives sent at once; more get 503 [default: half of --workers, at most 8]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub archives: Option<usize>,
    /// Levels of folders in an archive [default: 64]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub archive_depth: Option<usize>,
    /// Entries in an archive [default: 100000]
    #[arg(long, value_name = "N", value_parser = values::some)]
    pub archive_entries: Option<usize>,
    /// Smallest file to compress [default: 1k]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub compress_from: Option<u64>,
    /// Largest file to compress [default: 4m]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub compress_to: Option<u64>,
    /// Files compressed at once; others are sent uncompressed [default: half of the processors, 1 to 4]
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub compressions: Option<usize>,
    /// Memory for compressed files [default: 1/64 of --memory, at most 32m]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub compress_cache: Option<usize>,
    /// Whether to learn of changed files from inotify; if not, the file system is checked before each use [default:
    /// yes]
    #[arg(long, value_name = "YES|NO", value_parser = values::yes_or_no)]
    pub inotify: Option<bool>,
}

/// TLS.
#[cfg(feature = "tls")]
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS")]
pub struct Encryption {
    /// Serve HTTPS with this certificate chain (PEM). May be repeated, for other names
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub tls_cert: Vec<PathBuf>,
    /// Key of the certificate (PEM). One for each --tls-cert [default: in the certificate's file]
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub tls_key: Vec<PathBuf>,
    /// File with the password of the keys
    #[arg(long, value_name = "FILE")]
    pub tls_password_file: Option<PathBuf>,
    /// Serve HTTPS with a temporary certificate. It is self-signed, for these names [NAMES: localhost and the addresses
    /// listened on]
    #[arg(long, value_name = "NAMES", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub tls_self_signed: Option<String>,
    /// Ask clients for a certificate issued by one of these roots (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Whether clients must have a certificate: required or optional [default: required]
    #[arg(long, value_name = "WHICH", value_parser = values::one_of(values::CLIENT_CERTIFICATES))]
    pub tls_client_auth: Option<ClientCertificates>,
    /// Time for a handshake; then the connection is closed [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub tls_handshake_timeout: Option<Limit<Duration>>,
    /// Also listen here, and redirect plain HTTP to HTTPS [ADDR:PORT: port 80 of the same addresses]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address::redirect, num_args = 0..=1, require_equals = true,
        default_missing_value = "80")]
    pub redirect_to_https: Option<Bind>,
    /// Make browsers use only HTTPS for this host for this long; 0 ends it [AGE: 365d]
    #[arg(long, value_name = "AGE", value_parser = values::hsts, num_args = 0..=1, require_equals = true,
        default_missing_value = "365d")]
    pub hsts: Option<Duration>,
}

#[cfg(feature = "tls")]
impl Encryption {
    /// Returns whether TLS is used: a certificate is given, or a temporary one requested.
    pub fn is_enabled(&self) -> bool {
        !self.tls_cert.is_empty() || self.tls_self_signed.is_some()
    }
}

/// The log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// Log nothing
    #[arg(short, long)]
    pub quiet: bool,
    /// Log more, such as why a request is rejected
    #[arg(short, long)]
    pub verbose: bool,
    /// Access log: python, common, combined or json [default: python]
    #[arg(long, value_name = "FORMAT", value_parser = values::one_of(values::LOG_FORMAT))]
    pub log_format: Option<LogFormat>,
    /// Log to this file instead of stderr. SIGHUP reopens it
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

/// Starting, and options that print something and exit.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Starting and help")]
pub struct Starting {
    /// Read options from this TOML file. For example: port = 9000
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Validate settings, users, certificates, rules, folders and addresses, and exit: 0 if the server could start
    #[arg(long)]
    pub check: bool,
    /// Print each setting and its source (command line, environment, file or default), and exit
    #[arg(long)]
    pub print_config: bool,
    /// Switch to this user once the server listens. By name or number, with an optional group. For ports below 1024
    #[arg(long, value_name = "NAME[:GROUP]", value_parser = values::user)]
    pub user: Option<User>,
    /// Let the kernel (Landlock) deny access to files outside the server's own folders
    #[arg(long)]
    pub confine: bool,
    /// Open the address in the browser
    #[arg(long)]
    pub open: bool,
    /// Print the address as a QR code for phones
    #[arg(long)]
    pub qr: bool,
    /// Print a line for the --auth file and exit. The password is read from the terminal, or from stdin
    #[arg(long, value_name = "USER")]
    pub hash_password: Option<String>,
    /// Print completions for bash, elvish, fish, powershell or zsh
    #[arg(long, value_name = "SHELL", hide = true)]
    pub completions: Option<String>,
    /// Print the man page
    #[arg(long, hide = true)]
    pub man: bool,
    /// Print docs/cli.md
    #[arg(long, hide = true)]
    pub markdown: bool,
    /// The sources of the options, for errors.
    #[arg(skip)]
    pub origins: Origins,
    /// The source files that the application of another program can have.
    #[arg(skip)]
    pub applications: Vec<PathBuf>,
    /// Print the most common options
    #[arg(short = 'h', id = "brief_help")]
    pub brief_help: bool,
    /// Print all options
    #[arg(long, action = ArgAction::HelpShort)]
    help: Option<bool>,
    /// Print the version. With --verbose, also list the system calls in use, by purpose
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing while the server runs.
    Quiet,
    /// One line for each request, warnings and errors.
    Normal,
    /// The same, and the reasons for the server's decisions.
    Verbose,
}

impl Options {
    /// Returns whether each client needs a certificate.
    pub fn requires_client_certificates(&self) -> bool {
        #[cfg(feature = "tls")]
        let requires = self.encryption.tls_client_ca.is_some()
            && self.encryption.tls_client_auth.is_none_or(|which| which == ClientCertificates::Required);
        #[cfg(not(feature = "tls"))]
        let requires = false;
        requires
    }

    /// Returns the value of `--prefix`, without a slash at its end.
    pub fn prefix(&self) -> &str {
        self.serving.prefix.as_deref().unwrap_or_default()
    }

    /// Returns how much is logged. `-q` has precedence over `-v`, because a script may rely on it.
    pub fn verbosity(&self) -> Verbosity {
        match (self.logging.quiet, self.logging.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        }
    }

    /// Returns the longest time of a shutdown: `--shutdown-timeout`, 10 s, and `--shutdown-delay` before it. `None`: no
    /// limit.
    pub fn longest_shutdown(&self) -> Option<Duration> {
        let timeout = self.limits.shutdown_timeout.map_or(Some(Duration::from_secs(10)), |Limit(limit)| limit)?;
        Some(timeout + self.limits.shutdown_delay.unwrap_or_default())
    }
}
