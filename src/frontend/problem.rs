//! Errors as `application/problem+json` (RFC 9457): one constructor per situation.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::no_answer::NoAnswer;
use super::path::BadKey;
use crate::http::{Reply, with_type};
use crate::rpc::proto::{Answer, Status};

/// How long a client should wait before it asks again where nothing better is known: members are
/// connected to again, and agree on what each of them owns, within a second.
const SOON: Duration = Duration::from_secs(1);

/// After this time a lost or isolated owner's keys are its standby's.
const TAKEN_OVER: Duration = Duration::from_secs(3);

/// What went wrong, as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    /// Seconds after which asking again may help: also the header of that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The request's body was not read to its end.
    #[serde(skip)]
    leaves_body: bool,
}

impl Problem {
    fn new(status: StatusCode, slug: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:gcache:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then(|| seconds(SOON)),
            leaves_body: false,
        }
    }

    fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(seconds(wait)),
            ..self
        }
    }

    /// The owner has to be replaced before the request can be carried out.
    pub(super) fn until_taken_over(self) -> Self {
        match self.retry_after {
            Some(_) => self.retry_after(TAKEN_OVER),
            None => self,
        }
    }

    fn leaving_body(self) -> Self {
        Self {
            leaves_body: true,
            ..self
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).expect("made from a status code")
    }

    /// As an answer of its own.
    pub(super) fn reply(&self) -> Reply {
        let mut body = serde_json::to_vec(self).expect("strings and numbers always serialize");
        // A person with curl gets the prompt on a line of its own.
        body.push(b'\n');
        let mut reply = with_type(self.status(), "application/problem+json", body);
        if let Some(seconds) = self.retry_after {
            reply
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        if self.leaves_body {
            // The connection cannot be used again: what follows on it is the rest of the body.
            reply
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }

    pub(super) fn no_such_group(group: &str) -> Self {
        // A name longer than any group's is not worth repeating.
        let shown: String = group.chars().take(64).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-group",
            "no such group",
            format!("there is no group {shown:?}"),
        )
    }

    pub(super) fn no_topology() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-topology",
            "no topology yet",
            "this frontend does not know the groups and nodes yet",
        )
        .retry_after(Duration::from_secs(1))
    }

    pub(super) fn no_such_key() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-key",
            "no such key",
            "the origin has no such key",
        )
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-path",
            "no such path",
            "the paths are /v1/{group}/{key}, /v1/{group}, /livez, /readyz, /health and /openapi.json",
        )
    }

    pub(super) fn method(allow: &'static str) -> Reply {
        let problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "method not allowed",
            format!("allowed here: {allow}"),
        );
        let mut reply = problem.reply();
        reply
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static(allow));
        reply
    }

    pub(super) fn bad_key(error: &BadKey) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-key",
            "bad key",
            error.to_string(),
        )
    }

    pub(super) fn bad_query(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-query", "bad query", detail)
    }

    pub(super) fn bad_body(detail: String) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-body",
            "bad request body",
            detail,
        )
    }

    pub(super) fn body_too_large(max: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "request body too large",
            format!("at most {max} bytes are allowed"),
        )
        .leaving_body()
    }

    pub(super) fn values_too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "values-too-large",
            "values too large together",
            "ask for fewer keys at once; the bound is frontend.multi_get_max_bytes",
        )
    }

    pub(super) fn body_too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-too-slow",
            "request body too slow",
            "",
        )
        .leaving_body()
    }

    /// No node answered. `busy`: how long a load of the key's group takes these days.
    pub(super) fn no_answer(reason: NoAnswer, busy: impl FnOnce() -> Duration) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match reason {
            NoAnswer::Unreachable => Self::new(
                unavailable,
                "owner-unreachable",
                "owner unreachable",
                "no node that may answer for this key can be reached",
            ),
            NoAnswer::Overloaded(setting) => Self::overloaded(
                format!("too many look-ups wait already: {setting} is reached"),
                busy(),
            ),
            NoAnswer::Deadline => Self::deadline("no node answered within the deadline"),
            NoAnswer::Unknown => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "outcome-unknown",
                "outcome unknown",
                "the owner stopped answering; whether it carried the request out is not known",
            ),
            NoAnswer::Unsettled => Self::unsettled(),
        }
    }

    fn unsettled() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ownership-unsettled",
            "ownership unsettled",
            "the nodes do not agree yet on which of them answers for this key",
        )
    }

    fn overloaded(detail: impl Into<String>, busy: Duration) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "overloaded", "overloaded", detail).retry_after(busy)
    }

    fn deadline(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline",
            "deadline passed",
            detail,
        )
    }

    /// A node answered, but not with a value; none if it did. `busy`: how long a load of the group takes
    /// these days.
    pub(super) fn of_answer(
        answer: &Answer,
        group: &str,
        busy: impl FnOnce() -> Duration,
    ) -> Option<Self> {
        let detail = answer.message.as_str();
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        Some(match answer.status() {
            Status::Ok => return None,
            Status::Absent => Self::no_such_key(),
            Status::NoSuchGroup => Self::no_such_group(group),
            Status::BadKey => Self::new(StatusCode::BAD_REQUEST, "bad-key", "bad key", detail),
            Status::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "value-too-large",
                "value too large",
                detail,
            ),
            Status::Overloaded => Self::overloaded(detail, busy()),
            Status::Deadline => Self::deadline(detail),
            Status::OriginUnavailable => Self::new(
                unavailable,
                "origin-unavailable",
                "origin unavailable",
                detail,
            )
            // Before that its failure is remembered, and it is not asked again.
            .retry_after(Duration::from_millis(answer.ttl_ms.max(0).unsigned_abs())),
            Status::OriginTimeout => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "origin-timeout",
                "origin did not answer in time",
                detail,
            ),
            Status::BadStatement => Self::new(
                StatusCode::BAD_GATEWAY,
                "bad-statement",
                "origin refuses the group's statement",
                detail,
            ),
            Status::BadValue => Self::new(
                StatusCode::BAD_GATEWAY,
                "bad-value",
                "origin's value cannot be served",
                detail,
            ),
            Status::Isolated => {
                Self::new(unavailable, "isolated", "owner isolated", detail).until_taken_over()
            }
            Status::NotOwner => Self::unsettled(),
            Status::Internal => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "internal error",
                detail,
            ),
        })
    }
}

