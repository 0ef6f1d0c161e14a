//! The site: folders and files at their paths, and the layers around them. Created by `lib` from the options.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use modest::layers::{Compress, Cors, ErrorPages, Redirects, TrustedProxies};
use modest::{
    BodyPlan, DefaultLimits, Error, FolderCheck, Http, Layer, Layered, LogFormat, LogRecord, Method, Overview, Request,
    RequestHandler, Response, Routes, StaticFileHandler, Symlinks, Uploads, layer_fn,
};

use crate::access;
use crate::backends;
use crate::error::{CliError, closed, quoted, reason};
use crate::header;
use crate::hosts::{self, Reach};
use crate::logging::ACCESS;
use crate::metrics::Figures;
use crate::mounts::Mount;
use crate::option_files;
use crate::options::{Listening, Options};
use crate::own_files::is_shown;
use crate::signals::Reloads;
use crate::uploads;
use crate::values::Proxy;

/// Creates the site from the options. An unreadable folder is reported now, not at the first request.
pub fn open(
    options: &Options,
    places: &[Mount],
    application: Option<Handler>,
    reach: &Reach,
    figures: &Figures,
    front: Front,
    reloads: &mut Reloads,
) -> Result<Http<Site>, CliError> {
    let has_application = application.is_some();
    let (mut site, checks) = folders(options, places, application)?;
    check_pages(options, places)?;
    options.limits.body_folder.as_deref().map_or(Ok(()), check_body_folder)?;
    if let Some(file) = &options.serving.redirects {
        site = Box::new(site.layer(CurrentRedirects::of(file, options.prefix(), reloads)?));
    }
    site = access::around(figures.beside(site, options), options, places, reloads)?;
    if !options.fields.cors.is_empty() {
        site = Box::new(site.layer(cors(&options.fields.cors)));
    }
    #[cfg(feature = "tls")]
    if let Some(age) = options.encryption.hsts {
        site = Box::new(site.layer(modest::layers::HttpsOnly::new().hsts(age)));
    }
    site = hosts::around(site, options, reach);
    // Health checks have no password, and can name the server in any way.
    if let Some(path) = &options.serving.health {
        let health = move |_: &(), request: &Request| {
            Ok(health(&checks, request.server().is_draining()).with_header("cache-control", "no-store"))
        };
        site = Box::new(Routes::new().get(path, health).fallback(site).with_state(()));
    }
    let needs_scheme = access::asks_for_passwords(options) || has_application || !options.serving.proxy.is_empty();
    let http = published(site, options, figures, front, needs_scheme)?;
    Ok(http.strict_paths(!has_application)) // applications interpret repeated and encoded slashes themselves
}

/// Puts around a handler what applies to the requests of every listener: the reports of proxies, metrics, the access
/// log, fields of all responses, limits.
pub fn published(
    mut handler: Handler,
    options: &Options,
    figures: &Figures,
    front: Front,
    needs_scheme: bool,
) -> Result<Http<Site>, CliError> {
    if let Some(proxies) = trusted(&options.listening) {
        handler = Box::new(handler.layer(proxies.scheme(needs_scheme)));
    }
    let http = Http::new(figures.around(handler).layer(front)).access_log(None);
    header::of_all(limited(http, options), options)
}

pub type Site = Layered<Front, Handler>;

/// A handler with the layers added so far.
pub type Handler = Box<dyn RequestHandler>;

/// Responds with 200 while each folder is at its path and no shutdown has begun. Anyone can read the response, so the
/// path of a missing folder is only in the log.
fn health(checks: &[FolderCheck], is_draining: bool) -> Response {
    match () {
        () if is_draining => Response::text("the server is about to shut down\n").with_status(503),
        () if checks.iter().any(|folder| folder.check().is_err()) => {
            Response::text("a folder is no longer at its path; the log names it\n").with_status(503)
        }
        () => Response::text("ok\n"),
    }
}

