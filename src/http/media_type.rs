//! Media types by file name, for `Response::file` and for serving folders. It never reads a file.
//!
//! The table has the types that browsers expect today instead of older registrations: scripts are `text/javascript`
//! (RFC 9239), `.ico` is `image/x-icon`, and text has the charset UTF-8.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const PLAIN: &str = "text/plain; charset=utf-8";

/// Returns the media type of a file with this name, by its extension, or by the whole name (`Makefile`). Text has
/// `charset=utf-8`. `None` if it is unknown.
///
/// ```
/// assert_eq!(modest::media_type_of("style.css"), Some("text/css; charset=utf-8"));
/// assert_eq!(modest::media_type_of("style"), None);
/// ```
#[doc(alias = "guess_type")]
pub fn media_type_of(name: impl AsRef<[u8]>) -> Option<&'static str> {
    let name = name.as_ref();
    let extension = Path::new(OsStr::from_bytes(name)).extension().and_then(OsStr::to_str).map(str::to_lowercase);
    extension.as_deref().and_then(by_extension).or_else(|| by_name(name))
}

/// Returns whether content of this media type is text, or compresses as well as text. Parameters are ignored.
///
/// ```
/// assert!(modest::is_compressible("text/html; charset=utf-8") && !modest::is_compressible("image/png"));
/// ```
pub fn is_compressible(media_type: &str) -> bool {
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.starts_with("text/")
        || ["+json", "+xml", "+text", "+yaml"].iter().any(|suffix| media_type.ends_with(suffix))
        || matches!(
            media_type.as_str(),
            "application/json"
                | "application/x-ndjson"
                | "application/javascript"
                | "application/x-javascript"
                | "application/xml"
                | "application/xml-dtd"
                | "application/yaml"
                | "application/toml"
                | "application/sql"
                | "application/rtf"
                | "application/graphql"
                | "application/wasm"
                | "image/bmp"
                | "image/x-icon"
                | "image/vnd.microsoft.icon"
                | "font/ttf"
                | "font/otf"
        )
}

fn by_extension(extension: &str) -> Option<&'static str> {
    let row = TABLE.binary_search_by_key(&extension, |&(key, _)| key).ok()?;
    Some(TABLE[row].1)
}

/// Returns the type of a file whose name usually has no extension.
fn by_name(name: &[u8]) -> Option<&'static str> {
    const TEXTS: [&[u8]; 16] = [
        b"AUTHORS",
        b"CHANGELOG",
        b"CHANGES",
        b"CONTRIBUTORS",
        b"COPYING",
        b"COPYRIGHT",
        b"Containerfile",
        b"Dockerfile",
        b"INSTALL",
        b"LICENCE",
        b"LICENSE",
        b"Makefile",
        b"NEWS",
        b"NOTICE",
        b"README",
        b"TODO",
    ];
    match name {
        b"apple-app-site-association" => Some("application/json"),
        _ => TEXTS.contains(&name).then_some(PLAIN),
    }
}

