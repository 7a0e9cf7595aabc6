//! From a node's answer to an HTTP response: `Cache-Status` (RFC 9211), `Age`, `ETag` and 304. Pure.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;

use super::problem::Problem;
use super::route::Routed;
use crate::http::Reply;
use crate::rpc::proto::{Answer, Detail, Role, Status, Via};
use crate::topology::model::group::Group;

/// The response to a GET or HEAD that a node answered. `busy`: how long a load of the group takes these
/// days.
pub(super) fn respond(
    routed: &Routed,
    group: &Group,
    request: &HeaderMap,
    method: &Method,
    busy: impl FnOnce() -> Duration,
) -> Reply {
    let answer = &routed.reply.answer;
    let mut reply = match Problem::of_answer(answer, &group.name, busy) {
        Some(problem) => problem.reply(),
        None => value(&routed.reply.value, group, request, method),
    };
    let headers = reply.headers_mut();
    if tells_of_the_cache(answer.status()) {
        headers.insert("cache-status", cache_status(answer, routed.role));
    }
    if matches!(answer.status(), Status::Ok | Status::Absent) {
        headers.insert(header::AGE, (answer.age_ms / 1000).into());
    }
    reply
}

/// Whether the cache or the origin was asked at all.
fn tells_of_the_cache(status: Status) -> bool {
    match status {
        Status::Ok
        | Status::Absent
        | Status::OriginUnavailable
        | Status::OriginTimeout
        | Status::BadStatement
        | Status::BadValue => true,
        Status::NotOwner
        | Status::NoSuchGroup
        | Status::BadKey
        | Status::TooLarge
        | Status::Overloaded
        | Status::Deadline
        | Status::Isolated
        | Status::Internal => false,
    }
}

fn value(value: &Bytes, group: &Group, request: &HeaderMap, method: &Method) -> Reply {
    let etag = etag(value);
    let is_known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|tags| matches(tags.as_bytes(), etag.as_bytes()));
    let (status, body) = if is_known {
        (StatusCode::NOT_MODIFIED, Bytes::new())
    } else if method == Method::HEAD {
        (StatusCode::OK, Bytes::new())
    } else {
        (StatusCode::OK, value.clone())
    };
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::ETAG, etag);
    if status == StatusCode::OK {
        // Checked when the group was read; a value that is no header after all is left out.
        if let Ok(content_type) = HeaderValue::from_str(&group.spec.content_type) {
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        headers.insert(header::CONTENT_LENGTH, value.len().into());
    }
    reply
}

/// A strong validator: the content's hash, so that it is the same on every node and after a reload.
fn etag(value: &[u8]) -> HeaderValue {
    let hash = xxhash_rust::xxh3::xxh3_128(value);
    HeaderValue::from_str(&format!("\"{hash:032x}\""))
        .expect("quoted hexadecimal is a header value")
}

/// Whether an `If-None-Match` list names `etag`. The comparison is weak, as RFC 9110 wants here.
fn matches(list: &[u8], etag: &[u8]) -> bool {
    list.split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag)
}

fn cache_status(answer: &Answer, role: Role) -> HeaderValue {
    let mut text = String::from("gcache; ");
    text.push_str(match answer.via() {
        Via::Hit | Via::Stale => "hit",
        Via::Miss => "fwd=miss",
        Via::Expired | Via::StaleIfError => "fwd=stale",
    });
    if matches!(answer.status(), Status::Ok | Status::Absent) {
        // Rounded down, and at least a second over for what is past its time: 0 would be a hit's.
        let seconds = match answer.via() {
            Via::Stale | Via::StaleIfError => answer.ttl_ms.div_euclid(1000).min(-1),
            Via::Hit | Via::Miss | Via::Expired => answer.ttl_ms.div_euclid(1000),
        };
        write!(text, "; ttl={seconds}").expect("strings take everything");
    }
    if answer.stored {
        text.push_str("; stored");
    }
    if answer.collapsed {
        text.push_str("; collapsed");
    }
    // What matters most to the reader comes first: how wrong the value may be.
    let detail = match (answer.detail(), role, answer.via()) {
        (Detail::Isolated, ..) => Some("isolated"),
        (_, Role::LastResort, _) => Some("last-resort"),
        (Detail::Standby, ..) | (_, Role::Standby, _) => Some("standby"),
        (Detail::Peek, ..) => Some("peek"),
        (Detail::None, Role::Owner, Via::StaleIfError) => Some("stale-if-error"),
        (Detail::None, Role::Owner, _) => None,
    };
    if let Some(detail) = detail {
        text.push_str("; detail=");
        text.push_str(detail);
    }
    HeaderValue::from_str(&text).expect("made of visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(via: Via, change: impl FnOnce(&mut Answer), role: Role) -> String {
        let mut answer = Answer {
            via: via.into(),
            ttl_ms: 59_900,
            ..Answer::default()
        };
        change(&mut answer);
        cache_status(&answer, role).to_str().unwrap().to_owned()
    }

    #[test]
    fn cache_status_says_how_the_answer_came_about() {
        let owner = Role::Owner;
        assert_eq!(status(Via::Hit, |_| (), owner), "gcache; hit; ttl=59");
        assert_eq!(
            status(Via::Miss, |a| a.stored = true, owner),
            "gcache; fwd=miss; ttl=59; stored"
        );
        assert_eq!(
            status(
                Via::Miss,
                |a| (a.stored, a.collapsed) = (true, true),
                Role::Standby
            ),
            "gcache; fwd=miss; ttl=59; stored; collapsed; detail=standby"
        );
        assert_eq!(
            status(Via::Stale, |a| a.ttl_ms = -1, owner),
            "gcache; hit; ttl=-1"
        );
        assert_eq!(
            status(Via::Expired, |a| a.ttl_ms = 0, owner),
            "gcache; fwd=stale; ttl=0"
        );
        assert_eq!(
            status(Via::Miss, |a| a.set_status(Status::OriginTimeout), owner),
            "gcache; fwd=miss"
        );
    }

    #[test]
    fn if_none_match_may_list_several_weak_or_any() {
        let etag = etag(b"630");
        let same = etag.to_str().unwrap();
        assert!(matches(
            format!("\"x\", W/{same}").as_bytes(),
            etag.as_bytes()
        ));
        assert!(matches(b" * ", etag.as_bytes()));
        assert!(!matches(b"\"x\"", etag.as_bytes()));
    }
}
