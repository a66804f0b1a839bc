//! The control API: eCapture's routes for reconfiguration, and status, metrics, records and the end of a run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::hub::Hub;
use super::{Counts, lines, report};
use crate::status::Board;

/// Longest body.
const BODY: usize = 64 << 10;

/// How long the capture may take to change.
const PATIENCE: Duration = Duration::from_secs(10);

/// The description of all routes.
pub const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// What a route reconfigures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// `tls`.
    Tls,
    /// `gotls`.
    Gotls,
    /// `gnutls`.
    Gnutls,
    /// `nspr`.
    Nspr,
    /// `bash`.
    Bash,
    /// `zsh`.
    Zsh,
    /// `mysqld`.
    Mysqld,
    /// `postgres`.
    Postgres,
}

/// Names of routes, all that eCapture has among them.
const ROUTES: [(&str, Module); 12] = [
    ("tls", Module::Tls),
    ("openssl", Module::Tls),
    ("boringssl", Module::Tls),
    ("gotls", Module::Gotls),
    ("gnutls", Module::Gnutls),
    ("nss", Module::Nspr),
    ("nspr", Module::Nspr),
    ("bash", Module::Bash),
    ("zsh", Module::Zsh),
    ("mysqld", Module::Mysqld),
    ("postgress", Module::Postgres), // as eCapture 1 spells it
    ("postgres", Module::Postgres),
];

/// A change that was asked for.
pub struct Change {
    /// Of what.
    pub module: Module,
    /// What is to be different.
    pub body: Map<String, Value>,
    /// Whether only our own user, or who knows the token, can have asked: other users must not have files written.
    pub is_trusted: bool,
    /// Takes what became of it.
    pub answer: Answer,
}

/// Takes what became of a change, once.
pub type Answer = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Something else is captured.
    NotCaptured(String),
    /// The body asks for what can not be.
    Invalid(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotCaptured(why) | Self::Invalid(why)) = self;
        f.write_str(why)
    }
}

/// How the server reaches the capture. Nothing here waits.
pub struct Handles {
    /// Asks for a change; answers whether there was room for it.
    pub change: Box<dyn Fn(Change) -> bool + Send + Sync>,
    /// Asks for the end of the run.
    pub stop: Box<dyn Fn() + Send + Sync>,
    /// What is captured.
    pub module: Module,
    /// What is known of the run.
    pub board: Arc<Board>,
}

/// What the routes need.
pub(super) struct Control {
    pub handles: Handles,
    pub lines: Arc<Hub>,
    pub counts: Counts,
    /// Of those who ask.
    pub are_trusted: bool,
}

/// The answer of eCapture. `data` says why, where something was refused.
#[derive(Serialize)]
struct Reply {
    code: u8,
    module_type: &'static str,
    msg: &'static str,
    data: Option<String>,
}

impl Module {
    /// As in answers of eCapture 2.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls => "openssl",
            Self::Gotls => "gotls",
            Self::Gnutls => "gnutls",
            Self::Nspr => "nspr",
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Mysqld => "mysql",
            Self::Postgres => "postgres",
        }
    }
}

pub(super) fn router(control: Arc<Control>) -> Router {
    let text = |text: &'static str, kind: &'static str| move || async move { ([(CONTENT_TYPE, kind)], text) };
    Router::new()
        .route("/status", get(|State(it): State<Arc<Control>>| async move { Json(report::status(&it)) }))
        .route("/metrics", get(metrics))
        .route("/events", get(|State(it): State<Arc<Control>>| async move { lines::answer(&it.lines) }))
        .route("/openapi.json", get(text(OPENAPI, "application/json")))
        .route("/stop", post(stop))
        .route("/{module}", post(reconfigure))
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found") })
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(control)
}

async fn metrics(State(control): State<Arc<Control>>) -> Response {
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, report::metrics(&control)).into_response()
}

async fn stop(State(control): State<Arc<Control>>) -> Response {
    (control.handles.stop)();
    reply(control.handles.module, StatusCode::OK, (0, "RespOK"), None)
}

async fn reconfigure(State(control): State<Arc<Control>>, Path(name): Path<String>, body: Bytes) -> Response {
    let Some((_, module)) = ROUTES.iter().find(|(route, _)| *route == name) else {
        return (StatusCode::NOT_FOUND, "404 page not found").into_response();
    };
    let refuse = |status, code, why| reply(*module, status, code, Some(why));
    let body = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => {
            let why = format!("not a JSON object: {error}");
            return refuse(StatusCode::BAD_REQUEST, (4, "RespConfigDecodeFailed"), why);
        }
    };
    let (sender, answer) = oneshot::channel();
    // Nobody is left to tell when the client has gone.
    let answer_to = Box::new(|result| drop(sender.send(result)));
    let change = Change { module: *module, body, is_trusted: control.are_trusted, answer: answer_to };
    if !(control.handles.change)(change) {
        let why = "too many changes wait".to_owned();
        return refuse(StatusCode::SERVICE_UNAVAILABLE, (6, "RespSendToChanFailed"), why);
    }
    match timeout(PATIENCE, answer).await {
        Ok(Ok(Ok(()))) => reply(*module, StatusCode::OK, (0, "RespOK"), None),
        Ok(Ok(Err(refusal))) => {
            let code = match refusal {
                Refusal::NotCaptured(_) => (3, "RespErrorNotFound"),
                Refusal::Invalid(_) => (5, "RespConfigCheckFailed"),
            };
            refuse(StatusCode::BAD_REQUEST, code, refusal.to_string())
        }
        Ok(Err(_)) | Err(_) => {
            let why = "the capture does not answer: it ends, or waits for an output".to_owned();
            refuse(StatusCode::INTERNAL_SERVER_ERROR, (2, "RespErrorInternalServer"), why)
        }
    }
}

fn reply(
    module: Module,
    status: StatusCode,
    (code, msg): (u8, &'static str),
    data: Option<String>,
) -> Response {
    (status, Json(Reply { code, module_type: module.name(), msg, data })).into_response()
}