/// Extension and type, sorted by extension.
#[rustfmt::skip]
const TABLE: &[(&str, &str)] = &[
    ("3g2", "video/3gpp2"),
    ("3gp", "video/3gpp"),
    ("3gpp", "video/3gpp"),
    ("3gpp2", "video/3gpp2"),
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("adoc", PLAIN),
    ("adts", "audio/aac"),
    ("ai", "application/postscript"),
    ("aif", "audio/aiff"),
    ("aifc", "audio/aiff"),
    ("aiff", "audio/aiff"),
    ("apk", "application/vnd.android.package-archive"),
    ("apng", "image/apng"),
    ("appcache", "text/cache-manifest; charset=utf-8"),
    ("appimage", "application/x-executable"),
    ("asc", PLAIN),
    ("atom", "application/atom+xml"),
    ("au", "audio/basic"),
    ("avi", "video/x-msvideo"),
    ("avif", "image/avif"),
    ("azw3", "application/vnd.amazon.ebook"),
    ("bash", PLAIN),
    ("bat", PLAIN),
    ("bin", "application/octet-stream"),
    ("bmp", "image/bmp"),
    ("br", "application/x-brotli"),
    ("bz2", "application/x-bzip2"),
    ("c", PLAIN),
    ("cc", PLAIN),
    ("cer", "application/pkix-cert"),
    ("cfg", PLAIN),
    ("cjs", "text/javascript; charset=utf-8"),
    ("conf", PLAIN),
    ("cpio", "application/x-cpio"),
    ("cpp", PLAIN),
    ("crl", "application/pkix-crl"),
    ("crt", "application/x-x509-ca-cert"),
    ("crx", "application/x-chrome-extension"),
    ("cs", PLAIN),
    ("csh", PLAIN),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("cue", PLAIN),
    ("cur", "image/x-icon"),
    ("dart", PLAIN),
    ("deb", "application/vnd.debian.binary-package"),
    ("diff", PLAIN),
    ("dmg", "application/x-apple-diskimage"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("dot", "application/msword"),
    ("dtd", "application/xml-dtd"),
    ("dvi", "application/x-dvi"),
    ("eml", "message/rfc822"),
    ("eot", "application/vnd.ms-fontobject"),
    ("eps", "application/postscript"),
    ("epub", "application/epub+zip"),
    ("exe", "application/vnd.microsoft.portable-executable"),
    ("flac", "audio/flac"),
    ("flv", "video/x-flv"),
    ("geojson", "application/geo+json"),
    ("gif", "image/gif"),
    ("glb", "model/gltf-binary"),
    ("gltf", "model/gltf+json"),
    ("go", PLAIN),
    ("gpx", "application/gpx+xml"),
    ("gz", "application/gzip"),
    ("h", PLAIN),
    ("h5", "application/x-hdf5"),
    ("har", "application/json"),
    ("hdf", "application/x-hdf"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("hpp", PLAIN),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("ics", "text/calendar; charset=utf-8"),
    ("ini", PLAIN),
    ("ipynb", "application/x-ipynb+json"),
    ("iso", "application/x-iso9660-image"),
    ("jar", "application/java-archive"),
    ("java", PLAIN),
    ("jpe", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("json5", "application/json5"),
    ("jsonld", "application/ld+json"),
    ("jsx", "text/javascript; charset=utf-8"),
    ("jxl", "image/jxl"),
    ("kml", "application/vnd.google-earth.kml+xml"),
    ("kmz", "application/vnd.google-earth.kmz"),
    ("kt", PLAIN),
    ("latex", PLAIN),
    ("less", PLAIN),
    ("loas", "audio/aac"),
    ("log", PLAIN),
    ("lua", PLAIN),
    ("lz4", "application/x-lz4"),
    ("m1v", "video/mpeg"),
    ("m2ts", "video/mp2t"),
    ("m3u", "audio/x-mpegurl"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4s", "video/iso.segment"),
    ("m4v", "video/mp4"),
    ("manifest", "text/cache-manifest; charset=utf-8"),
    ("map", "application/json"),
    ("markdown", "text/markdown; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("mht", "multipart/related"),
    ("mhtml", "multipart/related"),
    ("mid", "audio/midi"),
    ("midi", "audio/midi"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mka", "audio/x-matroska"),
    ("mkv", "video/x-matroska"),
    ("mobi", "application/x-mobipocket-ebook"),
    ("mov", "video/quicktime"),
    ("movie", "video/x-sgi-movie"),
    ("mp2", "audio/mpeg"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpa", "video/mpeg"),
    ("mpd", "application/dash+xml"),
    ("mpe", "video/mpeg"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("msi", "application/x-msi"),
    ("n3", "text/n3; charset=utf-8"),
    ("nc", "application/x-netcdf"),
    ("ndjson", "application/x-ndjson"),
    ("nfo", PLAIN),
    ("nq", "application/n-quads"),
    ("nt", "application/n-triples"),
    ("obj", "model/obj"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opml", "text/x-opml; charset=utf-8"),
    ("opus", "audio/ogg"),
    ("org", PLAIN),
    ("otf", "font/otf"),
    ("p12", "application/x-pkcs12"),
    ("p7c", "application/pkcs7-mime"),
    ("parquet", "application/vnd.apache.parquet"),
    ("patch", PLAIN),
    ("pbm", "image/x-portable-bitmap"),
    ("pdf", "application/pdf"),
    ("pem", "application/x-pem-file"),
    ("pfx", "application/x-pkcs12"),
    ("pgm", "image/x-portable-graymap"),
    ("php", PLAIN), // sent as source code, because this server does not run it
    ("pl", PLAIN),
    ("png", "image/png"),
    ("pnm", "image/x-portable-anymap"),
    ("pot", "application/vnd.ms-powerpoint"),
    ("ppm", "image/x-portable-pixmap"),
    ("pps", "application/vnd.ms-powerpoint"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("ps", "application/postscript"),
    ("ps1", PLAIN),
    ("psd", "image/vnd.adobe.photoshop"),
    ("py", PLAIN),
    ("qt", "video/quicktime"),
    ("ra", "audio/x-pn-realaudio"),
    ("rar", "application/vnd.rar"),
    ("ras", "image/x-cmu-raster"),
    ("rb", PLAIN),
    ("rdf", "application/rdf+xml"),
    ("rpm", "application/x-rpm"),
    ("rs", PLAIN),
    ("rss", "application/rss+xml"),
    ("rst", PLAIN),
    ("rtf", "application/rtf"),
    ("rtx", "text/richtext; charset=utf-8"),
    ("sass", PLAIN),
    ("scss", PLAIN),
    ("sgml", "text/sgml; charset=utf-8"),
    ("sh", PLAIN),
    ("sha256", PLAIN),
    ("snd", "audio/basic"),
    ("sql", PLAIN),
    ("sqlite", "application/vnd.sqlite3"),
    ("srt", PLAIN),
    ("stl", "model/stl"),
    ("svg", "image/svg+xml"),
    ("swf", "application/x-shockwave-flash"),
    ("swift", PLAIN),
    ("tar", "application/x-tar"),
    ("tcl", PLAIN),
    ("tex", PLAIN),
    ("tgz", "application/gzip"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("toml", PLAIN),
    ("torrent", "application/x-bittorrent"),
    ("trig", "application/trig"),
    ("ts", "video/mp2t"), // MPEG transport streams; a served folder checks whether the file is TypeScript
    ("tsv", "text/tab-separated-values; charset=utf-8"),
    ("tsx", PLAIN),
    ("ttc", "font/collection"),
    ("ttf", "font/ttf"),
    ("txt", PLAIN),
    ("usdz", "model/vnd.usdz+zip"),
    ("vcf", "text/vcard; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("vue", PLAIN),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("whl", "application/zip"),
    ("wma", "audio/x-ms-wma"),
    ("wmv", "video/x-ms-wmv"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("wsdl", "application/xml"),
    ("xbm", "image/x-xbitmap"),
    ("xhtml", "application/xhtml+xml"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", "text/xml; charset=utf-8"),
    ("xpi", "application/x-xpinstall"),
    ("xpm", "image/x-xpixmap"),
    ("xsd", "text/xml; charset=utf-8"),
    ("xsl", "text/xsl; charset=utf-8"),
    ("xslt", "application/xslt+xml"),
    ("xwd", "image/x-xwindowdump"),
    ("xz", "application/x-xz"),
    ("yaml", PLAIN),
    ("yml", PLAIN),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
        }
        for (_, media_type) in TABLE {
            assert!(!media_type.starts_with("text/") || media_type.ends_with("; charset=utf-8"), "{media_type}");
        }
    }
}