fn folders(
    options: &Options,
    places: &[Mount],
    application: Option<Handler>,
) -> Result<(Handler, Vec<FolderCheck>), CliError> {
    let uploads = uploads::uploads(options);
    let mut checks = Vec::new();
    let mut folder = |place| {
        let is_untrusted = uploads::is_untrusted(options, places, place);
        let files = folder(options, (place, is_untrusted, places.len() as u64), &uploads)?;
        checks.push(files.folder_check());
        Ok::<_, CliError>(files)
    };
    if let [place] = places
        && place.at.is_empty()
        && application.is_none()
        && options.serving.proxy.is_empty()
    {
        return Ok((at_its_name(folder(place)?, place), checks));
    }
    if application.is_some() && backends::take_the_rest(options) {
        return Err(CliError::usage("--proxy: the application is already served at /; name a path, as in /api=URL"));
    }
    let mut routes = Routes::new();
    let prefix = options.prefix();
    for place in places {
        let files = at_its_name(folder(place)?.beside(paths_of(places)), place);
        routes = if place.at.is_empty() { routes.fallback(files) } else { routes.mount(&place.at, files) };
    }
    if let Some(application) = application {
        routes = if prefix.is_empty() { routes.fallback(application) } else { routes.mount(prefix, application) };
    } else if !places.iter().any(|place| place.at.is_empty()) && !backends::take_the_rest(options) {
        routes = routes.fallback(Overview::new(&format!("{prefix}/"), paths_of(places)));
    }
    Ok((Box::new(backends::mount(routes, options)?.with_state(())), checks))
}

/// Redirects from the path of a file to the file's name: browsers and wget save a file under the last name of its URL.
fn at_its_name(files: StaticFileHandler, place: &Mount) -> Handler {
    let Some(path) = place.path_of_file() else { return Box::new(files) };
    let location = modest::encode_path(path);
    Box::new(files.layer(layer_fn(move |request, next| {
        if !matches!(request.path(), "" | "/") || ![Method::GET, Method::HEAD].contains(request.method()) {
            return next.run(request);
        }
        let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
        // At the next start the server may serve another file here.
        Ok(Response::redirect_with(302, format!("{location}{query}")).with_header("cache-control", "no-cache"))
    })))
}

fn paths_of(places: &[Mount]) -> impl Iterator<Item = &str> {
    places.iter().map(|place| &*place.at)
}

fn folder(
    options: &Options,
    (place, is_untrusted, places): (&Mount, bool, u64),
    uploads: &Uploads,
) -> Result<StaticFileHandler, CliError> {
    let path = &place.path;
    let is_relative = path.is_relative();
    if is_relative && std::env::current_dir().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(CliError::failure(
            "the working directory was removed; change to one that exists, or give an absolute path",
        ));
    }
    let is_file = path.is_file();
    let opened = match is_file {
        true => StaticFileHandler::of_file(path),
        false => fs::read_dir(path).and_then(|_| StaticFileHandler::new(path)),
    };
    let files = opened.map_err(|error| CliError::folder(path, &error))?;
    let defaults = DefaultLimits::for_memory(memory(options) / places);
    let open_files = usize::try_from(places).map_or(0, |places| defaults.open_files / places);
    let files = files.memory(defaults.memory).open_files(open_files);
    let files = if is_file { files } else { of_folder(files, options)? };
    let files = if uploads::is_taking(options, place) { files.uploads(uploads.clone()) } else { files };
    let files = if is_untrusted { files.untrusted(true) } else { files };
    with_fields(files, options, defaults.memory)?
        .prefix(&place.at)
        .map_err(|error| CliError::usage(format!("--prefix: {error}")))
}

/// Returns the memory from which defaults of limits are computed.
fn memory(options: &Options) -> u64 {
    options.limits.memory.unwrap_or_else(modest::available_memory)
}

/// Checks that each error page is served from at least one of the folders, and that index files are not hidden.
fn check_pages(options: &Options, places: &[Mount]) -> Result<(), CliError> {
    let serving = &options.serving;
    if let Some(name) = serving.index.iter().find(|name| !is_shown(Path::new(name), options)) {
        let name = quoted(Path::new(name));
        return Err(CliError::usage(format!("--index: {name} begins with a dot, and is not served without --hidden")));
    }
    let app = serving.spa.iter().map(|page| ("--spa", page));
    for (option, page) in app.chain(serving.error_page.iter().map(|(_, page)| ("--error-page", page))) {
        let mut folders = places.iter().filter(|place| place.path.is_dir()).peekable();
        let Some(first) = folders.peek().map(|place| quoted(&place.path)) else { continue };
        let beneath = Path::new(page.trim_start_matches('/'));
        let found: Vec<_> = folders.filter(|place| place.path.join(beneath).is_file()).collect();
        let page = quoted(Path::new(page));
        if found.is_empty() {
            return Err(CliError::failure(format!(
                "{option}: there is no file {page} in {first}; choose one that exists"
            )));
        }
        if !is_shown(beneath, options) {
            return Err(CliError::usage(format!(
                "{option}: a name in {page} begins with a dot, so it is not served without --hidden"
            )));
        }
        if !found.iter().any(|place| is_within(place, beneath, options)) {
            return Err(CliError::usage(format!(
                "{option}: {page} is or has a symbolic link that --follow-symlinks does not follow"
            )));
        }
    }
    Ok(())
}

