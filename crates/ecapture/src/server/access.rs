//! Who may talk to a server, and how much: token, origin, host, rate.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, HOST, ORIGIN, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use tokio::time::timeout;

/// Requests that may come at once, and how many are allowed again each second.
const BURST: f64 = 200.0;
const RATE: f64 = 100.0;

/// How long a request may take until its answer begins.
const PATIENCE: Duration = Duration::from_secs(15);

/// Shorter tokens could be guessed.
const TOKEN_LEAST: usize = 16;

/// A secret that clients have to know.
#[derive(Clone)]
pub struct Token(Vec<u8>);

/// What is asked of every request.
pub struct Access {
    token: Option<Token>,
    /// Origins whose pages are served, besides those of this machine.
    origins: Vec<String>,
    /// Without a token, names in `Host` must be of this machine: a page could give its own name our address.
    only_local_names: bool,
    budget: Mutex<(f64, Instant)>,
    refused: AtomicU64,
}

impl Token {
    /// Reads the first line of a file.
    ///
    /// # Errors
    /// The file can not be read, others can read it, or what it has is too short.
    pub fn read(path: &Path) -> io::Result<Self> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            return Err(invalid("others can read it; chmod 600".to_owned()));
        }
        let text = fs::read_to_string(path)?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.len() < TOKEN_LEAST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid(format!(
                "a token has at least {TOKEN_LEAST} characters of ASCII; `openssl rand -hex 32` makes one"
            )));
        }
        Ok(Self(token.as_bytes().to_vec()))
    }

    /// Takes the same time wherever they differ.
    fn is(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Access {
    /// For a listener; `is_unix`: at a Unix socket, where `Host` says nothing.
    pub fn new(token: Option<Token>, origins: Vec<String>, is_unix: bool) -> Self {
        let only_local_names = token.is_none() && !is_unix;
        let budget = Mutex::new((BURST, Instant::now()));
        Self { token, origins, only_local_names, budget, refused: AtomicU64::new(0) }
    }

    /// Whether whoever passes is our own user, or knows the token.
    pub fn is_private(&self) -> bool {
        !self.only_local_names
    }

    /// How many requests were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The answer to a request that is refused.
    fn refusal(&self, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
        if !self.has_budget() {
            let later = [(RETRY_AFTER, "1")];
            return Some((StatusCode::TOO_MANY_REQUESTS, later, "too many requests\n").into_response());
        }
        let forbidden = |why: &'static str| Some((StatusCode::FORBIDDEN, why).into_response());
        let host = uri.authority().map(|authority| authority.as_str()).or_else(|| text(headers.get(HOST)));
        if self.only_local_names && !host.is_some_and(|host| is_local_name(name_of(host))) {
            return forbidden("Host is not a name of this machine\n");
        }
        let origin = headers.get(ORIGIN);
        if origin.is_some() && !text(origin).is_some_and(|origin| self.allows(origin)) {
            return forbidden("pages of this origin need --allow-origin\n");
        }
        let token = self.token.as_ref()?;
        if bearer(headers).is_some_and(|given| token.is(given)) {
            return None;
        }
        let scheme = [(WWW_AUTHENTICATE, "Bearer")];
        Some((StatusCode::UNAUTHORIZED, scheme, "a token is needed\n").into_response())
    }

    /// Programs of this machine name it as their origin, ecaptureQ among them.
    fn allows(&self, origin: &str) -> bool {
        let is_local = origin
            .split_once("://")
            .is_some_and(|(_, host)| is_local_name(name_of(host.trim_end_matches('/'))));
        is_local || self.origins.iter().any(|allowed| allowed == origin || allowed == "*")
    }

    fn has_budget(&self) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = now.duration_since(budget.1).as_secs_f64() * RATE;
        *budget = ((budget.0 + earned).min(BURST), now);
        let is_enough = budget.0 >= 1.0;
        if is_enough {
            budget.0 -= 1.0;
        }
        is_enough
    }
}

/// Checks a request before anything else looks at it.
pub async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    if let Some(refusal) = access.refusal(request.uri(), request.headers()) {
        access.refused.fetch_add(1, Ordering::Relaxed);
        return refusal;
    }
    let origin = request.headers().get(ORIGIN).cloned();
    match timeout(PATIENCE, next.run(request)).await {
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "took too long\n").into_response(),
        Ok(mut response) => {
            if let Some(origin) = origin {
                response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                response.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
            }
            response
        }
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    if let Some((name, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return name;
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn is_local_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(access: &Access, headers: &[(&'static str, &str)]) -> u16 {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
            })
            .collect();
        access.refusal(&Uri::from_static("/status"), &headers).map_or(200, |it| it.status().as_u16())
    }

    #[test]
    fn pages_of_others_are_refused() {
        let access = Access::new(None, vec!["https://a.example".to_owned()], false);
        for (origin, expected) in [
            ("http://localhost/", 200), // ecaptureQ
            ("http://127.0.0.1:3000", 200),
            ("http://[::1]:3000", 200),
            ("https://a.example", 200),
            ("https://b.example", 403),
            ("https://localhost.b.example", 403),
            ("https://a.example.b.example", 403),
            ("null", 403),
            ("", 403),
        ] {
            assert_eq!(status(&access, &[("host", "localhost:1"), ("origin", origin)]), expected, "{origin}");
        }
    }

    #[test]
    fn names_of_others_are_refused() {
        let access = Access::new(None, Vec::new(), false);
        for (host, expected) in [
            ("localhost", 200),
            ("127.0.0.1:28256", 200),
            ("[::1]:28256", 200),
            ("rebound.example:28256", 403),
            ("10.0.0.1:28256", 403),
        ] {
            assert_eq!(status(&access, &[("host", host)]), expected, "{host}");
        }
        assert_eq!(status(&access, &[]), 403);
        assert_eq!(status(&Access::new(None, Vec::new(), true), &[]), 200);
    }

    #[test]
    fn a_token_is_asked_for() {
        let token = Token(b"0123456789abcdef".to_vec());
        let access = Access::new(Some(token), Vec::new(), false);
        for (given, expected) in [
            ("Bearer 0123456789abcdef", 200),
            ("bearer 0123456789abcdef", 200),
            ("Bearer 0123456789abcdeF", 401),
            ("Bearer 0123456789abcde", 401),
            ("Bearer 0123456789abcdef0", 401),
            ("Bearer ", 401),
            ("Basic", 401),
        ] {
            assert_eq!(status(&access, &[("authorization", given)]), expected, "{given}");
        }
        assert_eq!(status(&access, &[]), 401);
    }

    #[test]
    fn too_many_requests_are_refused() {
        let access = Access::new(None, Vec::new(), true);
        let refused = (0..2000).filter(|_| status(&access, &[]) == 429).count();
        assert!((1000..=1800).contains(&refused), "{refused}");
    }

    #[test]
    fn tokens_are_kept_from_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let with = |text: &str, mode| {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            Token::read(&path)
        };
        assert!(with("0123456789abcdef\n", 0o600).expect("a token").is(b"0123456789abcdef"));
        assert!(with("0123456789abcdef\n", 0o644).is_err());
        assert!(with("0123456789abcde\n", 0o600).is_err());
        assert!(with("0123456789 abcdef\n", 0o600).is_err());
    }
}
