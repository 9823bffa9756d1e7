//! The web client: files that were put into the binary when it was built, and the headers they are served with.
//!
//! Deliberately does not: know what is in them. Without them a plain page says how to get them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use client_wire::error::ApiError;

use crate::{App, GatewayConfig, rest};

/// A file of the built web client, with the forms of it that were compressed beforehand.
#[derive(Debug, Clone, Copy)]
struct File {
    /// As in a URL, with the first slash.
    path: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
    brotli: Option<&'static [u8]>,
    /// Of the plain form.
    hash: &'static str,
}

/// Sorted by path.
#[derive(Debug, Clone, Copy)]
struct Site(&'static [File]);

const SITE: Site = Site(include!(concat!(env!("OUT_DIR"), "/web.rs")));

/// Where a page of the client may be, its own routes included, everything is but what is asked for by programs.
const NOT_PAGES: [&str; 7] =
    ["/api", "/assets", "/client.json", "/gateway", "/healthz", "/metrics", "/voice"];

/// Whoever asks for a path that nothing else answers.
pub async fn serve(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        return not_found();
    }
    SITE.answer(uri.path(), &headers, &app)
}

/// The client's first page.
pub fn index(app: &App, headers: &HeaderMap) -> Response<Body> {
    SITE.answer("/", headers, app)
}

impl Site {
    fn answer(self, path: &str, headers: &HeaderMap, app: &App) -> Response<Body> {
        let mut response = match self.find(path, headers) {
            Found::File(file) => file.answer(headers),
            Found::NotBuilt => page(include_str!("page.html")),
            Found::Nothing => return not_found(),
        };
        guard(response.headers_mut(), &app.config);
        response
    }

    fn find(self, path: &str, headers: &HeaderMap) -> Found {
        let path = if path == "/" { "/index.html" } else { path };
        if let Some(file) = self.file(path) {
            return Found::File(file);
        }
        if path != "/index.html" && !is_page(path, headers) {
            return Found::Nothing;
        }
        // The client's own routes are all shown by its one page.
        self.file("/index.html").map_or(Found::NotBuilt, Found::File)
    }

    fn file(self, path: &str) -> Option<File> {
        self.0.binary_search_by(|file| file.path.cmp(path)).ok().map(|at| self.0[at])
    }
}

enum Found {
    File(File),
    NotBuilt,
    Nothing,
}

impl File {
    fn answer(self, headers: &HeaderMap) -> Response<Body> {
        let (encoding, bytes) = self.form(headers);
        let etag = format!("\"{}-{}\"", self.hash, encoding.unwrap_or("plain"));
        let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
        let is_known = known
            .is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == etag));
        let mut response = Response::new(if is_known { Body::empty() } else { Body::from(bytes) });
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(self.path)));
        headers.insert(
            header::ETAG,
            HeaderValue::try_from(etag).expect("digits, letters and quotes are a header's"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.caching()));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    }

    /// The smallest form that the browser can read.
    fn form(self, headers: &HeaderMap) -> (Option<&'static str>, &'static [u8]) {
        let accepted =
            headers.get(header::ACCEPT_ENCODING).and_then(|text| text.to_str().ok()).unwrap_or_default();
        let forms = [("br", self.brotli), ("gzip", self.gzip)];
        forms
            .into_iter()
            .filter(|(name, _)| accepts(accepted, name))
            .find_map(|(name, bytes)| bytes.map(|bytes| (Some(name), bytes)))
            .unwrap_or((None, self.plain))
    }

    /// What is under /assets/ has a hash of its content in its name, so that its content never changes.
    fn caching(self) -> &'static str {
        if self.path.starts_with("/assets/") { "public, max-age=31536000, immutable" } else { "no-cache" }
    }
}

/// Whether a list of encodings names this one, and not only to forbid it (RFC 9110, section 12.5.3).
fn accepts(list: &str, name: &str) -> bool {
    list.split(',').any(|one| {
        let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
        let is_forbidden =
            weight.trim().strip_prefix("q=").is_some_and(|q| q.parse().is_ok_and(|q: f32| q == 0.0));
        coding.trim().eq_ignore_ascii_case(name) && !is_forbidden
    })
}