/// Returns whether the links in this path are followed.
fn is_within(place: &Mount, beneath: &Path, options: &Options) -> bool {
    let (folder, file) = (place.path.canonicalize(), place.path.join(beneath).canonicalize());
    let (Ok(folder), Ok(file)) = (folder, file) else { return false };
    match options.serving.follow_symlinks {
        Some(Symlinks::Follow) => true,
        Some(Symlinks::Deny) => file == folder.join(beneath),
        _ => file.starts_with(folder),
    }
}

/// Checks that the user of this process can read the place.
pub fn check(place: &Mount) -> Result<(), CliError> {
    let read =
        if place.path.is_dir() { fs::read_dir(&place.path).map(drop) } else { fs::File::open(&place.path).map(drop) };
    read.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => CliError::failure(format!(
            "the user named by --user has no permission to read {}; allow it ('chmod o+rX' of {}) or choose another",
            quoted(&place.path),
            quoted(closed(&place.path))
        ))
        .caused_by(&error),
        _ => CliError::folder(&place.path, &error),
    })
}

/// Adds the settings that only folders have.
fn of_folder(mut files: StaticFileHandler, options: &Options) -> Result<StaticFileHandler, CliError> {
    let serving = &options.serving;
    let said = |option: &'static str| move |error: io::Error| CliError::usage(format!("{option}: {error}"));
    files = files.hidden(serving.hidden).listing(!serving.no_listing).clean_urls(serving.clean_urls).link_up(true);
    files = files.webdav(serving.webdav).markdown(true);
    // gzip reduces a listing to a sixth of its bytes or less. Each compressed listing in progress takes about 380 KiB,
    // and all of them together take about 1/32 of the memory at most.
    let streams = memory(options) / 32 / (350 << 10);
    let gzip = Compress::new().max_streams(streams.clamp(1, 64) as usize);
    files = files.compress_listings(true).finish_listing(move |request, response| gzip.compress(request, response));
    files = set! { files; symlinks = serving.follow_symlinks; };
    if !serving.index.is_empty() {
        files = files.index(&serving.index).map_err(said("--index"))?;
    }
    if let Some(page) = &serving.spa {
        files = files.app_page(page).map_err(said("--spa"))?;
    }
    for (status, page) in &serving.error_page {
        files = files.error_page(*status, page).map_err(said("--error-page"))?;
    }
    if serving.archive {
        files = with_archives(files, options);
    }
    Ok(files)
}

fn with_compression(files: StaticFileHandler, options: &Options) -> StaticFileHandler {
    let limits = &options.limits;
    let (from, to) = (limits.compress_from.unwrap_or(1 << 10), limits.compress_to.unwrap_or(4 << 20));
    set! {
        files.compressed_sizes(from..=to);
        compressed_at_once = limits.compressions;
        compressed_cache = limits.compress_cache;
    }
}

/// At most half of the workers read for archives at a time, because the disk may be slow.
fn with_archives(files: StaticFileHandler, options: &Options) -> StaticFileHandler {
    let limits = &options.limits;
    let of_workers = limits.workers.map_or(8, |workers| (workers / 2).clamp(1, 8));
    set! {
        files.archives(true).archives_at_once(limits.archives.unwrap_or(of_workers));
        archive_depth = limits.archive_depth;
        archive_entries = limits.archive_entries;
    }
}

