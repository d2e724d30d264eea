//! What the admin server answers: fixed paths, matched whole. Bodies are not read and queries are ignored.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::{Served, callers};

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

const INDEX: &str = "\
tidewatch

/metrics   metrics, as Prometheus text
/dataflow  operators and channels with live figures, as JSON
/healthz   200 while the process lives
/readyz    200 while the dataflow runs
";

/// Answers `request`.
pub(super) fn respond(request: &Request<Incoming>, served: &Served) -> Response<Full<Bytes>> {
    let Served { metrics, readiness, hosts } = served;
    if let Some((status, text)) = callers::refuse(request, hosts) {
        return answer(status, TEXT, text);
    }
    // The body of an answer to HEAD is left out by the server, its headers are the same.
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => answer(StatusCode::OK, TEXT, INDEX.into()),
        "/healthz" => answer(StatusCode::OK, TEXT, "alive\n".into()),
        "/readyz" => {
            let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            answer(status, TEXT, format!("{}\n", readiness.as_str()))
        }
        "/metrics" => match metrics.render() {
            Ok(text) => answer(StatusCode::OK, METRICS_TEXT, text),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        "/dataflow" => answer(StatusCode::OK, JSON, metrics.dataflow_json().to_string()),
        _ => answer(StatusCode::NOT_FOUND, TEXT, format!("no such page\n\n{INDEX}")),
    }
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
