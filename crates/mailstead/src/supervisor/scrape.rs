//! `mailstead metrics`: what the servers count, over HTTP, for Prometheus and who speaks as it does.
//!
//! It is a process of its own, without the supervisor's rights, and asks it on the control socket.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use prometheus::TEXT_FORMAT;
use server_core::{BoundListener, Connection, Refusals, ServerContext};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::control::fetch;
use super::metrics::in_prometheus_format;

/// Told to a client over a limit. Nobody logs in here.
const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const REFUSALS: Refusals = Refusals {
    too_many: Cow::Borrowed(UNAVAILABLE),
    too_many_there: Cow::Borrowed(UNAVAILABLE),
    banned: Cow::Borrowed(UNAVAILABLE),
};
/// How long a client may take for its request and for the answer to it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of a request's head: at least hyper's least, 8 KiB.
const MAX_HEAD: usize = 8 << 10;

/// Serves until the context drains.
pub(crate) async fn serve_metrics(
    context: ServerContext,
    sockets: Vec<BoundListener>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let control = context.config.control_socket();
    server_core::serve(sockets, context, REFUSALS, move |connection| scraped(connection, control.clone()))
        .await;
    Ok(())
}

/// One request, one answer.
async fn scraped(connection: Connection, control: PathBuf) {
    let service = service_fn(|request: Request<Incoming>| {
        let control = control.clone();
        async move { Ok::<_, Infallible>(answer(request.method(), request.uri().path(), control).await) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(MAX_HEAD);
    match timeout(PATIENCE, http.serve_connection(TokioIo::new(connection.stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "the client's request broke off"),
        Err(_) => debug!("the client is too slow"),
    }
}

async fn answer(method: &Method, path: &str, control: PathBuf) -> Response<Full<Bytes>> {
    if path != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "The metrics are at /metrics\n");
    }
    // RFC 9110 §9.1.
    if ![Method::GET, Method::HEAD].contains(method) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "GET is all that can be done here\n");
        refusal.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let text = spawn_blocking(move || anyhow::Ok(in_prometheus_format(&fetch(&control)?)?));
    match text.await.map_err(anyhow::Error::new).flatten() {
        Ok(text) => typed(StatusCode::OK, TEXT_FORMAT, text),
        Err(error) => {
            warn!("the supervisor can't be asked what the servers count: {error:#}");
            plain(StatusCode::SERVICE_UNAVAILABLE, "The servers can't be asked now; the log says why\n")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text.to_owned())
}

fn typed(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