fn with_fields(mut files: StaticFileHandler, options: &Options, memory: u64) -> Result<StaticFileHandler, CliError> {
    let (serving, fields, limits) = (&options.serving, &options.fields, &options.limits);
    let said = |option: &'static str| move |error: io::Error| CliError::usage(format!("{option}: {error}"));
    for (extension, media_type) in &serving.mime {
        files = files.mime(extension, media_type).map_err(said("--mime"))?;
    }
    if let Some(media_type) = &serving.content_type {
        files = files.default_type(media_type).map_err(said("--content-type"))?;
    }
    for field in fields.header.iter().filter(|field| header::is_of_files(field)) {
        files = match &field.pattern {
            Some(pattern) => files.header_for(pattern, &field.name, &field.value),
            None => files.header(&field.name, &field.value),
        }
        .map_err(said("--header"))?;
    }
    // The last one applies. So those without a pattern are first, as with `--header`.
    let (patterns, general): (Vec<_>, Vec<_>) =
        fields.cache_control.iter().partition(|caching| caching.pattern.is_some());
    for caching in general.into_iter().chain(patterns) {
        let pattern = caching.pattern.as_deref().unwrap_or("/"); // "/": everything in the folder
        files = files.cache_control(pattern, &caching.value).map_err(said("--cache-control"))?;
    }
    files = set! { files; precompressed = serving.precompressed; };
    let cache = (limits.cache_files, limits.cache_file_size, limits.cache_size);
    if cache != (None, None, None) {
        let bytes = cache.2.unwrap_or((memory / 32).min(64 << 20) as usize);
        files = files.cache(cache.0.unwrap_or(8192), cache.1.unwrap_or(64 << 10), bytes);
    }
    let files = if serving.compress { with_compression(files, options) } else { files };
    Ok(set! {
        files;
        open_files = limits.open_files;
        listing_cache = limits.listing_cache;
        listing_watches = limits.listing_watches;
        inotify = limits.inotify;
    })
}

/// Checks that `--body-folder` is a folder. Its permissions are checked later, as the user who serves.
fn check_body_folder(folder: &Path) -> Result<(), CliError> {
    let error = match folder.metadata() {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => io::ErrorKind::NotADirectory.into(),
        Err(error) => error,
    };
    let why = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "there is no such folder".to_owned(),
        _ => reason(&error),
    };
    Err(CliError::failure(format!("--body-folder {}: {why}", folder.display())).caused_by(&error))
}

/// The redirects of the file when it was last read: at startup or at a reload.
struct CurrentRedirects(Arc<RwLock<Redirects>>);

impl CurrentRedirects {
    fn of(file: &Path, prefix: &str, reloads: &mut Reloads) -> Result<CurrentRedirects, CliError> {
        let (file, prefix) = (file.to_owned(), prefix.to_owned());
        let named = file.clone();
        let read = move || redirects(&named).map(|rules| rules.beneath(&prefix));
        let first = read().map_err(Unusable::at_startup)?;
        reloads.warn(shadowed(&first));
        let current = Arc::new(RwLock::new(first));
        let shared = Arc::clone(&current);
        let was_pipe = option_files::is_pipe(&file);
        reloads.add("--redirects", move || {
            if was_pipe || option_files::is_pipe(&file) {
                return Err(io::Error::other(format!("{} is a pipe, which can't be read again", quoted(&file))));
            }
            let rules = read().map_err(|unusable| io::Error::other(unusable.line))?;
            shadowed(&rules).iter().for_each(|line| log::warn!("{line}"));
            *shared.write().unwrap_or_else(PoisonError::into_inner) = rules;
            Ok(String::new())
        });
        Ok(CurrentRedirects(current))
    }
}

impl Layer for CurrentRedirects {
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> modest::Result<()> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).before_body(request, plan)
    }
}

/// The reason why a file of redirects can't be used.
struct Unusable {
    line: String,
    /// The error of reading the file; `None` if a line of it is invalid.
    reading: Option<io::Error>,
}

impl Unusable {
    /// Returns the error of a start. A file that can't be read, for example because a disk is not mounted yet, may be
    /// readable at the next start. A file with an invalid line needs a change, like other invalid settings.
    fn at_startup(self) -> CliError {
        let line = format!("--redirects: {}", self.line);
        match self.reading {
            Some(error) => CliError::failure(line).caused_by(&error),
            None => CliError::usage(line),
        }
    }
}

fn redirects(file: &Path) -> Result<Redirects, Unusable> {
    let name = quoted(file);
    let text = option_files::text("--redirects", file).map_err(|error| {
        let line = format!("{name} can't be read: {}", reason(&error));
        Unusable { line, reading: Some(error) }
    })?;
    Redirects::parse(&text).map_err(|error| Unusable { line: format!("{name}, {error}"), reading: None })
}

