//! `POST /v1/{group}`: many keys in one request, answered in the order asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::path::{self, BadKey};
use super::problem::Problem;
use super::route::Router;
use crate::http::{Reply, with_type};
use crate::topology::model::group::Group;

/// The bounds of such a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_body_bytes: u64,
    pub(super) max_keys: usize,
    /// Bytes of all values together.
    pub(super) max_value_bytes: u64,
    pub(super) body_timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    keys: Vec<String>,
}

#[derive(Serialize)]
struct Answered {
    results: Vec<One>,
}

#[derive(Serialize)]
struct One {
    key: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// Reads the keys and looks all of them up at once, by `until` at the latest.
///
/// Values that would come beyond `max_value_bytes` are let go as they arrive and reported as too large
/// together, so that a short request cannot ask for all the memory there is. JSON writes a control
/// byte as six.
pub(super) async fn answer(
    router: &Router,
    group: &Group,
    body: Incoming,
    limits: Limits,
    until: Instant,
) -> Reply {
    let asked = match read(body, limits).await {
        Ok(asked) => asked,
        Err(problem) => return problem.reply(),
    };
    let left = AtomicU64::new(limits.max_value_bytes);
    let one = async |key: String| {
        let value = look_up(router, group, &key, until).await;
        One::new(key, value.and_then(|value| fits(value, &left)))
    };
    let results = join_all(asked.keys.into_iter().map(one)).await;
    let mut body =
        serde_json::to_vec(&Answered { results }).expect("strings and numbers always serialize");
    body.push(b'\n');
    with_type(StatusCode::OK, "application/json", body)
}

async fn read(body: Incoming, limits: Limits) -> Result<Asked, Problem> {
    let max = usize::try_from(limits.max_body_bytes).unwrap_or(usize::MAX);
    if body.size_hint().lower() > limits.max_body_bytes {
        return Err(Problem::body_too_large(limits.max_body_bytes));
    }
    let whole = timeout(limits.body_timeout, Limited::new(body, max).collect())
        .await
        .map_err(|_| Problem::body_too_slow())?
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                Problem::body_too_large(limits.max_body_bytes)
            } else {
                Problem::bad_body("the body ended early".into())
            }
        })?;
    let asked: Asked = serde_json::from_slice(&whole.to_bytes())
        .map_err(|error| Problem::bad_body(format!("{error}; expected {{\"keys\": [\"…\"]}}")))?;
    if asked.keys.len() > limits.max_keys {
        return Err(Problem::bad_body(format!(
            "{} keys; at most {} are allowed",
            asked.keys.len(),
            limits.max_keys
        )));
    }
    Ok(asked)
}

/// The value, if it fits into what is left for values.
fn fits(value: Bytes, left: &AtomicU64) -> Result<Bytes, Problem> {
    let size = value.len() as u64;
    let taken = left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(size)
    });
    taken
        .map(|_| value)
        .map_err(|_| Problem::values_too_large())
}

impl One {
    fn new(key: String, looked_up: Result<Bytes, Problem>) -> Self {
        let mut one = Self {
            key,
            status: StatusCode::OK.as_u16(),
            value: None,
            value_base64: None,
            problem: None,
        };
        match looked_up {
            Ok(value) => match String::from_utf8(value.into()) {
                Ok(text) => one.value = Some(text),
                Err(binary) => one.value_base64 = Some(STANDARD.encode(binary.as_bytes())),
            },
            Err(problem) => {
                one.status = problem.status().as_u16();
                one.problem = Some(problem);
            }
        }
        one
    }
}

async fn look_up(
    router: &Router,
    group: &Group,
    key: &str,
    until: Instant,
) -> Result<Bytes, Problem> {
    path::check(key.as_bytes()).map_err(|error: BadKey| Problem::bad_key(&error))?;
    let key = Bytes::copy_from_slice(key.as_bytes());
    let busy = || router.retry_after(group);
    let routed = router
        .get(group, key, until)
        .await
        .map_err(|reason| Problem::no_answer(reason, busy))?;
    match Problem::of_answer(&routed.reply.answer, &group.name, busy) {
        Some(problem) => Err(problem),
        None => Ok(routed.reply.value),
    }
}
