//! A small HTTP client for the command line: one request, one answer, one deadline. `identity` asks a
//! task's metadata with it, too.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// How long an answer may take, and how large it may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From the first byte of the connection to the last of the answer.
    pub deadline: Duration,
    /// The largest body.
    pub body_bytes: usize,
}

/// A command waits longer than any deadline a server has by default, and takes any value.
const OF_COMMANDS: Bounds = Bounds {
    deadline: Duration::from_secs(30),
    body_bytes: 256 << 20,
};

/// No answer came.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be used.
    #[error("{url:?} is not a usable URL: {reason}; give for example http://127.0.0.1:9999")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answered.
    #[error("no answer from {url}: {reason}")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// What happened.
        reason: String,
    },
}

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

/// The URL of a key.
#[must_use]
pub fn key_url(base: &str, group: &str, key: &[u8]) -> String {
    let base = base.trim_end_matches('/');
    format!("{base}/v1/{}/{}", escape(group.as_bytes()), escape(key))
}

/// The bytes as a part of a URL's path.
pub fn escape(bytes: &[u8]) -> impl std::fmt::Display {
    percent_encode(bytes, RESERVED)
}

/// Sends one request without a body and reads the whole answer, within 30 s.
///
/// # Errors
/// [`ClientError`]; an answer with an error status is an answer.
pub async fn ask(method: Method, url: &str) -> Result<Answer, ClientError> {
    ask_within(method, url, OF_COMMANDS).await
}

/// Sends one request without a body and reads the whole answer, within `bounds`.
///
/// # Errors
/// [`ClientError`]; an answer with an error status is an answer.
pub async fn ask_within(method: Method, url: &str, bounds: Bounds) -> Result<Answer, ClientError> {
    let bad_url = |reason: String| ClientError::Url {
        url: url.to_owned(),
        reason,
    };
    let uri: Uri = url
        .parse()
        .map_err(|error: http::uri::InvalidUri| bad_url(error.to_string()))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(bad_url("it must begin with http:// and name a host".into()));
    }
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .body(Empty::<Bytes>::new())
        .map_err(|error| bad_url(error.to_string()))?;
    let no_answer = |reason: String| ClientError::NoAnswer {
        url: url.to_owned(),
        reason,
    };
    let exchange = async {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = client
            .request(request)
            .await
            .map_err(|error| no_answer(explain(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), bounds.body_bytes);
        let body = body
            .collect()
            .await
            .map_err(|error| no_answer(error.to_string()))?
            .to_bytes();
        Ok(Answer { status, body })
    };
    tokio::time::timeout(bounds.deadline, exchange)
        .await
        .unwrap_or_else(|_| Err(no_answer(format!("nothing within {:?}", bounds.deadline))))
}

/// The innermost reason: the outer ones only say that a connection failed.
fn explain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_fits_in_a_url() {
        assert_eq!(
            key_url("http://h:1/", "my-scores", b"a/b \xff%.~"),
            "http://h:1/v1/my-scores/a%2Fb%20%FF%25.~"
        );
    }
}