fn is_page(path: &str, headers: &HeaderMap) -> bool {
    let is_under =
        |place: &str| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let accept = headers.get(header::ACCEPT).and_then(|text| text.to_str().ok()).unwrap_or_default();
    accept.contains("text/html") && !NOT_PAGES.iter().any(|place| is_under(place))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "ogg" => "audio/ogg",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// What the page may do: use its own scripts and styles, and connect to its own origin, to the gateway where that is
/// elsewhere, and to voice servers where it speaks to them directly.
fn guard(headers: &mut HeaderMap, config: &GatewayConfig) {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
         font-src 'self'; media-src 'self' blob:; manifest-src 'self'; worker-src 'self'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'; connect-src 'self'";
    let elsewhere = [config.public_url.as_deref(), config.voice.is_none().then_some("wss:")];
    let elsewhere: String = elsewhere.into_iter().flatten().map(|place| format!(" {place}")).collect();
    // An address that is none in a header has been refused nowhere yet; without it the page does less, not more.
    let policy = HeaderValue::try_from(format!("{POLICY}{elsewhere}"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.unwrap_or(HeaderValue::from_static(POLICY)));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

fn page(text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type("page.html")));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn not_found() -> Response<Body> {
    rest::error(ApiError::new(404, 0, "404: Not Found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: Site = Site(&[
        File {
            path: "/assets/a-1234.js",
            plain: b"plain",
            gzip: Some(b"gzip"),
            brotli: Some(b"brotli"),
            hash: "aa",
        },
        File { path: "/favicon.ico", plain: b"icon", gzip: None, brotli: None, hash: "bb" },
        File { path: "/index.html", plain: b"index", gzip: None, brotli: None, hash: "cc" },
    ]);

    fn headers(list: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_path_is_a_file_or_a_page_of_the_client_or_nothing() {
        let check = |site: Site, path: &str, accept: &'static str, expect: &str| {
            let found = match site.find(path, &headers(&[(header::ACCEPT, accept)])) {
                Found::File(file) => file.path,
                Found::NotBuilt => "not built",
                Found::Nothing => "nothing",
            };
            assert_eq!(found, expect, "{path} {accept}");
        };
        let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
        check(BUILT, "/", "*/*", "/index.html");
        check(BUILT, "/assets/a-1234.js", "*/*", "/assets/a-1234.js");
        check(BUILT, "/favicon.ico", "image/*", "/favicon.ico");
        check(BUILT, "/guild/7", browser, "/index.html");
        check(BUILT, "/apiary", browser, "/index.html");
        check(BUILT, "/guild/7", "application/json", "nothing");
        check(BUILT, "/api/v10/nothing", browser, "nothing");
        check(BUILT, "/api", browser, "nothing");
        check(BUILT, "/metrics/x", browser, "nothing");
        check(BUILT, "/assets/old-9999.js", browser, "nothing");
        check(BUILT, "/../Cargo.toml", "*/*", "nothing");
        check(Site(&[]), "/", "*/*", "not built");
        check(Site(&[]), "/guild/7", browser, "not built");
        check(Site(&[]), "/guild/7", "*/*", "nothing");
    }

    #[test]
    fn the_smallest_form_that_is_accepted_goes_out() {
        let asset = BUILT.0[0];
        let check = |accepted: &'static str, encoding: Option<&str>| {
            let (name, _) = asset.form(&headers(&[(header::ACCEPT_ENCODING, accepted)]));
            assert_eq!(name, encoding, "{accepted}");
        };
        check("gzip, deflate, br, zstd", Some("br"));
        check("gzip", Some("gzip"));
        check("br;q=0, GZIP;q=0.5", Some("gzip"));
        check("br;q=0.0, gzip; q=0", None);
        check("", None);
        assert_eq!(BUILT.0[2].form(&headers(&[(header::ACCEPT_ENCODING, "br")])).0, None);
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let asset = BUILT.0[0];
        let first = asset.answer(&HeaderMap::new());
        assert_eq!(first.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        assert_eq!(BUILT.0[2].answer(&HeaderMap::new()).headers()[header::CACHE_CONTROL], "no-cache");
        assert_eq!(first.headers()[header::ETAG], "\"aa-plain\"");
        let again = |list| asset.answer(&headers(list)).status();
        assert_eq!(again(&[(header::IF_NONE_MATCH, "\"zz\", W/\"aa-plain\"")]), StatusCode::NOT_MODIFIED);
        assert_eq!(again(&[(header::IF_NONE_MATCH, "\"zz\"")]), StatusCode::OK);
        let other_form = &[(header::IF_NONE_MATCH, "\"aa-plain\""), (header::ACCEPT_ENCODING, "gzip")];
        assert_eq!(again(other_form), StatusCode::OK, "another form is another text");
    }

    #[test]
    fn the_files_in_the_binary_can_be_searched() {
        assert!(SITE.0.is_sorted_by_key(|file| file.path));
        assert!(BUILT.0.is_sorted_by_key(|file| file.path));
    }
}
