//! `POST /v1/{group}`: many keys in one request, answered in the order asked.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::path::{self, BadKey};
use super::problem::Problem;
use super::route::Router;
use crate::http::{Reply, with_type};
use crate::topology::group::Group;

/// The bounds of such a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_body_bytes: u64,
    pub(super) max_keys: usize,
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
    let results = join_all(
        asked
            .keys
            .into_iter()
            .map(|key| one(router, group, key, until)),
    )
    .await;
    let body =
        serde_json::to_vec(&Answered { results }).expect("strings and numbers always serialize");
    with_type(StatusCode::OK, "application/json", body)
}

async fn read(body: Incoming, limits: Limits) -> Result<Asked, Problem> {
    let max = usize::try_from(limits.max_body_bytes).unwrap_or(usize::MAX);
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

async fn one(router: &Router, group: &Group, key: String, until: Instant) -> One {
    let looked_up = look_up(router, group, &key, until).await;
    let mut one = One {
        key,
        status: 200,
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

async fn look_up(
    router: &Router,
    group: &Group,
    key: &str,
    until: Instant,
) -> Result<Bytes, Problem> {
    path::check(key.as_bytes()).map_err(|error: BadKey| Problem::bad_key(&error))?;
    let key = Bytes::copy_from_slice(key.as_bytes());
    let routed = router
        .get(group, key, until)
        .await
        .map_err(Problem::no_answer)?;
    match Problem::of_answer(&routed.reply.answer, &group.name) {
        Some(problem) => Err(problem),
        None => Ok(routed.reply.value),
    }
}