/// Whole seconds, as `Retry-After` has them: rounded up, and one at least.
fn seconds(wait: Duration) -> u64 {
    let up = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    up.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_of(problem: &Problem) -> Option<String> {
        let reply = problem.reply();
        let value = reply.headers().get(header::RETRY_AFTER)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_client_that_is_refused_for_now_hears_when_to_come_back() {
        let busy = || Duration::from_millis(2_100);
        let of = |status: Status, ttl_ms| {
            let mut answer = Answer {
                ttl_ms,
                ..Answer::default()
            };
            answer.set_status(status);
            Problem::of_answer(&answer, "g", busy).unwrap()
        };
        for (problem, seconds) in [
            (of(Status::Overloaded, 0), "3"),
            (of(Status::OriginUnavailable, 1_001), "2"),
            (of(Status::OriginUnavailable, -5), "1"),
            (of(Status::Isolated, 0), "3"),
            (of(Status::NotOwner, 0), "1"),
            (Problem::no_answer(NoAnswer::Overloaded("x.y"), busy), "3"),
            (Problem::no_answer(NoAnswer::Unreachable, busy), "1"),
            (
                Problem::no_answer(NoAnswer::Unreachable, busy).until_taken_over(),
                "3",
            ),
        ] {
            assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(header_of(&problem).as_deref(), Some(seconds), "{problem:?}");
        }
        for problem in [of(Status::Deadline, 0), Problem::no_such_key()] {
            assert_eq!(header_of(&problem.until_taken_over()), None);
        }
    }
}