/// Returns a line about each rule that never applies.
fn shadowed(rules: &Redirects) -> Vec<String> {
    let line =
        |(rule, other)| format!("--redirects: {rule} is never used, because the earlier {other} matches its paths");
    rules.shadowed().into_iter().map(line).collect()
}

fn cors(origins: &[String]) -> Cors {
    let cors = Cors::new().methods([Method::GET, Method::HEAD]).headers(["*"]);
    let cors = cors.expose(["Accept-Ranges", "Content-Length", "Content-Range", "ETag"]);
    match origins.iter().any(|origin| origin == "*") {
        true => cors.any_origin(),
        false => origins.iter().fold(cors, |cors, origin| cors.origin(origin)),
    }
}

fn trusted(listening: &Listening) -> Option<TrustedProxies> {
    let proxies = Some(&listening.trusted_proxy).filter(|proxies| !proxies.is_empty())?;
    let networks = proxies.iter().filter_map(|proxy| match proxy {
        Proxy::Network(network) => Some(*network),
        Proxy::Unix => None,
    });
    let trusted = TrustedProxies::new(networks).unix_sockets(proxies.contains(&Proxy::Unix));
    Some(trusted.host(listening.forwarded_host))
}

/// Applies the HTTP settings of the options.
pub fn limited<H: RequestHandler>(http: Http<H>, options: &Options) -> Http<H> {
    let limits = &options.limits;
    let http = set! {
        http;
        memory = limits.memory;
        request_line_limit = limits.request_line_limit;
        head_limit = limits.head_limit;
        max_fields = limits.field_limit;
        body_limit = limits.body_limit;
        body_memory = limits.body_memory;
        body_memory_quota = limits.body_memory_quota;
        body_folder = limits.body_folder.as_ref();
        body_quota = limits.body_quota;
        chunked_bodies = limits.chunked_bodies;
        idle_timeout = limits.idle_timeout;
        head_timeout = limits.head_timeout;
        body_timeout = limits.body_timeout;
        keep_alive = limits.keep_alive;
        max_requests = limits.max_requests;
        max_connection_age = limits.max_connection_age;
    };
    match options.fields.server.as_deref() {
        Some("none") => http.server_header(None),
        Some(name) => http.server_header(name),
        None => http,
    }
}

/// The outermost layer: the access log, and totals of its lines. Its times are in the machine's time zone, whose offset
/// may change with the season.
pub struct Front {
    zone: TimeZone,
    format: LogFormat,
    has_colours: bool,
    /// The path of health checks, which are neither logged nor counted.
    health: Option<String>,
    sums: Arc<Sums>,
}

#[derive(Debug, Default)]
pub struct Sums {
    pub requests: AtomicU64,
    /// Responses with 4xx and 5xx.
    pub errors: AtomicU64,
    /// The lengths of all bodies together.
    pub bytes: AtomicU64,
}

impl Front {
    pub fn new(options: &Options, zone: TimeZone, has_colours: bool, sums: Arc<Sums>) -> Front {
        let format = options.logging.log_format.unwrap_or_default();
        let has_colours = has_colours && format != LogFormat::Json;
        Front { zone, format, has_colours, health: options.serving.health.clone(), sums }
    }
}

impl Layer for Front {
    fn error_response(&self, request: Option<&Request>, error: &Error) -> Option<Response> {
        ErrorPages.error_response(request, error)
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        let status = record.status();
        let is_health = |request: &Request| self.health.as_deref().is_some_and(|health| request.path() == health);
        if matches!(status.as_u16(), 200 | 503) && record.request().is_some_and(is_health) {
            return;
        }
        self.sums.requests.fetch_add(1, Relaxed);
        self.sums.bytes.fetch_add(record.bytes(), Relaxed);
        if status.is_client_error() || status.is_server_error() {
            self.sums.errors.fetch_add(1, Relaxed);
        }
        if !log::log_enabled!(target: ACCESS, log::Level::Info) {
            return;
        }
        let time = Timestamp::try_from(record.time());
        let offset = time.map_or(0, |time| self.zone.to_offset(time).seconds());
        let line = record.clone().with_offset(offset).with_format(self.format);
        let colour = match status.as_u16() {
            300..=399 => 36,
            400..=499 => 33,
            500..=599 => 31,
            _ => 0,
        };
        match self.has_colours && colour > 0 {
            true => log::info!(target: ACCESS, "\x1b[{colour}m{line}\x1b[0m"),
            false => log::info!(target: ACCESS, "{line}"),
        }
    }
}
